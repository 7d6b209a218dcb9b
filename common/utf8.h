/* common/utf8.h - UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef MCP_COMMON_UTF8_H
#define MCP_COMMON_UTF8_H

#include "common/buf.h"

/* Bytes of the well-formed character at the front of s: 1 to 4, or 0 if there is none. */
size_t utf8_len(struct slice s);
bool utf8_is_valid(struct slice s);

/* Appends a character; c is no surrogate and at most 0x10ffff. */
void utf8_add(struct buf *out, uint32_t c);

/* Appends s with each byte that belongs to no well-formed character replaced by U+FFFD. */
void utf8_add_repaired(struct buf *out, struct slice s);

#endif
