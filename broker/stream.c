#include "config.h"

#include <inttypes.h>

#include "broker/call.h"
#include "broker/conn.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define SHORT_ANSWER 4096 /* bytes; there are as many of them as there may be calls */

static const struct {
	const char *name;
	unsigned next;
} stream_states[STREAM__COUNT] = {
#define TO(state)          (1u << STREAM_##state)
#define STREAM(name, next) [STREAM_##name] = {#name, next},
#include "broker/stream_tbl.h"
#undef STREAM
#undef TO
};

bool stream_may_go(enum stream_state from, enum stream_state to)
{
	return stream_states[from].next & (1u << to);
}

const char *stream_state_name(enum stream_state state)
{
	return stream_states[state].name;
}

static void stream_go(struct stream *s, enum stream_state to, const char *why)
{
	if (!stream_may_go(s->state, to))
		die(__FILE__, __LINE__, stream_states[to].name);
	LOG(DEBUG, "stream.state", "stream=%" PRIu64 " from=%s to=%s why=\"%s\"", s->handle,
	    stream_states[s->state].name, stream_states[to].name, why);
	s->state = to;
}

bool stream_is_over(const struct stream *s)
{
	return s->state == STREAM_FINISHED || s->state == STREAM_CLOSED;
}

static uint64_t keep_ms(const struct stream *s)
{
	return (uint64_t)s->broker->cfg->stream_keep_s * 1000;
}

static uint32_t now_s(const struct stream *s)
{
	return (uint32_t)(loop_now(&s->broker->loop) / 1000);
}

/* When the oldest events are looked at again. */
static void start_keep_timer(struct stream *s)
{
	uint64_t store_keep_ms = (uint64_t)s->broker->cfg->store_keep_s * 1000, ms = keep_ms(s);

	if (ms > store_keep_ms && s->state != STREAM_FINISHED)
		ms = store_keep_ms;
	loop_timer(&s->broker->loop, &s->keep_timer, ms > 1000 ? ms : 1000);
}

static struct stream_event *event_at(const struct stream *s, uint64_t seq)
{
	return &s->events[s->events_start + (seq - s->first_seq)];
}

static size_t events_count(const struct stream *s)
{
	return (size_t)(s->last_seq + 1 - s->first_seq);
}

static uint64_t cost_of(const struct stream_event *e)
{
	return (uint64_t)e->len + STREAM_EVENT_COST;
}

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

/* The start in which the event at this position was appended. */
static uint64_t epoch_at(const struct stream *s, uint64_t position)
{
	const struct store *store = s->broker->store;
	uint64_t epoch = store->epoch;

	for (size_t i = store->epochs_count; i > 0 && position < store->epochs[i - 1].end; i--)
		epoch = store->epochs[i - 1].epoch;
	return epoch;
}

void stream_put_key(const struct stream *s, struct buf *key)
{
	link_put_u64(key, s->handle);
}

enum kept_flag { KEPT_OWN = 1, KEPT_FINISHED = 2, KEPT_VOID = 4 };

/* What is in the store of it beside its events. A stream without a session is nobody's at a later start. */
static void keep(const struct stream *s)
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

static void on_mark(struct wheel_timer *t)
{
	keep(TABLE_OF(t, struct stream, mark_timer));
}

/* Forgets the oldest event. Who did so lets keep_first() follow, in the same callback. */
static void drop_first(struct stream *s)
{
	struct stream_event *e = event_at(s, s->first_seq);

	if (!s->broker->is_leaving || !s->broker->store->is_durable)
		s->broker->store->forget(s->broker->store, e->position, e->len);
	log_give(s, cost_of(e));
	if (s->first_seq > s->delivered_seq)
		s->undelivered_bytes -= cost_of(e);
	s->gone_epoch = epoch_at(s, e->position);
	s->events_start++;
	s->first_seq++;
	if (events_count(s) > 0)
		return;
	mem_free(s->events); /* an idle stream costs no index */
	s->events = NULL;
	s->events_start = 0;
	s->events_cap = 0;
}

