#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/fake_link.h"
#include "common/banned.h"

static int asked(struct link *l, enum fake_op op, struct err *err)
{
	l->asked[op]++;
	return l->fail[op] == ERR_NONE ? 0 : err_set(err, l->fail[op], "fake failure");
}

static uint64_t add_stream(struct link *l, const char *session)
{
	struct fake_stream *s = &l->streams[++l->streams_count];

	DIE_UNLESS(l->streams_count <= FAKE_STREAMS_MAX);
	snprintf(s->session, sizeof(s->session), "%.*s", LINK_KEY_MAX, session);
	return l->streams_count;
}

static struct fake_session *find(struct link *l, struct slice id, const char *principal, struct err *err)
{
	struct fake_session *s = fake_link_session(l, id);

	if (s && strcmp(s->principal, principal) == 0)
		return s;
	err_set(err, ERR_NO_SESSION, "no such session");
	return NULL;
}

struct fake_session *fake_link_session(struct link *l, struct slice id)
{
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (l->sessions[i].id[0] && slice_is(id, l->sessions[i].id))
			return &l->sessions[i];
	}
	return NULL;
}

void fake_link_forget(struct link *l)
{
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		buf_release(&l->streams[i].head);
		buf_release(&l->streams[i].events);
	}
	memset(l->streams, 0, sizeof(l->streams));
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		buf_init(&l->streams[i].head, 1 << 16);
		buf_init(&l->streams[i].events, 1 << 24);
		buf_reserve(&l->streams[i].events, 4096); /* wills come also when the worker has no memory */
	}
	l->streams_count = 0;
	memset(l->fail, 0, sizeof(l->fail));
	memset(l->asked, 0, sizeof(l->asked));
	l->event_max = 0;
	buf_clear(&l->wills);
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (l->sessions[i].id[0])
			l->sessions[i].stream = add_stream(l, l->sessions[i].id);
	}
}

struct link *link_new(const struct cfg *cfg)
{
	struct link *l = calloc(1, sizeof(*l));

	(void)cfg;
	DIE_UNLESS(l);
	buf_init(&l->wills, 1 << 20);
	buf_reserve(&l->wills, 1 << 16);
	fake_link_forget(l);
	return l;
}

void link_free(struct link **linkp)
{
	struct link *l = *linkp;

	if (!l)
		return;
	DIE_UNLESS(!l->calls);
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		buf_release(&l->streams[i].head);
		buf_release(&l->streams[i].events);
	}
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++)
		buf_release(&l->sessions[i].blob);
	buf_release(&l->wills);
	free(l);
	*linkp = NULL;
}

int link_session_put(struct link *l, struct slice session, const char *principal, uint64_t version_expected,
    unsigned flags, struct slice blob, uint64_t *version, struct err *err)
{
	struct fake_session *s = fake_link_session(l, session);

	if (asked(l, FAKE_SESSION_PUT, err))
		return -1;
	if (version_expected) {
		s = find(l, session, principal, err);
		if (!s)
			return -1;
		if (s->version != version_expected)
			return err_set(err, ERR_BUSY, "another version");
	} else {
		DIE_UNLESS(!s);
		for (s = l->sessions; s->id[0]; s++)
			DIE_UNLESS(s < &l->sessions[FAKE_SESSIONS_MAX - 1]);
		snprintf(s->id, sizeof(s->id), "%.*s", (int)session.len, session.p);
		snprintf(s->principal, sizeof(s->principal), "%s", principal);
		buf_init(&s->blob, 1 << 20);
		s->flags = flags;
		s->stream = add_stream(l, s->id);
	}
	if (!buf_reserve(&s->blob, blob.len))
		return err_set(err, ERR_NOMEM, "fake session");
	buf_clear(&s->blob);
	buf_add_slice(&s->blob, blob);
	s->version++;
	if (version)
		*version = s->version;
	return 0;
}

