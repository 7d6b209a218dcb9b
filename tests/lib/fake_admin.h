/* tests/lib/fake_admin.h - who asks a broker's admin socket. Everything fails the running cmocka test when it can't be
 * done. */
#ifndef MCP_TESTS_FAKE_ADMIN_H
#define MCP_TESTS_FAKE_ADMIN_H

#include "common/buf.h"

int fake_admin_connect(const char *run_dir);
/* Reads to the end, and closes fd. *out is to be released. */
void fake_admin_read(int fd, struct buf *out);
void fake_admin_ask_raw(const char *run_dir, struct slice request, struct buf *out);
/* Returns the status; *body is what follows the head in *out. */
int fake_admin_ask(const char *run_dir, const char *method, const char *path, struct buf *out, const char **body);
/* The value of a sample of /metrics, named without "mcp_". -1: there is none. */
double fake_admin_metric(const char *run_dir, const char *sample);

#endif
