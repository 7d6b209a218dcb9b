#include "config.h"

#include <errno.h>
#include <sys/random.h>

#include "common/rnd.h"
#include "common/util.h"
#include "common/banned.h"

void rnd_bytes(void *p, size_t len)
{
	char *to = p;

	while (len > 0) {
		ssize_t n = getrandom(to, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		DIE_UNLESS(n > 0);
		to += n;
		len -= (size_t)n;
	}
}

uint64_t rnd_u64(void)
{
	uint64_t n;

	do
		rnd_bytes(&n, sizeof(n));
	while (n == 0);
	return n;
}

uint32_t rnd_spread(uint32_t base)
{
	return base + (uint32_t)(rnd_u64() % ((uint64_t)base + 1));
}

void rnd_token(char *out, size_t size)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	rnd_bytes(out, size - 1);
	for (size_t i = 0; i + 1 < size; i++)
		out[i] = alphabet[(unsigned char)out[i] & 63];
	if (out[0] == '-')
		out[0] = '_';
	out[size - 1] = '\0';
}