/* A later start tells what was forgotten from what is missing, and where the sequences of a stream without events are.
 */
static void keep_first(const struct stream *s, uint64_t first_seq_before)
{
	if (s->first_seq != first_seq_before)
		keep(s);
}

static void free_stream(struct loop_doom *d)
{
	struct stream *s = TABLE_OF(d, struct stream, doom);

	mem_free(s->events);
	mem_free(s);
}

/* To be called when it has got or lost a connection, or the promise of one. */
static void count_place(struct stream *s)
{
	bool has_place = s->state != STREAM_CLOSED && (s->conn || s->reserved);
	bool is_waiting = has_place && (s->is_own || s->is_listen);

	if (is_waiting && !s->is_counted) {
		s->broker->waiting_count++;
		share_take(s->owner, SHARE_WAITING, 1);
	} else if (!is_waiting && s->is_counted) {
		s->broker->waiting_count--;
		share_give(s->owner, SHARE_WAITING, 1);
	}
	if (has_place && !s->has_place)
		share_take(s->owner, SHARE_DESCRIPTORS, 1);
	else if (!has_place && s->has_place)
		share_give(s->owner, SHARE_DESCRIPTORS, 1);
	s->is_counted = is_waiting;
	s->has_place = has_place;
}

static void on_reserve_over(struct wheel_timer *t)
{
	struct stream *s = TABLE_OF(t, struct stream, reserve_timer);

	s->broker->fd_reserved -= s->reserved;
	s->reserved = 0;
	count_place(s);
	if (s->is_modern && !s->conn)
		stream_hangup(s, "no connection came");
}

void stream_lose(struct stream *s, uint64_t seq, const char *why)
{
	bool owes = s->call && !s->is_own;

	if (seq < s->first_seq)
		return;
	LOG(ERROR, "stream.events_lost", "stream=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64 " why=\"%s\"", s->handle,
	    s->first_seq, seq, why);
	stats_add(&s->broker->stats, STAT_LOST, seq + 1 - s->first_seq);
	if (s->conn && conn_cursor(s->conn) < seq) {
		if (owes)
			conn_skip(s->conn, seq);
		else
			conn_end(s->conn, STAT_CLOSE_FAILED);
	}
	while (s->first_seq <= seq)
		drop_first(s);
	if (s->delivered_seq < seq)
		s->delivered_seq = seq;
	keep(s);
	if (owes)
		call_end(s->call, why);
}

static void keep_again(struct table_node *n, void *arg)
{
	struct stream *s = TABLE_OF(n, struct stream, node);
	const struct store *store = s->broker->store;
	uint64_t seq = s->last_seq;

	(void)arg;
	while (seq >= s->first_seq && (s->is_modern || store->has(store, event_at(s, seq)->position)))
		seq--;
	stream_lose(s, seq, "the disk lost it");
	keep(s);
}

void stream_keep_all(struct broker *b)
{
	table_each(&b->streams, keep_again, NULL);
}

/* What nobody came for. Not while somebody reads, or is about to. */
static void trim_old(struct stream *s)
{
	uint64_t keep_s = (uint64_t)s->broker->cfg->store_keep_s, seq = s->delivered_seq;

	if (s->conn || s->reserved > 0)
		return;
	while (seq < s->ready_seq && now_s(s) - event_at(s, seq + 1)->since_s >= keep_s)
		seq++;
	if (seq > s->delivered_seq)
		stream_lose(s, seq, "nobody came for them");
}

/* The oldest events that were delivered long enough ago are not for resuming any more. Not while a client is on its way
 * (ATTACH told it a cursor), and not what the present connection replays. */
