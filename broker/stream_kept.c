#include "config.h"

#include <inttypes.h>

#include "broker/session.h"
#include "broker/stream_priv.h"
#include "common/log.h"
#include "common/banned.h"

void stream_put_key(const struct stream *s, struct buf *key)
{
	link_put_u64(key, s->handle);
}

enum kept_flag { KEPT_OWN = 1, KEPT_FINISHED = 2, KEPT_VOID = 4 };

void stream_keep(const struct stream *s)
{
	struct buf key, value;

	if (s->is_modern || !broker_keeps(s->broker))
		return;
	buf_init(&key, sizeof(uint64_t));
	buf_init(&value, SIZE_MAX / 2);
	stream_put_key(s, &key);
	if (s->session && s->state != STREAM_CLOSED) {
		link_put_bytes(&value, s->session->id);
		link_put_u8(
		    &value, (uint8_t)((s->is_own ? KEPT_OWN : 0) | (s->state == STREAM_FINISHED ? KEPT_FINISHED : 0) |
				      (s->is_void ? KEPT_VOID : 0)));
		link_put_u64(&value, s->first_seq);
		link_put_u64(&value, s->gone_epoch);
		link_put_u64(&value, s->delivered_seq);
		broker_keep(s->broker, STORE_STREAM, buf_slice(&key), &value);
	} else {
		broker_unkeep(s->broker, STORE_STREAM, buf_slice(&key));
	}
	buf_release(&key);
}

static void keep_again(struct table_node *n, void *arg)
{
	struct stream *s = TABLE_OF(n, struct stream, node);
	const struct store *store = s->broker->store;
	uint64_t seq = s->last_seq;

	(void)arg;
	while (seq >= s->first_seq && (s->is_modern || store->has(store, stream_event_at(s, seq)->position)))
		seq--;
	stream_lose(s, seq, "the disk lost it");
	stream_keep(s);
}

void stream_keep_all(struct broker *b)
{
	table_each(&b->streams, keep_again, NULL);
}

static uint64_t get_u64(struct slice in)
{
	bool bad = false;

	return link_get_u64(&in, &bad);
}

bool stream_restore(struct broker *b, struct slice key, struct slice value)
{
	bool bad = key.len != sizeof(uint64_t);
	struct slice id = link_get_bytes(&value, &bad);
	unsigned flags = link_get_u8(&value, &bad);
	uint64_t first_seq = link_get_u64(&value, &bad), gone_epoch = link_get_u64(&value, &bad);
	uint64_t delivered_seq = link_get_u64(&value, &bad);
	struct session *session = bad ? NULL : session_find(b, id, NULL);
	struct stream *s;

	if (!session || first_seq == 0 || ((flags & KEPT_OWN) && session->own))
		return false;
	s = stream_make(b, session, session->owner, flags & KEPT_OWN, get_u64(key));
	if (!s)
		return false;
	if (flags & KEPT_OWN)
		session->own = s;
	s->first_seq = first_seq;
	s->last_seq = first_seq - 1;
	s->gone_epoch = gone_epoch;
	s->delivered_seq = delivered_seq;
	s->is_void = flags & KEPT_VOID;
	if (flags & KEPT_FINISHED)
		stream_go(s, STREAM_FINISHED, "it was before");
	return true;
}

/* What is missing there, before this event, can't be told but by a gap: all before it goes too. */
static void restart_at(struct stream *s, uint64_t first_seq, const struct store_event *event)
{
	LOG(ERROR, "stream.events_lost", "stream=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64 " why=\"not in the store\"",
	    s->handle, s->first_seq, first_seq - 1);
	while (stream_events_count(s) > 0)
		stream_drop_first(s);
	s->first_seq = first_seq;
	s->last_seq = first_seq - 1;
	s->gone_epoch = stream_epoch_at(s, event->position);
	if (s->delivered_seq < s->last_seq)
		s->delivered_seq = s->last_seq;
	stream_keep(s);
}

bool stream_restore_event(struct broker *b, const struct store_event *e)
{
	struct stream *s = stream_find(b, e->stream);

	if (!s || e->seq <= s->last_seq)
		return false;
	if (e->seq != s->last_seq + 1)
		restart_at(s, e->seq, e);
	if (e->is_lost || stream_index_reserve(s, 1)) {
		restart_at(s, e->seq + 1, e);
		return false;
	}
	stream_log_push(s, (struct stream_event){
			       .position = e->position, .len = e->len, .since_s = stream_now_s(s), .is_durable = true});
	return true;
}

void stream_restored(struct stream *s)
{
	s->ready_seq = s->committed_seq = s->last_seq;
	if (s->delivered_seq > s->last_seq)
		s->delivered_seq = s->last_seq;
	if (s->delivered_seq + 1 < s->first_seq)
		s->delivered_seq = s->first_seq - 1;
	if (stream_events_count(s) > 0 || s->state == STREAM_FINISHED)
		stream_start_keep_timer(s);
}
