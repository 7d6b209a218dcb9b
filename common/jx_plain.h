/* common/jx_plain.h - the bytes of a JSON string that stand for themselves, whoever reads or writes it: ASCII but for
 * control characters, quotes and backslashes. */
#ifndef MCP_COMMON_JX_PLAIN_H
#define MCP_COMMON_JX_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool jx_is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Whether all eight of them are. Less than 0x20, a quote and a backslash are bytes from which taking away 0x20, or 1
 * after the xor, sets the high bit. The loan from the next byte may make that one look so too, but only if there is a
 * byte to lend to. */
static inline bool jx_is_plain_word(uint64_t bytes)
{
	const uint64_t ones = UINT64_MAX / 0xff, highs = ones << 7;
	uint64_t quote = bytes ^ ones * '"', backslash = bytes ^ ones * '\\';
	uint64_t below = (bytes - ones * 0x20) | (quote - ones) | (backslash - ones);

	return !((below | bytes) & highs);
}

/* The first byte from p on that is not; end if all are. */
static inline const unsigned char *jx_plain_end(const unsigned char *p, const unsigned char *end)
{
	uint64_t bytes;

	for (; end - p >= (ptrdiff_t)sizeof(bytes); p += sizeof(bytes)) {
		memcpy(&bytes, p, sizeof(bytes));
		if (!jx_is_plain_word(bytes))
			break;
	}
	while (p < end && jx_is_plain(*p))
		p++;
	return p;
}

#endif