static void on_keep(struct wheel_timer *t)
{
	struct stream *s = TABLE_OF(t, struct stream, keep_timer);
	uint64_t upto = s->delivered_seq, keep_s = (uint64_t)s->broker->cfg->stream_keep_s, before = s->first_seq;

	if (s->state == STREAM_FINISHED && !s->conn && s->reserved == 0) {
		stream_close(s, "kept long enough");
		return;
	}
	if (s->conn && conn_cursor(s->conn) < upto)
		upto = conn_cursor(s->conn);
	while (s->reserved == 0 && s->first_seq <= upto && now_s(s) - event_at(s, s->first_seq)->since_s >= keep_s)
		drop_first(s);
	keep_first(s, before);
	trim_old(s);
	if (events_count(s) > 0 || s->state == STREAM_FINISHED)
		start_keep_timer(s);
}

/* NULL: no memory. */
static struct stream *make(struct broker *b, struct session *session, struct owner *owner, bool is_own, uint64_t handle)
{
	struct stream *s = mem_alloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->broker = b;
	s->session = session;
	s->owner = owner_hold(owner);
	s->is_modern = !session;
	s->is_own = is_own;
	s->handle = handle;
	s->first_seq = 1;
	s->reserve_timer.fire = on_reserve_over;
	s->keep_timer.fire = on_keep;
	s->mark_timer.fire = on_mark;
	table_add(&b->streams, &s->node, table_hash_u64(&b->streams, s->handle, 0));
	if (session) {
		s->next = session->streams;
		s->at = &session->streams;
		if (s->next)
			s->next->at = &s->next;
		session->streams = s;
	}
	if (is_own)
		return s;
	b->stream_count++;
	share_take(s->owner, SHARE_STREAMS, 1);
	if (session)
		session->streams_count++;
	return s;
}

struct stream *stream_new(struct broker *b, struct session *session, struct owner *owner, bool is_own)
{
	struct stream *s;
	uint64_t handle;

	do
		handle = b->next_handle++ * 2 + (session ? 0 : 1);
	while (stream_find(b, handle));
	s = make(b, session, owner, is_own, handle);
	if (s)
		keep(s);
	return s;
}

struct stream *stream_find(struct broker *b, uint64_t handle)
{
	struct table_node *n = table_find(&b->streams, table_hash_u64(&b->streams, handle, 0));

	for (; n; n = table_find_next(n)) {
		struct stream *s = TABLE_OF(n, struct stream, node);

		if (s->handle == handle)
			return s;
	}
	return NULL;
}

/* Room in the index for count more. Slides what is left to the front first. */
static int index_reserve(struct stream *s, size_t count)
{
	size_t used = events_count(s), cap = s->events_cap ? s->events_cap : 4;
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
	s = make(b, session, session->owner, flags & KEPT_OWN, get_u64(key));
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
	while (events_count(s) > 0)
		drop_first(s);
	s->first_seq = first_seq;
	s->last_seq = first_seq - 1;
	s->gone_epoch = epoch_at(s, event->position);
	if (s->delivered_seq < s->last_seq)
		s->delivered_seq = s->last_seq;
	keep(s);
}

bool stream_restore_event(struct broker *b, const struct store_event *e)
{
	struct stream *s = stream_find(b, e->stream);

	if (!s || e->seq <= s->last_seq)
		return false;
	if (e->seq != s->last_seq + 1)
		restart_at(s, e->seq, e);
	if (e->is_lost || index_reserve(s, 1)) {
		restart_at(s, e->seq + 1, e);
		return false;
	}
	s->last_seq = e->seq;
	*event_at(s, e->seq) =
	    (struct stream_event){.position = e->position, .len = e->len, .since_s = now_s(s), .is_durable = true};
	log_take(s, cost_of(event_at(s, e->seq)));
	if (e->seq > s->delivered_seq)
		s->undelivered_bytes += cost_of(event_at(s, e->seq));
	return true;
}

