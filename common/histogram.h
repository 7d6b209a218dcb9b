/* common/histogram.h - how long things took: buckets that double, from 16 us to 134 s, and one for what took longer. A
 * value is one shift and one addition; nothing is allocated. */
#ifndef MCP_COMMON_HISTOGRAM_H
#define MCP_COMMON_HISTOGRAM_H

#include "common/util.h"

#define HISTOGRAM_BUCKETS  25 /* the last one has no end */
#define HISTOGRAM_FIRST_US 16

struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS];
	uint64_t sum_us;
};

/* The largest value of a bucket but the last. */
static inline uint64_t histogram_bound_us(unsigned bucket)
{
	return (uint64_t)HISTOGRAM_FIRST_US << bucket;
}

static inline unsigned histogram_bucket(uint64_t us)
{
	unsigned bucket = us <= HISTOGRAM_FIRST_US ? 0 : 60 - (unsigned)__builtin_clzll(us - 1);

	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t us)
{
	h->buckets[histogram_bucket(us)]++;
	h->sum_us += us;
}

static inline uint64_t histogram_count(const struct histogram *h)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		count += h->buckets[i];
	return count;
}

#endif
