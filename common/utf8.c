#include "config.h"

#include "common/utf8.h"
#include "common/banned.h"

size_t utf8_len(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t len;

	if (s.len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (s.len < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

bool utf8_is_valid(struct slice s)
{
	while (s.len > 0) {
		size_t len = utf8_len(s);

		if (len == 0)
			return false;
		s.p += len;
		s.len -= len;
	}
	return true;
}

void utf8_add(struct buf *out, uint32_t c)
{
	char bytes[4];
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = len; i-- > 1; c >>= 6)
		bytes[i] = (char)(0x80 | (c & 0x3f));
	bytes[0] = (char)(len == 1 ? c : (0xf00u >> len & 0xff) | c);
	buf_add(out, bytes, len);
}

void utf8_add_repaired(struct buf *out, struct slice s)
{
	while (s.len > 0) {
		size_t good = 0, len;

		while ((len = utf8_len((struct slice){s.p + good, s.len - good})) > 0)
			good += len;
		buf_add(out, s.p, good);
		s.p += good;
		s.len -= good;
		if (s.len > 0) {
			buf_adds(out, "\xef\xbf\xbd");
			s.p++;
			s.len--;
		}
	}
}