void stream_restored(struct stream *s)
{
	s->ready_seq = s->committed_seq = s->last_seq;
	if (s->delivered_seq > s->last_seq)
		s->delivered_seq = s->last_seq;
	if (s->delivered_seq + 1 < s->first_seq)
		s->delivered_seq = s->first_seq - 1;
	if (events_count(s) > 0 || s->state == STREAM_FINISHED)
		start_keep_timer(s);
}

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
	link_put_u32(out, (uint32_t)events_count(s));
	for (uint64_t seq = s->first_seq; seq <= s->last_seq; seq++)
		save_event(s, event_at(s, seq), out);
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
	if (bad || len > UINT32_MAX || (is_in_memory(s) && bytes.len != len) || index_reserve(s, 1))
		return -1;
	if (is_in_memory(s))
		position = store->append(store, s->handle, s->last_seq + 1, bytes, s->is_modern);
	else
		store->bytes_used += len;
	if (position == 0)
		return -1;
	s->last_seq++;
	*event_at(s, s->last_seq) = (struct stream_event){.position = position,
	    .len = (uint32_t)len,
	    .since_s = (uint32_t)since_s,
	    .appended_us = appended_us & UINT64_MAX >> 2,
	    .is_durable = flags & SAVED_DURABLE,
	    .is_lost = (flags & SAVED_LOST) != 0};
	log_take(s, cost_of(event_at(s, s->last_seq)));
	if (s->last_seq > s->delivered_seq)
		s->undelivered_bytes += cost_of(event_at(s, s->last_seq));
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
	    (is_own && session && session->own) || (session && (flags & SAVED_MODERN)) ||
	    owner_join(b, name, &owner))
		return NULL;
	s = make(b, session, owner, is_own, handle);
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
	count_place(s);
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
	count_place(s);
	return 0;
}

/* Makes room for len bytes by forgetting what was delivered, oldest first; what is being replayed goes last, and then
 * its connection ends: it would meet a gap. */
static bool make_room(struct stream *s, uint64_t len)
{
	uint64_t max = (uint64_t)s->broker->cfg->stream_log_max_bytes, before = s->first_seq;

	while (s->log_bytes + len > max && s->first_seq <= s->delivered_seq) {
		if (s->conn && conn_cursor(s->conn) < s->first_seq)
			conn_end(s->conn, STAT_CLOSE_SLOW);
		drop_first(s);
	}
	keep_first(s, before);
	return s->log_bytes + len <= max;
}

/* Moves ready_seq on over all that may be sent, and tells the reader. */
static void make_ready(struct stream *s)
{
	uint64_t before = s->ready_seq;

	while (s->ready_seq < s->last_seq &&
	       (s->ready_seq < s->committed_seq || !event_at(s, s->ready_seq + 1)->is_durable))
		s->ready_seq++;
	if (s->conn && s->ready_seq > before)
		conn_kick(s->conn);
}

unsigned stream_append(
    struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final, uint64_t *last)
{
	struct broker *b = s->broker;
	uint64_t len = 0, appended_us = s->conn ? now_us() : 0;
	size_t done;

	*last = s->last_seq;
	if (stream_is_over(s))
		return LINK_NACK_CLOSED;
	if (b->store->is_stalled && !s->is_modern && !is_final) /* it would wait in memory, however long that takes */
		return LINK_NACK_BUSY;
	for (size_t i = 0; i < count; i++) {
		uint64_t cost = (uint64_t)events[i].len + STREAM_EVENT_COST;

		if (!is_final && cost > (uint64_t)b->cfg->stream_log_max_bytes)
			return LINK_NACK_TOO_BIG;
		len += cost;
	}
	if (!make_room(s, len) && !is_final) {
		if (s->conn && s->is_modern) {
			conn_end(s->conn, STAT_CLOSE_SLOW); /* and with it the stream */
			return LINK_NACK_CLOSED;
		}
		if (s->conn)
			conn_close(s->conn, STAT_CLOSE_SLOW);
		if (is_durable)
			return LINK_NACK_BUSY;
		LOG(DEBUG, "stream.event_dropped", "stream=%" PRIu64 " bytes=%" PRIu64, s->handle, len);
		return 0;
	}
	/* An answer is owed: it may go beyond its client's share, and a short one, such as a will, beyond all there is.
	 */
	if (!(is_final && len <= SHORT_ANSWER) &&
	    !share_has_room(b, is_final ? NULL : s->owner, SHARE_LOG_BYTES, b->log_bytes, len))
		return LINK_NACK_BUSY;
	if (index_reserve(s, count))
		return LINK_NACK_BUSY;
	for (done = 0; done < count; done++) {
		uint64_t position = b->store->append(b->store, s->handle, s->last_seq + 1, events[done], s->is_modern);

		if (position == 0)
			break;
		s->last_seq++;
		*event_at(s, s->last_seq) = (struct stream_event){.position = position,
		    .len = (uint32_t)events[done].len,
		    .since_s = now_s(s),
		    .appended_us = appended_us & UINT64_MAX >> 2,
		    .is_durable = is_durable};
	}
	if (done < count) {
		for (; done > 0; done--, s->last_seq--)
			b->store->forget(b->store, event_at(s, s->last_seq)->position, event_at(s, s->last_seq)->len);
		return LINK_NACK_BUSY;
	}
	stats_add(&b->stats, STAT_APPENDED, count);
	stats_add(&b->stats, STAT_APPENDED_BYTES, len - count * STREAM_EVENT_COST);
	log_take(s, len);
	s->undelivered_bytes += len;
	if (!s->is_modern && !wheel_is_running(&s->keep_timer))
		start_keep_timer(s);
	*last = s->last_seq;
	make_ready(s);
	return 0;
}

