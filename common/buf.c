#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/banned.h"

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_release(struct buf *b)
{
	mem_free(b->data);
	buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->fault = ERR_NONE;
	if (b->data)
		b->data[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t len)
{
	size_t cap = b->cap ? b->cap : 256;
	char *data;

	if (b->fault)
		return NULL;
	if (len > b->max - b->len) {
		b->fault = ERR_TOO_BIG;
		return NULL;
	}
	if (b->data && len < b->cap - b->len)
		return b->data + b->len;
	while (cap <= b->len + len)
		cap = cap > SIZE_MAX / 2 ? b->len + len + 1 : cap * 2;
	data = mem_realloc(b->data, cap);
	if (!data) {
		b->fault = ERR_NOMEM;
		return NULL;
	}
	b->data = data;
	b->cap = cap;
	return b->data + b->len;
}

void buf_add(struct buf *b, const void *p, size_t len)
{
	char *to = buf_reserve(b, len);

	if (!to)
		return;
	if (len)
		memcpy(to, p, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_add_slice(struct buf *b, struct slice s)
{
	buf_add(b, s.p, s.len);
}

void buf_addu(struct buf *b, uint64_t n)
{
	char digits[20], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(b, p, (size_t)(digits + sizeof(digits) - p));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	size_t room = b->cap - b->len;
	va_list ap, again;
	int len;

	if (b->fault)
		return;
	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(room ? b->data + b->len : NULL, room, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= room || (size_t)len > b->max - b->len) { /* not in what there is */
		char *to = len < 0 ? NULL : buf_reserve(b, (size_t)len);

		if (to)
			vsnprintf(to, (size_t)len + 1, fmt, again);
		else if (room)
			b->data[b->len] = '\0';
		len = to ? len : 0;
	}
	b->len += (size_t)len;
	va_end(again);
}

void buf_drop(struct buf *b, size_t len)
{
	DIE_UNLESS(len <= b->len);
	if (len == 0)
		return;
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
	b->data[b->len] = '\0';
}

int buf_check(const struct buf *b, struct err *err)
{
	if (b->fault == ERR_NONE)
		return 0;
	if (b->fault == ERR_TOO_BIG)
		return err_set(err, ERR_TOO_BIG, "more than %zu bytes", b->max);
	return err_set(err, ERR_NOMEM, "out of memory at %zu bytes", b->len);
}
