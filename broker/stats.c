#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/broker.h"
#include "broker/stats.h"
#include "common/mem.h"
#include "common/banned.h"

#define PREFIX "mcp_"

enum kind { COUNTER, GAUGE, HISTOGRAM, WORK };

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

void stats_release(struct stats *s)
{
	mem_free(s->work);
	s->work = NULL;
	s->work_count = s->work_cap = 0;
}

static struct work *find_work(struct stats *s, struct slice name, unsigned outcome)
{
	for (size_t i = 0; i < s->work_count; i++) {
		if (s->work[i].outcome == outcome && slice_is(name, s->work[i].name))
			return &s->work[i];
	}
	return NULL;
}

static struct work *new_work(struct stats *s, struct slice name, unsigned outcome)
{
	struct work *w;

	DIE_UNLESS(name.len <= LINK_STATS_NAME_MAX);
	if (s->work_count == STATS_WORK_MAX)
		return NULL;
	if (s->work_count == s->work_cap) {
		size_t cap = s->work_cap ? 2 * s->work_cap : 16;
		struct work *work = mem_realloc(s->work, cap * sizeof(*work));

		if (!work)
			return NULL;
		s->work = work;
		s->work_cap = cap;
	}
	w = &s->work[s->work_count++];
	*w = (struct work){.outcome = outcome};
	memcpy(w->name, name.p, name.len);
	return w;
}

void stats_add_work(struct stats *s, struct slice name, unsigned outcome, const struct histogram *took)
{
	struct work *w = find_work(s, name, outcome);

	if (!w)
		w = new_work(s, name, outcome);
	for (unsigned i = 0; w && i < HISTOGRAM_BUCKETS; i++)
		w->took.buckets[i] += took->buckets[i];
	if (w)
		w->took.sum_us += took->sum_us;
}

static void save_histogram(const struct histogram *h, struct buf *out)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		link_put_u64(out, h->buckets[i]);
	link_put_u64(out, h->sum_us);
}

static void load_histogram(struct histogram *h, struct slice *in, bool *bad)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		h->buckets[i] = link_get_u64(in, bad);
	h->sum_us = link_get_u64(in, bad);
}

void stats_save(const struct stats *s, struct buf *out)
{
	link_put_u64(out, s->started_ms);
	for (size_t i = 0; i < STAT__COUNT; i++)
		link_put_u64(out, s->counts[i]);
	save_histogram(&s->deliver, out);
	save_histogram(&s->commit, out);
	for (size_t i = 0; i < s->work_count; i++) {
		link_put_bytes(out, slice_str(s->work[i].name));
		link_put_u8(out, (uint8_t)s->work[i].outcome);
		save_histogram(&s->work[i].took, out);
	}
}

int stats_load(struct stats *s, struct slice in)
{
	bool bad = false;

	s->started_ms = link_get_u64(&in, &bad);
	for (size_t i = 0; i < STAT__COUNT; i++)
		s->counts[i] = link_get_u64(&in, &bad);
	load_histogram(&s->deliver, &in, &bad);
	load_histogram(&s->commit, &in, &bad);
	while (in.len > 0 && !bad) {
		struct slice name = link_get_bytes(&in, &bad);
		unsigned outcome = link_get_u8(&in, &bad);
		struct histogram took;

		load_histogram(&took, &in, &bad);
		if (bad || name.len == 0 || name.len > LINK_STATS_NAME_MAX || outcome >= LINK_OUTCOME__COUNT)
			return -1;
		stats_add_work(s, name, outcome, &took);
	}
	return bad ? -1 : 0;
}

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
	case STAT_WAITING:
		return b->waiting_count;
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

/* labels: all but le, or empty. */
static void put_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h)
{
	const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count += h->buckets[i];
		buf_addf(out, PREFIX "%s_bucket{%s%sle=\"", name, labels, comma);
		if (i + 1 < HISTOGRAM_BUCKETS)
			put_seconds(out, histogram_bound_us(i));
		else
			buf_adds(out, "+Inf");
		buf_addf(out, "\"} %" PRIu64 "\n", count);
	}
	buf_addf(out, PREFIX "%s_sum%s%s%s ", name, open, labels, close);
	put_seconds(out, h->sum_us);
	buf_addf(out, "\n" PREFIX "%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, count);
}