void stream_commit(struct stream *s, uint64_t first, uint64_t last, int status)
{
	if (status) {
		LOG(ERROR, "stream.events_lost", "stream=%" PRIu64 " from=%" PRIu64 " to=%" PRIu64, s->handle, first,
		    last);
		for (uint64_t seq = first > s->first_seq ? first : s->first_seq; seq <= last; seq++)
			event_at(s, seq)->is_lost = true;
	}
	if (last > s->committed_seq)
		s->committed_seq = last;
	make_ready(s);
}

struct said {
	struct store_op op;
	struct broker *broker;
	uint64_t handle, seq;
};

static void on_said(struct store_op *op, int status)
{
	struct said *said = TABLE_OF(op, struct said, op);
	struct stream *s = stream_find(said->broker, said->handle);

	if (s)
		stream_commit(s, said->seq, said->seq, status);
	mem_free(said);
}

void stream_say(struct stream *s, struct slice event)
{
	struct broker *b = s->broker;
	struct said *said = mem_alloc(1, sizeof(*said));
	uint64_t seq;

	if (stream_append(s, &event, 1, said || s->is_modern, true, &seq)) {
		LOG(ERROR, "stream.event_lost", "stream=%" PRIu64 " bytes=%zu", s->handle, event.len);
		mem_free(said);
	} else if (s->is_modern) {
		stream_commit(s, seq, seq, 0);
		mem_free(said);
	} else if (said) { /* else it is ready at once, durable or not: better than never */
		*said = (struct said){.op.done = on_said, .broker = b, .handle = s->handle, .seq = seq};
		b->store->sync(b->store, &said->op);
	}
}

static void unlink_call(struct stream *s)
{
	if (s->call)
		s->call->stream = NULL;
	s->call = NULL;
}

void stream_finish(struct stream *s, const char *why)
{
	if (stream_is_over(s))
		return;
	stream_go(s, STREAM_FINISHED, why);
	unlink_call(s);
	topic_forget(s);
	if (s->conn)
		conn_kick(s->conn);
	keep(s);
	if (!s->is_modern)
		loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	else if (!s->conn && s->reserved == 0)
		stream_close(s, "nobody is there to read it");
}

