#include "config.h"

#include "broker/store_sum.h"
#include "common/banned.h"

/* Each step can be undone, so whatever single word of eight bytes is not as it was, the sum is another one. */
static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15;
	return sum ^ sum >> 29;
}

static uint64_t sum_bytes(uint64_t sum, struct slice s)
{
	uint64_t word;

	sum = mix(sum, s.len);
	for (; s.len >= sizeof(word); s.p += sizeof(word), s.len -= sizeof(word)) {
		memcpy(&word, s.p, sizeof(word));
		sum = mix(sum, word);
	}
	word = 0;
	if (s.len)
		memcpy(&word, s.p, s.len);
	return mix(sum, word);
}

uint64_t sum_event(uint64_t position, uint64_t stream, uint64_t seq, struct slice event)
{
	return sum_bytes(mix(mix(mix(1, position), stream), seq), event);
}

uint64_t sum_object(enum store_kind kind, struct slice key, struct slice value)
{
	return sum_bytes(sum_bytes(mix(2, kind), key), value);
}
