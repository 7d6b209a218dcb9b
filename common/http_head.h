/* common/http_head.h - the head of an HTTP/1 request, read strictly: for the small servers that we have for people and
 * scripts of this machine (broker/admin_request.h, runner/publish_request.h). */
#ifndef MCP_COMMON_HTTP_HEAD_H
#define MCP_COMMON_HTTP_HEAD_H

#include "common/util.h"

/* Cuts a line that ends with CR LF. 1: *line; 0: its end is missing; -1: it has a byte that no line has. */
int http_cut_line(struct slice *in, struct slice *line);
/* Up to the blank, which is taken too, or the end. */
struct slice http_cut_word(struct slice *line);
bool http_cut_start(struct slice *s, const char *start); /* false: it begins otherwise */
size_t http_token_len(struct slice s);                   /* how many of its first bytes a token may have */

/* "METHOD /path HTTP/1.1". 200, or 400, 505. */
int http_read_request_line(struct slice line, struct slice *method, struct slice *path);
/* "Name: value"; the value is without the blanks around it. */
bool http_read_field(struct slice line, struct slice *name, struct slice *value);
bool http_is_name(struct slice name, const char *is); /* of a field: whatever its case */

const char *http_reason(int status); /* "OK" */

#endif