void stream_close(struct stream *s, const char *why)
{
	struct broker *b = s->broker;

	if (s->state == STREAM_CLOSED)
		return;
	stream_go(s, STREAM_CLOSED, why);
	unlink_call(s);
	topic_forget(s);
	table_remove(&b->streams, &s->node);
	if (s->conn)
		conn_end(s->conn, STAT_CLOSE_STREAM);
	if (s->at) {
		*s->at = s->next;
		if (s->next)
			s->next->at = s->at;
		s->at = NULL;
	}
	if (!s->is_own) {
		b->stream_count--;
		share_give(s->owner, SHARE_STREAMS, 1);
		if (s->session)
			s->session->streams_count--;
	}
	s->session = NULL;
	b->fd_reserved -= s->reserved;
	s->reserved = 0;
	count_place(s);
	loop_untimer(&b->loop, &s->reserve_timer);
	loop_untimer(&b->loop, &s->keep_timer);
	loop_untimer(&b->loop, &s->mark_timer);
	while (events_count(s) > 0)
		drop_first(s);
	owner_leave(&s->owner);
	keep(s);
	loop_doom(&b->loop, &s->doom, free_stream);
}

void stream_hangup(struct stream *s, const char *why)
{
	struct call *call = s->call;

	if (!s->is_modern || s->state == STREAM_CLOSED)
		return;
	stream_close(s, why);
	if (call)
		call_cancel(call, SLICE(""), why);
}

static bool may_connect(const struct stream *s)
{
	struct broker *b = s->broker;

	if ((s->is_own || s->is_listen) && !s->is_counted &&
	    !share_has_room(b, s->owner, SHARE_WAITING, b->waiting_count, 1))
		return false;
	return s->has_place || share_has_room(b, s->owner, SHARE_DESCRIPTORS, b->fd_used + b->fd_reserved, 1);
}

int stream_reserve(struct stream *s)
{
	if (!may_connect(s) || !broker_fd_take(s->broker, 1))
		return -1;
	s->broker->fd_used--; /* as a promise it counts elsewhere */
	s->broker->fd_reserved++;
	s->reserved++;
	count_place(s);
	loop_timer(&s->broker->loop, &s->reserve_timer, STREAM_RESERVE_MS);
	return 0;
}

bool stream_spend_reserve(struct stream *s)
{
	if (s->reserved == 0)
		return false;
	s->reserved--;
	s->broker->fd_reserved--;
	if (s->reserved == 0)
		loop_untimer(&s->broker->loop, &s->reserve_timer);
	count_place(s);
	return true;
}

void stream_attach(struct stream *s, struct conn *conn)
{
	struct conn *older = s->conn;

	s->conn = conn; /* first: a stream that is over goes with its last connection */
	count_place(s);
	if (older)
		conn_end(older, STAT_CLOSE_NEWER);
	if (s->state == STREAM_OPEN)
		stream_go(s, STREAM_LIVE, "adopted");
	if (s->session)
		session_conn_changed(s->session);
	conn_kick(conn);
}

void stream_detach(struct stream *s, struct conn *conn, const char *why)
{
	if (s->conn != conn)
		return;
	s->conn = NULL;
	count_place(s);
	if (s->state == STREAM_CLOSED)
		return;
	if (s->session)
		session_conn_changed(s->session);
	if (s->is_modern) {
		stream_hangup(s, why);
		return;
	}
	if (s->state == STREAM_LIVE)
		stream_go(s, STREAM_OPEN, why);
	if (s->state == STREAM_FINISHED) {
		if (!s->session) /* nobody can ask for it again */
			stream_close(s, why);
		else
			loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	}
}

void stream_delivered(struct stream *s, uint64_t seq)
{
	uint64_t now, before = s->first_seq;

	if (seq <= s->delivered_seq)
		return;
	now = now_us();
	for (uint64_t i = s->delivered_seq + 1; i <= seq; i++) {
		struct stream_event *e = event_at(s, i);

		if (e->appended_us)
			histogram_add(&s->broker->stats.deliver, now - e->appended_us);
		stats_add(&s->broker->stats, STAT_DELIVERED, !e->is_lost);
		e->since_s = now_s(s);
		s->undelivered_bytes -= cost_of(e);
	}
	s->delivered_seq = seq;
	if (!s->is_modern && !wheel_is_running(&s->mark_timer) && broker_keeps(s->broker))
		loop_timer(&s->broker->loop, &s->mark_timer, STREAM_MARK_MS);
	if (s->is_modern || keep_ms(s) == 0) {
		while (s->first_seq <= s->delivered_seq)
			drop_first(s);
		keep_first(s, before);
	} else if (!wheel_is_running(&s->keep_timer)) {
		loop_timer(&s->broker->loop, &s->keep_timer, keep_ms(s));
	}
}

