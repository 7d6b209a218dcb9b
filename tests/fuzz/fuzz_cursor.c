/* A cursor that a client sends: refused with ERR_PARAMS, or within the list, and the place that it names is written as
 * a cursor for that place. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/cursor.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

#define DIGEST "0123456789abcdef"
#define COUNT  1000

/* Reads {"cursor": text}. Whether it was taken. */
static bool try(struct slice text, struct cursor *c)
{
	json_object *params = json_object_new_object();
	struct err err = {0};
	int ret;

	if (!params || jx_add(params, "cursor", json_object_new_string_len(text.p, (int)text.len), &err))
		abort();
	ret = cursor_read(c, params, DIGEST, COUNT, &err);
	if (ret ? err.code != ERR_PARAMS && err.code != ERR_TOO_BIG && err.code != ERR_LIMIT : c->index >= COUNT)
		abort();
	json_object_put(params);
	return ret == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] = ",\"nextCursor\":\"";
	struct cursor first, second;
	struct buf made, text;

	buf_init(&made, 2 * size + 256);
	buf_init(&text, size + 64);
	if (size % 2) /* or no input would get further */
		buf_adds(&text, DIGEST ".");
	buf_add(&text, data, size);
	if (try(buf_slice(&text), &first)) {
		cursor_put(&made, DIGEST, first.index, buf_slice(&first.after));
		if (made.fault || made.len < sizeof(head) || memcmp(made.data, head, sizeof(head) - 1) != 0)
			abort();
		if (!try((struct slice){made.data + sizeof(head) - 1, made.len - sizeof(head)}, &second) ||
		    second.index != first.index || !slice_eq(buf_slice(&first.after), buf_slice(&second.after)))
			abort();
		cursor_release(&second);
	}
	cursor_release(&first);
	buf_release(&made);
	buf_release(&text);
	return 0;
}
