/* broker/stats.h - what the broker counts, and how that is written: Prometheus' text format 0.0.4 and JSON.
 *
 * Counting is an addition: rows (stats_tbl.h) are an index into an array. Gauges are not counted at all, but looked up
 * when somebody asks. What workers and runners report (LINK_STATS) is added up in rows of its own, by what they did and
 * what came of it, so that it outlives them. */
#ifndef MCP_BROKER_STATS_H
#define MCP_BROKER_STATS_H

#include "common/buf.h"
#include "common/histogram.h"
#include "common/link.h"

struct broker;

enum stats_row {
#define STAT(id, kind, name, labels, help) STAT_##id,
#include "broker/stats_tbl.h"
#undef STAT
	STAT__COUNT
};

/* What workers and runners report: of one name and outcome. */
struct work {
	char name[LINK_STATS_NAME_MAX + 1];
	unsigned outcome; /* enum link_outcome */
	struct histogram took;
};
#define STATS_WORK_MAX 256

struct stats {
	uint64_t counts[STAT__COUNT];
	struct histogram deliver, commit;
	uint64_t started_ms; /* loop_now() */
	struct work *work;   /* owned; in the order in which they came */
	size_t work_count, work_cap;
};

static inline void stats_add(struct stats *s, enum stats_row row, uint64_t n)
{
	s->counts[row] += n;
}

/* A name of printable characters without quote and backslash, and an outcome that there is. Past STATS_WORK_MAX of
 * them, or without memory, it is dropped: no program of ours has as many. */
void stats_add_work(struct stats *s, struct slice name, unsigned outcome, const struct histogram *took);
void stats_release(struct stats *s);
/* For the program that takes our place (snapshot.h), and from the one before, which counted the same. */
void stats_save(const struct stats *s, struct buf *out);
int stats_load(struct stats *s, struct slice in);

void stats_put_metrics(const struct broker *b, struct buf *out);
/* One JSON object: {"name": number, "name": {"label": number, ...}, "name": {"count": .., "sum_s": .., "p50_s": ..,
 * "p99_s": ..}, "name": [{"name": .., "outcome": .., "count": .., ...}, ...]} */
void stats_put_json(const struct broker *b, struct buf *out);

#endif
