/* broker/stats.h - what the broker counts, and how that is written: Prometheus' text format 0.0.4 and JSON.
 *
 * Counting is an addition: rows (stats_tbl.h) are an index into an array. Gauges are not counted at all, but looked up
 * when somebody asks. What workers and runners report (LINK_STATS) is added up in rows of its own, by what they did and
 * what came of it, so that it outlives them. */
#ifndef MCP_BROKER_STATS_H
#define MCP_BROKER_STATS_H

#include "common/buf.h"
#include "common/histogram.h"

struct broker;

enum stats_row {
#define STAT(id, kind, name, labels, help) STAT_##id,
#include "broker/stats_tbl.h"
#undef STAT
	STAT__COUNT
};

struct stats {
	uint64_t counts[STAT__COUNT];
	struct histogram deliver, commit;
	uint64_t started_ms; /* loop_now() */
};

static inline void stats_add(struct stats *s, enum stats_row row, uint64_t n)
{
	s->counts[row] += n;
}

void stats_put_metrics(const struct broker *b, struct buf *out);
/* One JSON object: {"name": number, "name": {"label": number, ...}, "name": {"count": .., "sum_s": .., "p50_s": ..}} */
void stats_put_json(const struct broker *b, struct buf *out);

#endif