static bool is_api(const struct work *w)
{
	return strncmp(w->name, LINK_STATS_API, strlen(LINK_STATS_API)) == 0;
}

/* Jobs and answers of APIs have rows of their own. */
static bool is_of(const struct work *w, enum stats_row row)
{
	return row == (strcmp(w->name, LINK_STATS_JOB) == 0 ? STAT_JOB_SECONDS
		       : is_api(w)			      ? STAT_API_SECONDS
							      : STAT_REQUEST_SECONDS);
}

static void put_work(struct buf *out, const struct stats *s, enum stats_row row)
{
	for (size_t i = 0; i < s->work_count; i++) {
		const struct work *w = &s->work[i];
		const char *outcome = link_outcome_name(w->outcome);
		char labels[128];

		if (!is_of(w, row))
			continue;
		if (row == STAT_JOB_SECONDS)
			snprintf(labels, sizeof(labels), "outcome=\"%s\"", outcome);
		else if (row == STAT_API_SECONDS)
			snprintf(labels, sizeof(labels), "from=\"%s\",outcome=\"%s\"",
			    w->name + strlen(LINK_STATS_API), outcome);
		else
			snprintf(labels, sizeof(labels), "method=\"%s\",outcome=\"%s\"", w->name, outcome);
		put_histogram(out, rows[row].name, labels, &w->took);
	}
}

void stats_put_metrics(const struct broker *b, struct buf *out)
{
	static const char *const types[] = {
	    [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram", [WORK] = "histogram"};

	for (enum stats_row i = 0; i < STAT__COUNT; i++) {
		const char *name = rows[i].name, *labels = rows[i].labels.p;

		if (begins_family(i))
			buf_addf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, rows[i].help.p, name,
			    types[rows[i].kind]);
		if (rows[i].kind == HISTOGRAM)
			put_histogram(out, name, "", histogram_of(b, i));
		else if (rows[i].kind == WORK)
			put_work(out, &b->stats, i);
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

/* An object, of these members and what the histogram says. */
static void put_histogram_json(struct buf *out, const char *members, const struct histogram *h)
{
	buf_addf(out, "{%s\"count\":%" PRIu64 ",\"sum_s\":", members, histogram_count(h));
	put_seconds(out, h->sum_us);
	buf_adds(out, ",\"p50_s\":");
	put_seconds(out, quantile_us(h, 50));
	buf_adds(out, ",\"p99_s\":");
	put_seconds(out, quantile_us(h, 99));
	buf_adds(out, "}");
}

static void put_work_json(struct buf *out, const struct stats *s, enum stats_row row)
{
	const char *comma = "";
	char members[128];

	buf_adds(out, "[");
	for (size_t i = 0; i < s->work_count; i++) {
		const struct work *w = &s->work[i];

		if (!is_of(w, row))
			continue;
		buf_adds(out, comma);
		snprintf(members, sizeof(members), "\"name\":\"%s\",\"outcome\":\"%s\",", w->name,
		    link_outcome_name(w->outcome));
		put_histogram_json(out, members, &w->took);
		comma = ",";
	}
	buf_adds(out, "]");
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
			put_histogram_json(out, "", histogram_of(b, i));
		else if (rows[i].kind == WORK)
			put_work_json(out, &b->stats, i);
		else if (label.len)
			buf_addf(out, "\"%.*s\":%" PRIu64, (int)label.len, label.p, value_of(b, i));
		else
			buf_addf(out, "%" PRIu64, value_of(b, i));
		if (label.len && (i + 1 == STAT__COUNT || begins_family(i + 1)))
			buf_adds(out, "}");
	}
	buf_adds(out, "}");
}
