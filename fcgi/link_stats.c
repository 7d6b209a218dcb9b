/* What this process did, for the broker to add up (STATS). Any thread counts, with additions that no other thread waits
 * for; the link thread takes the sums now and then, and sends what they have grown by.
 *
 * A row is found by the address of its name, which is a literal: two literals of the same text are two rows, and one to
 * the broker. */
#include "config.h"

#include "fcgi/link_priv.h"
#include "common/banned.h"

#define STATS_PAUSE_MS 2000

static struct count_row *find_row(struct link *l, const char *name)
{
	for (size_t i = 0; i < COUNT_ROWS_MAX; i++) {
		const char *found = atomic_load_explicit(&l->counts[i].name, memory_order_relaxed);

		if (!found && atomic_compare_exchange_strong(&l->counts[i].name, &found, name))
			return &l->counts[i];
		if (found == name)
			return &l->counts[i];
	}
	return NULL;
}

void link_count(struct link *l, const char *name, enum link_outcome outcome, uint64_t us)
{
	struct count_row *row = find_row(l, name);

	DIE_UNLESS(row); /* there are as many as our own names: a bug that the first test of a new one shows */
	atomic_fetch_add_explicit(&row->cells[outcome].buckets[histogram_bucket(us)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->cells[outcome].sum_us, us, memory_order_relaxed);
}

/* How long, and how often, since it was taken the last time. False: never; then nothing was appended. */
static bool take_cell(struct count_cell *cell, const char *name, unsigned outcome, struct buf *out)
{
	unsigned counts[HISTOGRAM_BUCKETS], used = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		counts[i] = atomic_exchange_explicit(&cell->buckets[i], 0, memory_order_relaxed);
		used += counts[i] > 0;
	}
	if (used == 0)
		return false;
	link_put_bytes(out, slice_str(name));
	link_put_u8(out, (uint8_t)outcome);
	link_put_u64(out, atomic_exchange_explicit(&cell->sum_us, 0, memory_order_relaxed));
	link_put_u8(out, (uint8_t)used);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (counts[i] == 0)
			continue;
		link_put_u8(out, (uint8_t)i);
		link_put_u32(out, counts[i]);
	}
	return true;
}

/* The body of STATS; empty: nothing happened. */
static void take_counts(struct link *l, struct buf *out)
{
	struct buf rows;
	uint64_t credit_waits = atomic_exchange(&l->credit_waits, 0);
	uint16_t n = 0;

	buf_init(&rows, STATS_MAX);
	for (size_t i = 0; i < COUNT_ROWS_MAX; i++) {
		const char *name = atomic_load(&l->counts[i].name);

		for (unsigned outcome = 0; name && outcome < LINK_OUTCOME__COUNT; outcome++)
			n = (uint16_t)(n + take_cell(&l->counts[i].cells[outcome], name, outcome, &rows));
	}
	if (n > 0 || credit_waits > 0) {
		link_put_u64(out, credit_waits);
		link_put_u16(out, n);
		buf_add_slice(out, buf_slice(&rows));
	}
	if (rows.fault || out->fault) /* no memory: these are lost */
		buf_clear(out);
	buf_release(&rows);
}

void link_stats_send(struct link *l, uint64_t now)
{
	struct request req = {.header = {.version = LINK_VERSION, .type = LINK_STATS}};

	l->stats_at_ms = now + STATS_PAUSE_MS;
	if (l->hold != LINK_HOLD_NONE)
		return;
	if (l->stats.len == 0) /* else they could not be sent, and others add up meanwhile */
		take_counts(l, &l->stats);
	if (l->stats.len == 0)
		return;
	pthread_mutex_lock(&l->mtx);
	req.header.producer = l->producer;
	req.header.seq = ++l->seq;
	pthread_mutex_unlock(&l->mtx);
	req.body = l->stats; /* lent */
	req.header.body_len = (uint32_t)l->stats.len;
	if (link_dealer_send(l, &req))
		buf_clear(&l->stats);
}
