/* fcgi/seal.h - what a client carries for us: bytes that it can neither read nor change (requestState, cursors).
 *
 * AES-256-GCM with a key of this host: run_dir/seal.key, 32 random bytes, mode 0600, made by whoever needs it first
 * (O_EXCL), read once per process. Each token has a key of its own, derived with its random nonce, so nonces can't
 * collide. A token is base64url: FORMAT NONCE CIPHERTEXT TAG; purpose, bound and expiry are authenticated. */
#ifndef MCP_FCGI_SEAL_H
#define MCP_FCGI_SEAL_H

#include "common/cfg.h"

#define SEAL_MARK_LEN 32 /* the first characters of a token, which no other token begins with */

struct seal; /* opaque; threads may share it */

struct seal *seal_new(const struct cfg *cfg); /* allocates only; NULL: no memory */
void seal_free(struct seal **sealp);

/* Appends the token of plain to out. purpose ("state", "cursor") and bound (whatever must be the same when it comes back:
 * principal, method, digest of the params) are not inside, but must be given again. ERR_SYS: no key to be had. */
int seal_close(struct seal *s, const char *purpose, struct slice bound, uint32_t ttl_s, struct slice plain,
    struct buf *out, struct err *err);

/* Appends what is in token to plain. ERR_PARAMS: not one of ours, changed, of another purpose or bound, or expired; err
 * says which of these as far as a client may know. */
int seal_open(
    struct seal *s, const char *purpose, struct slice bound, struct slice token, struct buf *plain, struct err *err);

#endif
