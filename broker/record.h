/* broker/record.h - the bytes that a web server expects on an adopted connection, by its kind: FastCGI records
 * (FCGI 1.0, sections 3.3 and 5), or, for plain CGI, the bytes themselves. */
#ifndef MCP_BROKER_RECORD_H
#define MCP_BROKER_RECORD_H

#include "common/link.h"

#define RECORD_CONTENT_MAX 65528 /* a multiple of 8 below 65536, so that a full record needs no padding */

/* Appends content as FCGI_STDOUT records; nothing for no content, because an empty record would end the answer. */
void record_put_stdout(struct buf *out, enum link_kind kind, uint16_t request_id, struct slice content);
/* How many bytes of those it takes until len bytes of content have gone. */
size_t record_stdout_len(enum link_kind kind, size_t len);
/* The end of the answer: empty FCGI_STDOUT, then FCGI_END_REQUEST (status 0, request complete). */
void record_put_end(struct buf *out, enum link_kind kind, uint16_t request_id);

#endif
