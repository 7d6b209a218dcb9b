/* A header's value: what is decoded is UTF-8, and its own encoding decodes to it again; Accept takes any bytes. */
#include "config.h"

#include <stdlib.h>

#include "common/utf8.h"
#include "fcgi/header.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

static void encode(struct slice in, struct buf *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	buf_adds(out, "=?base64?");
	for (size_t i = 0; i < in.len; i += 3) {
		size_t n = in.len - i < 3 ? in.len - i : 3;
		unsigned bits = 0;
		char text[4];

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < n ? (unsigned char)in.p[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			text[k] = k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
		buf_add(out, text, 4);
	}
	buf_adds(out, "?=");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf value, out, again;
	struct err err = {0};

	buf_init(&value, size + 1);
	buf_init(&out, size + 1);
	buf_init(&again, 2 * size + 64);
	buf_add(&value, data, size); /* and a NUL: a header never holds one */
	header_accept(value.data);
	if (value.data && header_decode(value.data, &out, &err) == 0) {
		if (!utf8_is_valid(buf_slice(&out)))
			abort();
		buf_clear(&value);
		value.max = 2 * size + 64;
		encode(buf_slice(&out), &value);
		if (header_decode(value.data, &again, &err) || !slice_eq(buf_slice(&out), buf_slice(&again)))
			abort();
	} else if (value.data && err.code != ERR_MISMATCH) {
		abort();
	}
	buf_release(&value);
	buf_release(&out);
	buf_release(&again);
	return 0;
}
