/* bench/histogram.h - how long things took, each counted at its microsecond. */
#ifndef MCP_BENCH_HISTOGRAM_H
#define MCP_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_US (1u << 22) /* what took longer counts as this */

struct histogram {
	uint32_t *counts; /* owned; HISTOGRAM_US + 1 */
	uint64_t count, max_us;
};

int histogram_init(struct histogram *h); /* -1: no memory */
void histogram_release(struct histogram *h);
void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t us);
uint64_t histogram_at(const struct histogram *h, double part); /* as 0.99: what this part of them did not exceed */

#endif
