/* ctl/http_unix.h - one question by HTTP over a Unix socket. */
#ifndef MCP_CTL_HTTP_UNIX_H
#define MCP_CTL_HTTP_UNIX_H

#include "common/buf.h"

/* Connected, or -1 and errno; ENAMETOOLONG: longer than a socket's path may be. */
int http_unix_open(const char *path);
/* Sends request, and appends all that comes to answer. One that refuses to read is no failure: it has said why, or
 * nothing. -1: *err. */
int http_unix_ask(int fd, struct slice request, struct buf *answer, struct err *err);
/* Takes the head off. Its status, or 0: that is no answer. */
int http_unix_cut_head(struct slice *answer);

#endif
