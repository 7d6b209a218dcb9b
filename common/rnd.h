/* common/rnd.h - unguessable bytes from the kernel. Never fails: a machine without getrandom() can't run us. */
#ifndef MCP_COMMON_RND_H
#define MCP_COMMON_RND_H

#include <stddef.h>
#include <stdint.h>

void rnd_bytes(void *p, size_t len);
uint64_t rnd_u64(void);             /* never 0, so that 0 can mean "none" */
uint32_t rnd_spread(uint32_t base); /* base to twice as much: for who must not come all at once */
/* size - 1 characters of [A-Za-z0-9_-], 6 bits each, and a NUL. The first is no "-", and that much less random: a token
 * may be an argument of a command (mcpctl sessions kill), which would take it for an option. */
void rnd_token(char *out, size_t size);

#endif