void stream_fill_read(const struct stream *s, uint64_t *cursor, struct store_read *r, uint64_t *seqs)
{
	uint64_t len = 0, len_max = 65536; /* bytes; one event at least */

	r->count = 0;
	while (*cursor < s->ready_seq && r->count < STORE_READ_MAX && (r->count == 0 || len < len_max)) {
		const struct stream_event *e = event_at(s, *cursor + 1);

		++*cursor;
		if (e->is_lost)
			continue;
		seqs[r->count] = *cursor;
		r->positions[r->count++] = e->position;
		len += e->len;
	}
}

void stream_put_event_id(const struct stream *s, uint64_t position, uint64_t seq, char out[LINK_EVENT_ID_SIZE])
{
	link_event_id(s->handle, epoch_at(s, position), seq, out);
}

/* Takes "NUMBER" and, unless at the end, the dot after it. */
static bool cut_number(struct slice *text, uint64_t *n)
{
	size_t i = 0;

	*n = 0;
	for (; i < text->len && text->p[i] >= '0' && text->p[i] <= '9'; i++) {
		unsigned digit = (unsigned)(text->p[i] - '0');

		if (*n > (UINT64_MAX - digit) / 10)
			return false;
		*n = *n * 10 + digit;
	}
	if (i == 0 || (i < text->len && text->p[i] != '.'))
		return false;
	if (i < text->len && ++i == text->len) /* a dot, and nothing after it */
		return false;
	text->p += i;
	text->len -= i;
	return true;
}

/* The last sequence that an earlier epoch had committed. -1: it isn't known. */
static int last_of_epoch(const struct stream *s, uint64_t epoch, uint64_t *last, bool *is_whole)
{
	const struct store *store = s->broker->store;
	uint64_t low = s->first_seq, high = s->last_seq + 1; /* the first that is of a later one is among these */
	size_t i = 0;

	while (i < store->epochs_count && store->epochs[i].epoch != epoch)
		i++;
	if (i == store->epochs_count)
		return -1;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (event_at(s, middle)->position < store->epochs[i].end)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == s->first_seq && s->gone_epoch > epoch) /* what a later one had was forgotten after it */
		return -1;
	*last = low - 1;
	*is_whole = store->epochs[i].is_whole;
	return 0;
}

/* Takes n of an earlier epoch to the place in the log where its client goes on. */
static unsigned find_in_epoch(const struct stream *s, uint64_t epoch, uint64_t *n)
{
	uint64_t last;
	bool is_whole;

	if (last_of_epoch(s, epoch, &last, &is_whole))
		return LINK_NACK_GAP;
	if (*n <= last)
		return 0;
	if (!is_whole || last + 1 < s->first_seq)
		return LINK_NACK_GAP;
	*n = last; /* what it saw beyond did not wait for its commit: nothing durable */
	return 0;
}

unsigned stream_find_event_id(struct session *session, struct slice id, struct stream **stream, uint64_t *seq)
{
	struct broker *b = session->broker;
	uint64_t handle, epoch, n;
	struct stream *s;

	if (!cut_number(&id, &handle) || !cut_number(&id, &epoch) || !cut_number(&id, &n) || id.len > 0)
		return LINK_NACK_GAP;
	s = stream_find(b, handle);
	if (!s || s->session != session)
		return LINK_NACK_GAP;
	if (epoch != b->store->epoch && find_in_epoch(s, epoch, &n))
		return LINK_NACK_GAP;
	if (n > s->ready_seq || n + 1 < s->first_seq)
		return LINK_NACK_GAP;
	if (s->state == STREAM_FINISHED && (s->is_void || n == s->last_seq))
		return LINK_NACK_DELIVERED;
	*stream = s;
	*seq = n;
	return 0;
}