int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err)
{
	struct fake_session *s;

	if (asked(l, FAKE_SESSION_DEL, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	buf_release(&s->blob);
	*s = (struct fake_session){0};
	return 0;
}

static bool has_line(const struct buf *lines, struct slice line)
{
	for (const char *p = lines->data; p && *p; p = strchr(p, '\n') + 1) {
		if (slice_eq((struct slice){p, strcspn(p, "\n")}, line))
			return true;
	}
	return false;
}

static void add_line(struct buf *lines, struct slice line)
{
	buf_add_slice(lines, line);
	buf_adds(lines, "\n");
}

static struct fake_call *new_call(
    struct link *l, const char *session, const struct link_will *wills, size_t wills_count)
{
	struct fake_call *c = calloc(1, sizeof(*c));

	DIE_UNLESS(c);
	snprintf(c->session, sizeof(c->session), "%s", session);
	buf_init(&c->ids, 1 << 20);
	buf_init(&c->wills, 1 << 20);
	buf_init(&c->cancelled, 1 << 20);
	buf_init(&c->base.blob, 1 << 20);
	c->base.cancel_fd = -1;
	if (wills_count) {
		static uint64_t number;

		c->base.number = ++number;
		c->base.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		buf_clear(&l->wills);
	}
	for (size_t i = 0; i < wills_count; i++) {
		add_line(&c->ids, wills[i].id);
		add_line(&l->wills, wills[i].event);
	}
	for (size_t i = 0; i < wills_count; i++)
		add_line(&c->wills, wills[i].event);
	c->next = l->calls;
	l->calls = c;
	return c;
}

int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err)
{
	struct fake_session *s;
	struct fake_call *c;

	*call = NULL;
	if (asked(l, FAKE_CALL_BEGIN, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	for (struct fake_call *other = l->calls; other; other = other->next) {
		for (size_t i = 0; i < wills_count && strcmp(other->session, s->id) == 0; i++) {
			if (has_line(&other->ids, wills[i].id))
				return err_set(err, ERR_DUPLICATE, "this id is open");
		}
	}
	c = new_call(l, s->id, wills, wills_count);
	c->base.session_version = s->version;
	c->base.session_stream = s->stream;
	c->stream = flags & LINK_CALL_ON_SESSION_STREAM && wills_count ? s->stream : 0;
	buf_add_slice(&c->base.blob, buf_slice(&s->blob));
	*call = &c->base;
	if (!c->base.blob.fault && !c->ids.fault && !c->wills.fault)
		return 0;
	link_call_end(l, call);
	return err_set(err, ERR_NOMEM, "fake call");
}

static bool is_own(const struct link *l, uint64_t stream)
{
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
		if (l->sessions[i].id[0] && l->sessions[i].stream == stream)
			return true;
	}
	return false;
}

void link_call_end(struct link *l, struct link_call **callp)
{
	struct fake_call *c = (struct fake_call *)*callp; /* base is the first member */
	struct fake_call **at;

	if (!c)
		return;
	for (at = &l->calls; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	if (c->stream && !c->is_finished) {
		struct fake_stream *s = &l->streams[c->stream];

		buf_add_slice(&s->events, buf_slice(&c->wills));
		for (size_t i = 0; i < c->wills.len; i++)
			s->events_count += c->wills.data[i] == '\n';
		s->is_finished = !is_own(l, c->stream);
	}
	if (c->base.cancel_fd >= 0)
		close(c->base.cancel_fd);
	buf_release(&c->ids);
	buf_release(&c->wills);
	buf_release(&c->cancelled);
	buf_release(&c->base.blob);
	free(c);
	*callp = NULL;
}

int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err)
{
	if (asked(l, FAKE_CANCEL, err) || !find(l, session, principal, err))
		return -1;
	for (struct fake_call *c = l->calls; c; c = c->next) {
		if (slice_is(session, c->session) && has_line(&c->ids, id)) {
			add_line(&c->cancelled, id);
			eventfd_write(c->base.cancel_fd, 1);
		}
	}
	return 0;
}

bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id)
{
	(void)l;
	return call->cancelled || has_line(&((struct fake_call *)call)->cancelled, id);
}

int link_open_stream(struct link *l, struct slice session, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err)
{
	if (asked(l, FAKE_OPEN_STREAM, err))
		return -1;
	DIE_UNLESS((*callp != NULL) == (wills_count == 0));
	DIE_UNLESS((session.len == 0) == ((flags & LINK_STREAM_MODERN) != 0));
	*stream = add_stream(l, *callp ? ((struct fake_call *)*callp)->session : "");
	l->streams[*stream].is_modern = flags & LINK_STREAM_MODERN;
	if (!*callp)
		*callp = &new_call(l, "", wills, wills_count)->base;
	((struct fake_call *)*callp)->stream = *stream;
	if (!((struct fake_call *)*callp)->ids.fault && !((struct fake_call *)*callp)->wills.fault)
		return 0;
	link_call_end(l, callp);
	return err_set(err, ERR_NOMEM, "fake call");
}

int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err)
{
	struct fake_session *s;

	if (asked(l, FAKE_ATTACH, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	if (last_event_id.len && !slice_is(last_event_id, "known"))
		return err_set(err, slice_is(last_event_id, "delivered") ? ERR_DELIVERED : ERR_GAP, "last event id");
	*stream = s->stream;
	*cursor = last_event_id.len ? 7 : LINK_CURSOR_UNDELIVERED;
	return 0;
}

int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, struct slice head, struct err *err)
{
	struct fake_stream *s = &l->streams[stream];

	(void)fd, (void)kind, (void)request_id;
	if (asked(l, FAKE_ADOPT, err))
		return -1;
	DIE_UNLESS(stream > 0 && stream <= l->streams_count);
	s->is_adopted = true;
	s->cursor = cursor;
	s->heartbeat_ms = heartbeat_ms;
	buf_add_slice(&s->head, head);
	return s->head.fault ? err_set(err, ERR_NOMEM, "fake head") : 0;
}

static int add_event(struct link *l, uint64_t stream, struct slice event, struct err *err)
{
	struct fake_stream *s = &l->streams[stream];

	DIE_UNLESS(stream > 0 && stream <= l->streams_count && !s->is_finished);
	DIE_UNLESS(!memchr(event.p, '\n', event.len));
	if (l->event_max && event.len > l->event_max)
		return err_set(err, ERR_TOO_BIG, "event of %zu bytes", event.len);
	if (!buf_reserve(&s->events, event.len + 1)) {
		s->events.fault = ERR_NONE;
		return err_set(err, ERR_NOMEM, "fake stream");
	}
	add_line(&s->events, event);
	s->events_count++;
	return 0;
}

int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err)
{
	(void)durable;
	return asked(l, FAKE_APPEND, err) ? -1 : add_event(l, stream, event, err);
}

int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err)
{
	struct fake_call *c = (struct fake_call *)call;

	if (asked(l, FAKE_FINISH, err))
		return -1;
	DIE_UNLESS(c && !c->is_finished && c->base.number);
	for (size_t i = 0; i < events_count; i++) {
		if (l->event_max && events[i].len > l->event_max)
			return err_set(err, ERR_TOO_BIG, "event of %zu bytes", events[i].len); /* then none is taken */
	}
	for (size_t i = 0; i < events_count; i++) {
		if (add_event(l, stream, events[i], err))
			return -1;
	}
	l->streams[stream].is_finished = !is_own(l, stream);
	c->is_finished = true;
	return 0;
}

bool link_is_up(struct link *l)
{
	(void)l;
	return true;
}
