#include "config.h"

#include "broker/share.h"
#include "broker/stream_priv.h"
#include "common/mem.h"
#include "common/banned.h"

/* Bytes of its log, as they are counted. */
static void log_take(struct stream *s, uint64_t bytes)
{
	s->log_bytes += bytes;
	s->broker->log_bytes += bytes;
	share_take(s->owner, SHARE_LOG_BYTES, bytes);
}

static void log_give(struct stream *s, uint64_t bytes)
{
	s->log_bytes -= bytes;
	s->broker->log_bytes -= bytes;
	share_give(s->owner, SHARE_LOG_BYTES, bytes);
}

uint64_t stream_epoch_at(const struct stream *s, uint64_t position)
{
	const struct store *store = s->broker->store;
	uint64_t epoch = store->epoch;

	for (size_t i = store->epochs_count; i > 0 && position < store->epochs[i - 1].end; i--)
		epoch = store->epochs[i - 1].epoch;
	return epoch;
}

void stream_drop_first(struct stream *s)
{
	struct stream_event *e = stream_event_at(s, s->first_seq);

	if (!s->broker->is_leaving || !s->broker->store->is_durable)
		s->broker->store->forget(s->broker->store, e->position, e->len);
	log_give(s, stream_event_cost(e));
	if (s->first_seq > s->delivered_seq)
		s->undelivered_bytes -= stream_event_cost(e);
	s->gone_epoch = stream_epoch_at(s, e->position);
	s->events_start++;
	s->first_seq++;
	if (stream_events_count(s) > 0)
		return;
	mem_free(s->events); /* an idle stream costs no index */
	s->events = NULL;
	s->events_start = 0;
	s->events_cap = 0;
}

/* Slides what is left to the front first. */
int stream_index_reserve(struct stream *s, size_t count)
{
	size_t used = stream_events_count(s), cap = s->events_cap ? s->events_cap : 4;
	struct stream_event *events;

	if (s->events_cap - s->events_start - used >= count && s->events)
		return 0;
	if (s->events_start > 0) {
		memmove(s->events, s->events + s->events_start, used * sizeof(*events));
		s->events_start = 0;
	}
	while (cap < used + count)
		cap *= 2;
	if (cap == s->events_cap)
		return 0;
	events = mem_realloc(s->events, cap * sizeof(*events));
	if (!events)
		return -1;
	s->events = events;
	s->events_cap = cap;
	return 0;
}

void stream_log_push(struct stream *s, struct stream_event e)
{
	s->last_seq++;
	*stream_event_at(s, s->last_seq) = e;
	log_take(s, stream_event_cost(&e));
	if (s->last_seq > s->delivered_seq)
		s->undelivered_bytes += stream_event_cost(&e);
}

static void drop_last(struct stream *s)
{
	const struct stream_event *e = stream_event_at(s, s->last_seq);

	s->broker->store->forget(s->broker->store, e->position, e->len);
	log_give(s, stream_event_cost(e));
	s->undelivered_bytes -= stream_event_cost(e);
	s->last_seq--;
}

/* 0: no memory. */
static uint64_t store_event(const struct stream *s, struct slice event, uint64_t *joint)
{
	struct store *store = s->broker->store;
	uint64_t seq = s->last_seq + 1, position;

	if (joint && *joint && store->join(store, *joint, s->handle, seq))
		return *joint;
	position = store->append(store, s->handle, seq, event, s->is_modern);
	if (joint)
		*joint = position;
	return position;
}

int stream_log_append(struct stream *s, const struct slice *events, size_t count, bool is_durable, uint64_t *joint)
{
	uint64_t appended_us = s->conn ? now_us() : 0;
	size_t done;

	if (stream_index_reserve(s, count))
		return -1;
	for (done = 0; done < count; done++) {
		uint64_t position = store_event(s, events[done], joint);

		if (position == 0)
			break;
		stream_log_push(s, (struct stream_event){.position = position,
				       .len = (uint32_t)events[done].len,
				       .since_s = stream_now_s(s),
				       .appended_us = appended_us & UINT64_MAX >> 2,
				       .is_durable = is_durable});
	}
	if (done == count)
		return 0;
	while (done-- > 0)
		drop_last(s);
	return -1;
}
