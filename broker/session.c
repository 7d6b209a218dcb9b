#include "config.h"

#include "broker/call.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

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

static void on_timer(struct wheel_timer *t)
{
	struct session *s = TABLE_OF(t, struct session, timer);
	uint64_t now = loop_now(&s->broker->loop), idle_ms = (uint64_t)s->idle_s * 1000;

	if (s->ends_with_conn) {
		if (!s->own->conn)
			session_close(s, "its connection is gone");
		return;
	}
	if (has_conn(s) || s->calls)
		s->active_ms = now;
	if (now - s->active_ms >= idle_ms)
		session_close(s, "idle");
	else
		loop_timer(&s->broker->loop, &s->timer, idle_ms - (now - s->active_ms));
}

static void start_timer(struct session *s)
{
	/* The connection of HTTP+SSE is handed over after this: at least as long as a descriptor is kept for it. */
	loop_timer(&s->broker->loop, &s->timer,
	    !s->ends_with_conn                ? (uint64_t)s->idle_s * 1000
	    : grace_ms(s) > STREAM_RESERVE_MS ? grace_ms(s)
					      : STREAM_RESERVE_MS);
}

/* In no table yet, without a stream. NULL: no memory. */
static struct session *make(
    struct broker *b, struct slice id, struct slice principal, unsigned flags, struct slice blob)
{
	struct session *s = mem_alloc(1, sizeof(*s));
	char *names = mem_alloc(1, id.len + principal.len + 1), *copy = mem_dup(blob.p, blob.len);

	if (!s || !names || !copy) {
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
	s->active_ms = loop_now(&b->loop);
	s->timer.fire = on_timer;
	return s;
}

static void put_value(const struct session *s, struct buf *value)
{
	buf_init(value, SIZE_MAX / 2);
	link_put_bytes(value, s->principal);
	link_put_u8(value, (uint8_t)((s->hears_lists ? LINK_SESSION_HEARS_LISTS : 0) |
				     (s->ends_with_conn ? LINK_SESSION_ENDS_WITH_CONN : 0)));
	link_put_u32(value, s->idle_s);
	link_put_u64(value, s->version);
	link_put_bytes(value, s->blob);
}

static void keep(const struct session *s)
{
	struct buf value;

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

unsigned session_new(struct broker *b, struct slice id, struct slice principal, unsigned flags, uint32_t idle_s,
    struct slice blob, struct session **session)
{
	struct session *s;

	if (b->sessions.count >= (size_t)b->cfg->session_max)
		return LINK_NACK_LIMIT;
	s = make(b, id, principal, flags, blob);
	if (!s)
		return LINK_NACK_BUSY;
	s->own = stream_new(b, s, true);
	if (!s->own) {
		free_session(&s->doom);
		return LINK_NACK_BUSY;
	}
	s->idle_s = idle_s ? idle_s : (uint32_t)b->cfg->session_idle_s;
	start_timer(s);
	table_add(&b->sessions, &s->node, table_hash_bytes(&b->sessions, s->id));
	keep(s);
	*session = s;
	return 0;
}

bool session_restore(struct broker *b, struct slice id, struct slice value)
{
	bool bad = false;
	struct slice principal = link_get_bytes(&value, &bad);
	unsigned flags = link_get_u8(&value, &bad);
	uint32_t idle_s = link_get_u32(&value, &bad);
	uint64_t version = link_get_u64(&value, &bad);
	struct slice blob = link_get_bytes(&value, &bad);
	struct session *s = bad ? NULL : make(b, id, principal, flags, blob);

	if (!s)
		return false;
	s->idle_s = idle_s;
	s->version = version;
	start_timer(s);
	table_add(&b->sessions, &s->node, table_hash_bytes(&b->sessions, s->id));
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

	if (bad || session_find(b, id, NULL) || !session_restore(b, id, value))
		return -1;
	s = session_find(b, id, NULL);
	s->active_ms = link_get_u64(&in, &bad);
	loop_untimer(&b->loop, &s->timer);
	snapshot_get_timer(&in, &b->loop, &s->timer, &bad);
	return bad || in.len > 0 ? -1 : 0;
}

int session_restored(struct session *s)
{
	if (!s->own) /* it was dropped on the way */
		s->own = stream_new(s->broker, s, true);
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

void session_touch(struct session *s)
{
	s->active_ms = loop_now(&s->broker->loop);
}

void session_conn_changed(struct session *s)
{
	session_touch(s);
	if (!s->ends_with_conn)
		return;
	if (s->own->conn)
		loop_untimer(&s->broker->loop, &s->timer);
	else
		loop_timer(&s->broker->loop, &s->timer, grace_ms(s));
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
	loop_doom(&b->loop, &s->doom, free_session);
}
