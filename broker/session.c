#include "config.h"

#include "broker/call.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define DAY_MS UINT64_C(86400000) /* no timer waits longer */

static void free_session(struct loop_doom *d)
{
	struct session *s = TABLE_OF(d, struct session, doom);

	mem_free((char *)(uintptr_t)s->id.p);
	mem_free((char *)(uintptr_t)s->blob.p);
	mem_free(s);
}

static uint64_t grace_ms(const struct session *s)
{
	return (uint64_t)s->broker->cfg->session_grace_s * 1000;
}

static bool has_conn(const struct session *s)
{
	for (const struct stream *t = s->streams; t; t = t->next) {
		if (t->conn)
			return true;
	}
	return false;
}

/* How old the active_ms may be that a later start finds, which therefore takes it to be as much newer: a request is not
 * worth a write, a part of the idle time is. */
static uint64_t mark_ms(const struct session *s)
{
	return (uint64_t)s->idle_s * 1000 / 8;
}

static void keep(struct session *s);

/* After wait_ms, or when its time is over. */
static void start_timer(struct session *s, uint64_t wait_ms)
{
	uint64_t now = loop_now(&s->broker->loop), left_ms = s->ends_ms > now ? s->ends_ms - now : 0;

	if (wait_ms > left_ms)
		wait_ms = left_ms;
	loop_timer(&s->broker->loop, &s->timer, wait_ms < DAY_MS ? wait_ms : DAY_MS);
}

static void on_timer(struct wheel_timer *t)
{
	struct session *s = TABLE_OF(t, struct session, timer);
	uint64_t now = loop_now(&s->broker->loop), idle_ms = (uint64_t)s->idle_s * 1000, left_ms;

	if (now >= s->ends_ms) {
		session_close(s, "session_life_s are over");
		return;
	}
	if (s->ends_with_conn) {
		if (s->own->conn)
			start_timer(s, UINT64_MAX);
		else
			session_close(s, "its connection is gone");
		return;
	}
	if (has_conn(s) || s->calls)
		s->active_ms = now;
	if (now - s->active_ms >= idle_ms) {
		session_close(s, "idle");
		return;
	}
	if (s->active_ms != s->kept_active_ms)
		keep(s);
	left_ms = idle_ms - (now - s->active_ms);
	start_timer(s, left_ms < mark_ms(s) ? left_ms : mark_ms(s));
}

/* Of a session that is new here. */
static void start_first_timer(struct session *s)
{
	/* The connection of HTTP+SSE is handed over after this: at least as long as a descriptor is kept for it. */
	start_timer(s, !s->ends_with_conn                ? mark_ms(s)
		       : grace_ms(s) > STREAM_RESERVE_MS ? grace_ms(s)
							 : STREAM_RESERVE_MS);
}

/* How long ago that was. The clock may have been set back. */
static uint64_t since(uint64_t real_ms)
{
	uint64_t now = clock_ms(CLOCK_REALTIME);

	return now > real_ms ? now - real_ms : 0;
}

/* From begun_ms and the settings of now. */
static void set_end(struct session *s)
{
	uint64_t life_ms = (uint64_t)s->broker->cfg->session_life_s * 1000, age_ms = since(s->begun_ms);

	if (life_ms == 0)
		s->ends_ms = UINT64_MAX;
	else
		s->ends_ms = loop_now(&s->broker->loop) + (age_ms < life_ms ? life_ms - age_ms : 0);
}

/* Of one that never came into the table. */
static void drop(struct session *s)
{
	owner_leave(&s->owner);
	free_session(&s->doom);
}

/* In no table yet, without a stream. NULL: no memory. */
static struct session *make(
    struct broker *b, struct slice id, struct slice principal, struct slice owner, unsigned flags, struct slice blob)
{
	struct session *s = mem_alloc(1, sizeof(*s));
	char *names = mem_alloc(1, id.len + principal.len + 1), *copy = mem_dup(blob.p, blob.len);

	if (!s || !names || !copy || owner_join(b, owner, &s->owner)) {
		mem_free(s);
		mem_free(names);
		mem_free(copy);
		return NULL;
	}
	memcpy(names, id.p, id.len);
	if (principal.len)
		memcpy(names + id.len, principal.p, principal.len);
	s->broker = b;
	s->id = (struct slice){names, id.len};
	s->principal = (struct slice){names + id.len, principal.len};
	s->blob = (struct slice){copy, blob.len};
	s->version = 1;
	s->hears_lists = flags & LINK_SESSION_HEARS_LISTS;
	s->ends_with_conn = flags & LINK_SESSION_ENDS_WITH_CONN;
	s->level = (uint8_t)LINK_LEVEL_OF(flags);
	s->active_ms = s->kept_active_ms = loop_now(&b->loop);
	s->begun_ms = clock_ms(CLOCK_REALTIME);
	s->timer.fire = on_timer;
	return s;
}

