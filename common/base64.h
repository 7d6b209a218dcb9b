/* common/base64.h - RFC 4648, both alphabets. One text has one encoding: what else decodes to the same bytes is refused. */
#ifndef MCP_COMMON_BASE64_H
#define MCP_COMMON_BASE64_H

#include "common/buf.h"

enum base64_kind {
	BASE64_PADDED, /* section 4: + and /, filled up with = */
	BASE64_URL,    /* section 5: - and _, no padding */
};

void base64_encode(struct buf *out, enum base64_kind kind, struct slice bytes);
/* Appends the bytes of text to out. False: it is not that encoding of anything (and out may hold some of it). */
bool base64_decode(struct buf *out, enum base64_kind kind, struct slice text);

#endif
