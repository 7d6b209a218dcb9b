#include "config.h"

#include <string.h>

#include "bench/histogram.h"
#include "common/mem.h"
#include "common/banned.h"

int histogram_init(struct histogram *h)
{
	*h = (struct histogram){.counts = mem_alloc(HISTOGRAM_US + 1, sizeof(*h->counts))};
	return h->counts ? 0 : -1;
}

void histogram_release(struct histogram *h)
{
	mem_free(h->counts);
}

void histogram_clear(struct histogram *h)
{
	uint64_t last = h->max_us < HISTOGRAM_US ? h->max_us : HISTOGRAM_US;

	memset(h->counts, 0, (last + 1) * sizeof(*h->counts));
	h->count = h->max_us = 0;
}

void histogram_add(struct histogram *h, uint64_t us)
{
	h->counts[us < HISTOGRAM_US ? us : HISTOGRAM_US]++;
	h->count++;
	if (us > h->max_us)
		h->max_us = us;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
	uint64_t want = (uint64_t)((double)h->count * part), seen = 0;

	for (uint64_t us = 0; us < HISTOGRAM_US; us++) {
		seen += h->counts[us];
		if (seen > want)
			return us;
	}
	return HISTOGRAM_US;
}