static void put_value(const struct session *s, struct buf *value)
{
	buf_init(value, SIZE_MAX / 2);
	link_put_bytes(value, s->principal);
	link_put_u8(value, (uint8_t)((s->hears_lists ? LINK_SESSION_HEARS_LISTS : 0) |
				     (s->ends_with_conn ? LINK_SESSION_ENDS_WITH_CONN : 0) | s->level << 4));
	link_put_u32(value, s->idle_s);
	link_put_u64(value, s->version);
	link_put_bytes(value, s->blob);
	link_put_u64(value, s->begun_ms);
	link_put_u64(value, clock_ms(CLOCK_REALTIME) - (loop_now(&s->broker->loop) - s->active_ms));
	link_put_bytes(value, owner_name(s->owner));
}

static void keep(struct session *s)
{
	struct buf value;

	s->kept_active_ms = s->active_ms;
	if (!broker_keeps(s->broker))
		return;
	put_value(s, &value);
	broker_keep(s->broker, STORE_SESSION, s->id, &value);
}

static void keep_node(struct table_node *n, void *arg)
{
	(void)arg;
	keep(TABLE_OF(n, struct session, node));
}

void session_keep_all(struct broker *b)
{
	table_each(&b->sessions, keep_node, NULL);
}

static void add(struct session *s)
{
	struct broker *b = s->broker;

	share_take(s->owner, SHARE_SESSIONS, 1);
	start_first_timer(s);
	table_add(&b->sessions, &s->node, table_hash_bytes(&b->sessions, s->id));
}

unsigned session_new(struct broker *b, struct slice id, struct slice principal, struct slice owner, unsigned flags,
    uint32_t idle_s, struct slice blob, struct session **session)
{
	struct session *s = make(b, id, principal, owner, flags, blob);
	bool has_room;

	if (!s)
		return LINK_NACK_BUSY;
	has_room = share_has_room(b, s->owner, SHARE_SESSIONS, b->sessions.count, 1);
	if (has_room)
		s->own = stream_new(b, s, s->owner, true);
	if (!s->own) {
		drop(s);
		return has_room ? LINK_NACK_BUSY : LINK_NACK_LIMIT;
	}
	s->idle_s = idle_s ? idle_s : (uint32_t)b->cfg->session_idle_s;
	set_end(s);
	add(s);
	keep(s);
	*session = s;
	return 0;
}

/* As it was put, however old: in no table yet. NULL: it is not to be understood, or no memory. */
static struct session *build(struct broker *b, struct slice id, struct slice value)
{
	bool bad = false;
	struct slice principal = link_get_bytes(&value, &bad);
	unsigned flags = link_get_u8(&value, &bad);
	uint32_t idle_s = link_get_u32(&value, &bad);
	uint64_t version = link_get_u64(&value, &bad);
	struct slice blob = link_get_bytes(&value, &bad);
	uint64_t begun_ms = link_get_u64(&value, &bad), idle_ms = since(link_get_u64(&value, &bad));
	struct slice owner = link_get_bytes(&value, &bad);
	struct session *s = bad ? NULL : make(b, id, principal, owner, flags, blob);

	if (!s)
		return NULL;
	s->idle_s = idle_s;
	s->version = version;
	s->begun_ms = begun_ms;
	s->active_ms -= idle_ms > mark_ms(s) ? idle_ms - mark_ms(s) : 0; /* below zero too: only differences count */
	s->kept_active_ms = s->active_ms;
	set_end(s);
	return s;
}

static bool is_over(const struct session *s)
{
	uint64_t now = loop_now(&s->broker->loop);

	return now >= s->ends_ms || (!s->ends_with_conn && now - s->active_ms >= (uint64_t)s->idle_s * 1000);
}

bool session_restore(struct broker *b, struct slice id, struct slice value)
{
	struct session *s = build(b, id, value);

	if (!s)
		return false;
	if (is_over(s)) {
		drop(s);
		return false;
	}
	add(s);
	return true;
}

