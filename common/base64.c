#include "config.h"

#include "common/base64.h"
#include "common/banned.h"

static const char digits[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

void base64_encode(struct buf *out, enum base64_kind kind, struct slice bytes)
{
	const unsigned char *p = (const unsigned char *)bytes.p;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t here = bytes.len - i < 3 ? bytes.len - i : 3;
		unsigned bits = (unsigned)p[i] << 16;
		char group[4];

		bits |= here > 1 ? (unsigned)p[i + 1] << 8 : 0;
		bits |= here > 2 ? p[i + 2] : 0;
		for (size_t k = 0; k < 4; k++)
			group[k] = k <= here ? digits[kind][bits >> (18 - 6 * k) & 63] : '=';
		buf_add(out, group, kind == BASE64_URL ? here + 1 : 4);
	}
}

static int digit_of(char c, enum base64_kind kind)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == digits[kind][62] ? 62 : c == digits[kind][63] ? 63 : -1;
}

bool base64_decode(struct buf *out, enum base64_kind kind, struct slice text)
{
	if (kind == BASE64_PADDED) {
		if (text.len % 4 != 0)
			return false;
		for (int pads = 0; pads < 2 && text.len && text.p[text.len - 1] == '='; pads++)
			text.len--;
	}
	for (size_t i = 0; i < text.len; i += 4) {
		size_t here = text.len - i < 4 ? text.len - i : 4;
		unsigned bits = 0;
		char bytes[3];

		for (size_t k = 0; k < 4; k++) {
			int digit = k < here ? digit_of(text.p[i + k], kind) : 0;

			if (digit < 0)
				return false;
			bits = bits << 6 | (unsigned)digit;
		}
		/* A single digit is no byte; bits that no byte takes are zero. */
		if (here == 1 || (here == 2 && bits & 0xffff) || (here == 3 && bits & 0xff))
			return false;
		bytes[0] = (char)(bits >> 16);
		bytes[1] = (char)(bits >> 8);
		bytes[2] = (char)bits;
		buf_add(out, bytes, here - 1);
	}
	return true;
}
