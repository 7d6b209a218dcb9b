#include "config.h"

#include "broker/conn.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/stream_priv.h"
#include "common/banned.h"

enum saved_flag { SAVED_MODERN = 1, SAVED_OWN = 2, SAVED_LISTEN = 4, SAVED_VOID = 8 };
enum saved_event_flag { SAVED_DURABLE = 1, SAVED_LOST = 2 };
#define SAVED_EVENT_LEN 33 /* bytes at least: four numbers and flags */

/* Events that only memory has go with their bytes. */
static bool is_in_memory(const struct stream *s)
{
	return s->is_modern || !s->broker->store->is_durable;
}

static void save_event(const struct stream *s, const struct stream_event *e, struct buf *out)
{
	struct store *store = s->broker->store;
	struct slice bytes = {0};

	link_put_u64(out, e->position);
	link_put_u64(out, e->len);
	link_put_u64(out, e->since_s);
	link_put_u64(out, e->appended_us);
	link_put_u8(out, (uint8_t)((e->is_durable ? SAVED_DURABLE : 0) | (e->is_lost ? SAVED_LOST : 0)));
	if (!is_in_memory(s))
		return;
	if (!store->peek(store, e->position, &bytes))
		out->fault = ERR_BROKER;
	link_put_bytes(out, bytes);
}

void stream_save(const struct stream *s, struct buf *out)
{
	const struct loop *l = &s->broker->loop;

	link_put_u64(out, s->handle);
	link_put_bytes(out, s->session ? s->session->id : SLICE(""));
	link_put_bytes(out, owner_name(s->owner));
	link_put_u8(out, (uint8_t)((s->is_modern ? SAVED_MODERN : 0) | (s->is_own ? SAVED_OWN : 0) |
				   (s->is_listen ? SAVED_LISTEN : 0) | (s->is_void ? SAVED_VOID : 0)));
	link_put_u8(out, (uint8_t)s->state);
	link_put_u64(out, s->first_seq);
	link_put_u64(out, s->ready_seq);
	link_put_u64(out, s->delivered_seq);
	link_put_u64(out, s->committed_seq);
	link_put_u64(out, s->gone_epoch);
	link_put_u32(out, s->reserved);
	snapshot_put_timer(out, l, &s->reserve_timer);
	snapshot_put_timer(out, l, &s->keep_timer);
	snapshot_put_timer(out, l, &s->mark_timer);
	link_put_u32(out, (uint32_t)stream_events_count(s));
	for (uint64_t seq = s->first_seq; seq <= s->last_seq; seq++)
		save_event(s, stream_event_at(s, seq), out);
}

static int load_event(struct stream *s, struct slice *in)
{
	struct store *store = s->broker->store;
	bool bad = false;
	uint64_t position = link_get_u64(in, &bad), len = link_get_u64(in, &bad), since_s = link_get_u64(in, &bad);
	uint64_t appended_us = link_get_u64(in, &bad);
	unsigned flags = link_get_u8(in, &bad);
	struct slice bytes = {0};

	if (is_in_memory(s))
		bytes = link_get_bytes(in, &bad);
	if (bad || len > UINT32_MAX || (is_in_memory(s) && bytes.len != len) || stream_index_reserve(s, 1))
		return -1;
	if (is_in_memory(s))
		position = store->append(store, s->handle, s->last_seq + 1, bytes, s->is_modern);
	else
		store->bytes_used += len;
	if (position == 0)
		return -1;
	stream_log_push(s, (struct stream_event){.position = position,
			       .len = (uint32_t)len,
			       .since_s = (uint32_t)since_s,
			       .appended_us = appended_us & UINT64_MAX >> 2,
			       .is_durable = flags & SAVED_DURABLE,
			       .is_lost = (flags & SAVED_LOST) != 0});
	return 0;
}

/* NULL: no memory, or it can't be. */
static struct stream *load_identity(struct broker *b, struct slice *in, bool *bad)
{
	uint64_t handle = link_get_u64(in, bad);
	struct slice id = link_get_bytes(in, bad), name = link_get_bytes(in, bad);
	unsigned flags = link_get_u8(in, bad), state = link_get_u8(in, bad);
	struct session *session = *bad || id.len == 0 ? NULL : session_find(b, id, NULL);
	bool is_own = flags & SAVED_OWN;
	struct owner *owner;
	struct stream *s;

	if (*bad || state >= STREAM_CLOSED || (id.len > 0 && !session) || stream_find(b, handle) ||
	    (is_own && session && session->own) || (session && (flags & SAVED_MODERN)) || owner_join(b, name, &owner))
		return NULL;
	s = stream_make(b, session, owner, is_own, handle);
	owner_leave(&owner);
	if (!s)
		return NULL;
	if (session && is_own)
		session->own = s;
	s->is_modern = flags & SAVED_MODERN;
	s->is_listen = flags & SAVED_LISTEN;
	s->is_void = flags & SAVED_VOID;
	if (state != STREAM_OPEN)
		stream_go(s, (enum stream_state)state, "as it was before");
	return s;
}

int stream_load(struct broker *b, struct slice in)
{
	bool bad = false;
	struct stream *s = load_identity(b, &in, &bad);
	uint32_t count;

	if (!s)
		return -1;
	s->first_seq = link_get_u64(&in, &bad);
	s->last_seq = s->first_seq - 1;
	s->ready_seq = link_get_u64(&in, &bad);
	s->delivered_seq = link_get_u64(&in, &bad);
	s->committed_seq = link_get_u64(&in, &bad);
	s->gone_epoch = link_get_u64(&in, &bad);
	s->reserved = link_get_u32(&in, &bad);
	if (s->reserved > b->fd_max) {
		s->reserved = 0;
		bad = true;
	}
	b->fd_reserved += s->reserved;
	snapshot_get_timer(&in, &b->loop, &s->reserve_timer, &bad);
	snapshot_get_timer(&in, &b->loop, &s->keep_timer, &bad);
	snapshot_get_timer(&in, &b->loop, &s->mark_timer, &bad);
	count = snapshot_get_count(&in, SAVED_EVENT_LEN, &bad);
	bad = bad || s->first_seq == 0 || s->first_seq > UINT64_MAX - count;
	for (uint32_t i = 0; i < count && !bad; i++)
		bad = load_event(s, &in);
	stream_count_place(s);
	return bad || in.len > 0 || s->delivered_seq + 1 < s->first_seq || s->ready_seq < s->delivered_seq ||
		       s->last_seq < s->ready_seq || s->last_seq < s->committed_seq
		   ? -1
		   : 0;
}

int stream_load_reader(struct stream *s, struct conn *conn)
{
	uint64_t cursor = conn_cursor(conn);

	if (s->conn || s->state == STREAM_OPEN || cursor > s->ready_seq || cursor + 1 < s->first_seq)
		return -1;
	s->conn = conn;
	stream_count_place(s);
	return 0;
}