void session_save(const struct session *s, struct buf *out)
{
	struct buf value;

	put_value(s, &value);
	link_put_bytes(out, s->id);
	snapshot_put_value(out, &value);
	link_put_u64(out, s->active_ms);
	snapshot_put_timer(out, &s->broker->loop, &s->timer);
}

int session_load(struct broker *b, struct slice in)
{
	bool bad = false;
	struct slice id = link_get_bytes(&in, &bad), value = link_get_bytes(&in, &bad);
	struct session *s;

	if (bad || session_find(b, id, NULL))
		return -1;
	s = build(b, id, value);
	if (!s)
		return -1;
	add(s);
	s->active_ms = link_get_u64(&in, &bad);
	loop_untimer(&b->loop, &s->timer);
	snapshot_get_timer(&in, &b->loop, &s->timer, &bad);
	return bad || in.len > 0 ? -1 : 0;
}

int session_restored(struct session *s)
{
	if (!s->own) /* it was dropped on the way */
		s->own = stream_new(s->broker, s, s->owner, true);
	return s->own ? 0 : -1;
}

unsigned session_update(
    struct session *s, uint64_t version_expected, unsigned flags, uint32_t idle_s, struct slice blob)
{
	char *copy;

	if (version_expected != s->version)
		return LINK_NACK_VERSION;
	copy = mem_dup(blob.p, blob.len);
	if (!copy)
		return LINK_NACK_BUSY;
	mem_free((char *)(uintptr_t)s->blob.p);
	s->blob = (struct slice){copy, blob.len};
	s->version++;
	if (flags & LINK_SESSION_HEARS_LISTS)
		s->hears_lists = true;
	if (LINK_LEVEL_OF(flags))
		s->level = (uint8_t)LINK_LEVEL_OF(flags);
	if (idle_s)
		s->idle_s = idle_s;
	session_touch(s);
	keep(s);
	return 0;
}

struct session *session_find(struct broker *b, struct slice id, const struct slice *principal)
{
	struct table_node *n = table_find(&b->sessions, table_hash_bytes(&b->sessions, id));

	for (; n; n = table_find_next(n)) {
		struct session *s = TABLE_OF(n, struct session, node);

		if (slice_eq(s->id, id))
			return principal && !slice_eq(s->principal, *principal) ? NULL : s;
	}
	return NULL;
}

struct search {
	struct slice beginning;
	struct session *found;
	size_t count;
};

static void compare(struct table_node *n, void *arg)
{
	struct session *s = TABLE_OF(n, struct session, node);
	struct search *search = arg;

	if (s->id.len < search->beginning.len ||
	    memcmp(s->id.p, search->beginning.p, search->beginning.len) != 0)
		return;
	search->found = s;
	search->count++;
}

struct session *session_find_beginning(struct broker *b, struct slice beginning, unsigned *nack)
{
	struct search search = {.beginning = beginning, .found = session_find(b, beginning, NULL)};

	if (search.found)
		return search.found;
	table_each(&b->sessions, compare, &search);
	*nack = search.count ? LINK_NACK_DUPLICATE_ID : LINK_NACK_NO_SESSION;
	return search.count == 1 ? search.found : NULL;
}

void session_touch(struct session *s)
{
	s->active_ms = loop_now(&s->broker->loop);
}

void session_conn_changed(struct session *s)
{
	session_touch(s);
	if (!s->ends_with_conn)
		return;
	start_timer(s, s->own->conn ? UINT64_MAX : grace_ms(s));
}

void session_close(struct session *s, const char *why)
{
	struct broker *b = s->broker;
	struct stream *t;

	if (s->is_closed)
		return;
	s->is_closed = true;
	LOG(INFO, "session.end", "why=\"%s\" sessions=%zu", why, b->sessions.count - 1);
	table_remove(&b->sessions, &s->node);
	loop_untimer(&b->loop, &s->timer);
	while (s->calls) {
		struct call *c = s->calls;

		call_cancel(c, SLICE(""), why);
		call_close(c);
	}
	while ((t = s->streams) != NULL) {
		s->streams = t->next;
		if (t->next)
			t->next->at = &s->streams;
		t->at = NULL;
		t->next = NULL;
		t->session = NULL;
		if (t->conn) /* delivers what is ready, then goes with its connection */
			stream_finish(t, why);
		else
			stream_close(t, why);
	}
	broker_unkeep(b, STORE_SESSION, s->id);
	share_give(s->owner, SHARE_SESSIONS, 1);
	owner_leave(&s->owner);
	loop_doom(&b->loop, &s->doom, free_session);
}
