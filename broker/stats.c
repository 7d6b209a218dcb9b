#include "config.h"

#include <inttypes.h>

#include "broker/broker.h"
#include "broker/stats.h"
#include "common/banned.h"

#define PREFIX "mcp_broker_"

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const struct {
	enum kind kind;
	const char *name;
	struct slice labels, help;
} rows[STAT__COUNT] = {
#define STAT(id, kind, name, labels, help)                                                                             \
	[STAT_##id] = {kind, name, {labels, sizeof(labels) - 1}, {help, sizeof(help) - 1}},
#include "broker/stats_tbl.h"
#undef STAT
};

/* The value of the row's label: left. Empty without one. */
static struct slice label_of(enum stats_row row)
{
	struct slice labels = rows[row].labels;
	const char *quote = labels.len ? memchr(labels.p, '"', labels.len) : NULL;

	return quote ? (struct slice){quote + 1, (size_t)(labels.p + labels.len - quote) - 2} : labels;
}

static uint64_t value_of(const struct broker *b, enum stats_row row)
{
	size_t used = b->fd_used + b->fd_reserved;

	switch (row) {
	case STAT_SESSIONS:
		return b->sessions.count;
	case STAT_STREAMS:
		return b->stream_count;
	case STAT_CONNECTIONS:
		return b->conns_count;
	case STAT_CALLS:
		return b->calls.count - b->parked_count;
	case STAT_PARKED:
		return b->parked_count;
	case STAT_TASKS:
		return b->tasks.count;
	case STAT_TOPICS:
		return b->topics.count;
	case STAT_SUBSCRIPTIONS:
		return b->subscriptions.count;
	case STAT_PRODUCERS:
		return b->producers.count;
	case STAT_LOG_BYTES:
		return b->store->bytes_used;
	case STAT_STORE_STALLED:
		return b->store->is_stalled;
	case STAT_DRAINING:
		return b->draining;
	case STAT_FDS_FREE:
		return used < b->fd_max ? b->fd_max - used : 0;
	case STAT_FDS_MAX:
		return b->fd_max;
	default:
		return b->stats.counts[row];
	}
}

static const struct histogram *histogram_of(const struct broker *b, enum stats_row row)
{
	return row == STAT_COMMIT_SECONDS ? &b->stats.commit : &b->stats.deliver;
}

static bool begins_family(enum stats_row row)
{
	return row == 0 || strcmp(rows[row].name, rows[row - 1].name) != 0;
}

/* Microseconds as seconds. */
static void put_seconds(struct buf *out, uint64_t us)
{
	buf_addf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void put_histogram(struct buf *out, const char *name, const struct histogram *h)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count += h->buckets[i];
		buf_addf(out, PREFIX "%s_bucket{le=\"", name);
		if (i + 1 < HISTOGRAM_BUCKETS)
			put_seconds(out, histogram_bound_us(i));
		else
			buf_adds(out, "+Inf");
		buf_addf(out, "\"} %" PRIu64 "\n", count);
	}
	buf_addf(out, PREFIX "%s_sum ", name);
	put_seconds(out, h->sum_us);
	buf_addf(out, "\n" PREFIX "%s_count %" PRIu64 "\n", name, count);
}

void stats_put_metrics(const struct broker *b, struct buf *out)
{
	static const char *const types[] = {[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

	for (enum stats_row i = 0; i < STAT__COUNT; i++) {
		const char *name = rows[i].name, *labels = rows[i].labels.p;

		if (begins_family(i))
			buf_addf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, rows[i].help.p, name,
			    types[rows[i].kind]);
		if (rows[i].kind == HISTOGRAM)
			put_histogram(out, name, histogram_of(b, i));
		else
			buf_addf(out, PREFIX "%s%s%s%s %" PRIu64 "\n", name, *labels ? "{" : "", labels,
			    *labels ? "}" : "", value_of(b, i));
	}
}

/* An upper bound: that of the bucket in which the value lies. What is beyond the last one is at least its beginning. */
static uint64_t quantile_us(const struct histogram *h, uint64_t percent)
{
	uint64_t count = histogram_count(h), rank = (count * percent + 99) / 100, seen = 0;
	unsigned i = 0;

	if (count == 0)
		return 0;
	for (; i + 2 < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= rank)
			break;
	}
	return histogram_bound_us(i);
}

static void put_histogram_json(struct buf *out, const struct histogram *h)
{
	buf_addf(out, "{\"count\":%" PRIu64 ",\"sum_s\":", histogram_count(h));
	put_seconds(out, h->sum_us);
	buf_adds(out, ",\"p50_s\":");
	put_seconds(out, quantile_us(h, 50));
	buf_adds(out, ",\"p99_s\":");
	put_seconds(out, quantile_us(h, 99));
	buf_adds(out, "}");
}

void stats_put_json(const struct broker *b, struct buf *out)
{
	for (enum stats_row i = 0; i < STAT__COUNT; i++) {
		struct slice label = label_of(i);

		if (begins_family(i))
			buf_addf(out, "%s\"%s\":%s", i ? "," : "{", rows[i].name, label.len ? "{" : "");
		else
			buf_adds(out, ",");
		if (rows[i].kind == HISTOGRAM)
			put_histogram_json(out, histogram_of(b, i));
		else if (label.len)
			buf_addf(out, "\"%.*s\":%" PRIu64, (int)label.len, label.p, value_of(b, i));
		else
			buf_addf(out, "%" PRIu64, value_of(b, i));
		if (label.len && (i + 1 == STAT__COUNT || begins_family(i + 1)))
			buf_adds(out, "}");
	}
	buf_adds(out, "}");
}
