/* common/buf.h - bytes that grow, up to a ceiling.
 *
 * len is the truth: data is NUL-terminated for printf's sake (NULL while empty), but may hold NULs of its own. Going
 * past max, or out of memory, sets fault and later appends do nothing, so a formatter appends freely and its caller
 * asks once, with buf_check(). */
#ifndef MCP_COMMON_BUF_H
#define MCP_COMMON_BUF_H

#include "common/err.h"

struct buf {
	char *data;
	size_t len, cap, max; /* bytes */
	enum err_code fault;  /* ERR_NONE, ERR_TOO_BIG or ERR_NOMEM: why the contents are incomplete */
};

void buf_init(struct buf *b, size_t max); /* allocates nothing */
void buf_release(struct buf *b);	  /* frees; b is empty and usable again, with the same max */
void buf_clear(struct buf *b);		  /* forgets contents and fault, keeps the memory */
void buf_add(struct buf *b, const void *p, size_t len);
void buf_add_slice(struct buf *b, struct slice s);
void buf_addu(struct buf *b, uint64_t n); /* in decimal; where %llu would do, and is called often */
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_drop(struct buf *b, size_t len); /* removes the first len bytes */
/* Room for at least len more bytes, to write into at data + len; the caller then raises len. NULL: fault is set. */
char *buf_reserve(struct buf *b, size_t len);
int buf_check(const struct buf *b, struct err *err); /* -1 and *err if anything was lost */

static inline void buf_adds(struct buf *b, const char *s) /* here, for the compiler knows how long a literal is */
{
	buf_add(b, s, strlen(s));
}

static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){b->data, b->len};
}

#endif
