#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/lib/fake_link.h"
#include "common/banned.h"

int fake_link_asked(struct link *l, enum fake_op op, struct err *err)
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

static void release_stream(struct fake_stream *s)
{
	buf_release(&s->head);
	buf_release(&s->events);
	buf_release(&s->topics);
	buf_release(&s->insert);
	buf_release(&s->closings);
}

static void free_call(struct fake_call *c)
{
	if (c->base.cancel_fd >= 0)
		close(c->base.cancel_fd);
	buf_release(&c->ids);
	buf_release(&c->wills);
	buf_release(&c->cancelled);
	buf_release(&c->base.blob);
	buf_release(&c->too_late);
	buf_release(&c->blob);
	for (size_t i = 0; i < c->asks_count; i++) {
		buf_release(&c->asks[i].id);
		buf_release(&c->asks[i].answer);
	}
	free(c);
}

void fake_link_forget(struct link *l)
{
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		release_stream(&l->streams[i]);
	}
	memset(l->streams, 0, sizeof(l->streams));
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		buf_init(&l->streams[i].head, 1 << 16);
		buf_init(&l->streams[i].events, 1 << 24);
		buf_init(&l->streams[i].topics, 1 << 16);
		buf_init(&l->streams[i].insert, 1 << 16);
		buf_init(&l->streams[i].closings, 1 << 16);
		buf_reserve(&l->streams[i].events, 4096); /* wills come also when the worker has no memory */
	}
	l->streams_count = 0;
	while (l->parked) {
		struct fake_call *c = l->parked;

		l->parked = c->next;
		free_call(c);
	}
	fake_link_forget_tasks(l);
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
	buf_init(&l->marks, 1 << 16);
	fake_link_forget(l);
	return l;
}

void link_free(struct link **linkp)
{
	struct link *l = *linkp;

	if (!l)
		return;
	DIE_UNLESS(!l->calls);
	fake_link_forget(l);
	for (uint64_t i = 1; i <= FAKE_STREAMS_MAX; i++) {
		release_stream(&l->streams[i]);
	}
	for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
		buf_release(&l->sessions[i].blob);
		buf_release(&l->sessions[i].topics);
	}
	buf_release(&l->wills);
	buf_release(&l->marks);
	free(l);
	*linkp = NULL;
}

void fake_link_owned(struct link *l, struct slice owner)
{
	DIE_UNLESS(owner.len < sizeof(l->owner));
	if (owner.len)
		memcpy(l->owner, owner.p, owner.len);
	l->owner[owner.len] = '\0';
}

int link_session_put(struct link *l, struct slice session, const char *principal, struct slice owner,
    uint64_t version_expected, unsigned flags, struct slice blob, uint64_t *version, struct err *err)
{
	struct fake_session *s = fake_link_session(l, session);

	fake_link_owned(l, owner);
	if (fake_link_asked(l, FAKE_SESSION_PUT, err))
		return -1;
	if (version_expected) {
		s = find(l, session, principal, err);
		if (!s)
			return -1;
		if (l->conflicts_count > 0) {
			l->conflicts_count--;
			s->version++;
		}
		if (s->version != version_expected)
			return err_set(err, ERR_BUSY, "another version");
	} else {
		DIE_UNLESS(!s);
		for (s = l->sessions; s->id[0]; s++)
			DIE_UNLESS(s < &l->sessions[FAKE_SESSIONS_MAX - 1]);
		snprintf(s->id, sizeof(s->id), "%.*s", (int)session.len, session.p);
		snprintf(s->principal, sizeof(s->principal), "%s", principal);
		buf_init(&s->blob, 1 << 20);
		buf_init(&s->topics, 1 << 16);
		s->flags = flags;
		s->stream = add_stream(l, s->id);
	}
	if (fake_link_copy(&s->blob, blob, err))
		return -1;
	s->version++;
	if (version)
		*version = s->version;
	return 0;
}

int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err)
{
	struct fake_session *s;

	if (fake_link_asked(l, FAKE_SESSION_DEL, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	buf_release(&s->blob);
	buf_release(&s->topics);
	*s = (struct fake_session){0};
	return 0;
}

bool fake_link_has_line(const struct buf *lines, struct slice line)
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

int fake_link_add_line(struct buf *lines, struct slice line, struct err *err)
{
	if (!buf_reserve(lines, line.len + 1)) {
		lines->fault = ERR_NONE;
		return err_set(err, ERR_NOMEM, "fake line");
	}
	add_line(lines, line);
	return 0;
}

int fake_link_copy(struct buf *to, struct slice from, struct err *err)
{
	if (from.len > to->len && !buf_reserve(to, from.len - to->len)) {
		to->fault = ERR_NONE;
		return err_set(err, ERR_NOMEM, "fake copy");
	}
	buf_clear(to);
	buf_add_slice(to, from);
	return 0;
}

/* As one that the broker knows. */
static void call_number(struct fake_call *c)
{
	static uint64_t number;

	c->base.number = ++number;
	c->base.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static struct fake_call *new_call(
    struct link *l, const char *session, unsigned flags, const struct link_will *wills, size_t wills_count)
{
	struct fake_call *c = calloc(1, sizeof(*c));

	DIE_UNLESS(c);
	snprintf(c->session, sizeof(c->session), "%s", session);
	c->flags = flags;
	buf_init(&c->ids, 1 << 20);
	buf_init(&c->wills, 1 << 20);
	buf_init(&c->cancelled, 1 << 20);
	buf_init(&c->base.blob, 1 << 20);
	c->base.cancel_fd = -1;
	if (wills_count) {
		call_number(c);
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

static bool has_id(const struct fake_call *calls, const char *session, struct slice id)
{
	for (; calls; calls = calls->next) {
		if (strcmp(calls->session, session) == 0 && fake_link_has_line(&calls->ids, id))
			return true;
	}
	return false;
}

int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err)
{
	struct fake_session *s;
	struct fake_call *c;

	*call = NULL;
	if (fake_link_asked(l, FAKE_CALL_BEGIN, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	for (size_t i = 0; i < wills_count; i++) {
		if (has_id(l->calls, s->id, wills[i].id) || has_id(l->parked, s->id, wills[i].id))
			return err_set(err, ERR_DUPLICATE, "this id is open");
	}
	c = new_call(l, s->id, flags, wills, wills_count);
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

static void unlink_call(struct fake_call **list, struct fake_call *c)
{
	while (*list != c)
		list = &(*list)->next;
	*list = c->next;
}

void link_call_end(struct link *l, struct link_call **callp)
{
	struct fake_call *c = (struct fake_call *)*callp; /* base is the first member */

	if (!c)
		return;
	unlink_call(&l->calls, c);
	if (c->base.number && c->stream && !c->is_finished && !l->streams[c->stream].is_listen) {
		struct fake_stream *s = &l->streams[c->stream];

		buf_add_slice(&s->events, buf_slice(&c->wills));
		for (size_t i = 0; i < c->wills.len; i++)
			s->events_count += c->wills.data[i] == '\n';
		s->is_finished = !is_own(l, c->stream);
	}
	free_call(c);
	*callp = NULL;
}

int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err)
{
	if (fake_link_asked(l, FAKE_CANCEL, err) || !find(l, session, principal, err))
		return -1;
	for (struct fake_call *c = l->calls; c; c = c->next) {
		if (slice_is(session, c->session) && fake_link_has_line(&c->ids, id)) {
			add_line(&c->cancelled, id);
			eventfd_write(c->base.cancel_fd, 1);
		}
	}
	for (struct fake_call *c = l->parked, *next; c; c = next) { /* nobody runs it: it ends without an answer */
		next = c->next;
		if (slice_is(session, c->session) && fake_link_has_line(&c->ids, id)) {
			l->streams[c->stream].is_finished = !is_own(l, c->stream);
			unlink_call(&l->parked, c);
			free_call(c);
		}
	}
	return 0;
}

bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id)
{
	(void)l;
	return call->cancelled || fake_link_has_line(&((struct fake_call *)call)->cancelled, id);
}

int link_open_stream(struct link *l, struct slice session_or_owner, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err)
{
	if (fake_link_asked(l, FAKE_OPEN_STREAM, err))
		return -1;
	DIE_UNLESS((*callp != NULL) == (wills_count == 0));
	DIE_UNLESS(session_or_owner.len > 0 || (flags & LINK_STREAM_MODERN));
	if (flags & LINK_STREAM_MODERN)
		fake_link_owned(l, session_or_owner);
	*stream = add_stream(l, *callp ? ((struct fake_call *)*callp)->session : "");
	l->streams[*stream].is_modern = flags & LINK_STREAM_MODERN;
	l->streams[*stream].is_listen = flags & LINK_STREAM_LISTEN;
	if (!*callp)
		*callp = &new_call(l, "", 0, wills, wills_count)->base;
	((struct fake_call *)*callp)->stream = *stream;
	if (!((struct fake_call *)*callp)->ids.fault && !((struct fake_call *)*callp)->wills.fault)
		return 0;
	link_call_end(l, callp);
	return err_set(err, ERR_NOMEM, "fake call");
}

int link_await(struct link *l, bool begins, void (*aside)(void *arg), void *arg, struct err *err)
{
	(void)l, (void)begins, (void)aside, (void)arg, (void)err;
	return 0;
}

int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err)
{
	struct fake_session *s;

	if (fake_link_asked(l, FAKE_ATTACH, err))
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
    uint32_t heartbeat_ms, uint32_t retry_ms, struct slice head, struct err *err)
{
	struct fake_stream *s = &l->streams[stream];

	(void)fd, (void)kind, (void)request_id;
	if (fake_link_asked(l, FAKE_ADOPT, err))
		return -1;
	DIE_UNLESS(stream > 0 && stream <= l->streams_count);
	s->is_adopted = true;
	s->cursor = cursor;
	s->heartbeat_ms = heartbeat_ms;
	s->retry_ms = retry_ms;
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
	if (fake_link_add_line(&s->events, event, err))
		return -1;
	s->events_count++;
	return 0;
}

int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err)
{
	(void)durable;
	return fake_link_asked(l, FAKE_APPEND, err) ? -1 : add_event(l, stream, event, err);
}

int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err)
{
	struct fake_call *c = (struct fake_call *)call;

	if (fake_link_asked(l, FAKE_FINISH, err))
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

/* --- asking --- */

int link_park(struct link *l, struct link_call **callp, uint64_t stream, uint32_t wait_ms, const struct link_late *late,
    struct slice blob, const struct link_ask *asks, size_t asks_count, struct err *err)
{
	struct fake_call *c = (struct fake_call *)*callp;

	if (fake_link_asked(l, FAKE_PARK, err))
		return -1;
	DIE_UNLESS(c && c->base.number && !c->is_finished && asks_count > 0 && asks_count <= FAKE_ASKS_MAX);
	buf_init(&c->too_late, 1 << 16);
	buf_init(&c->blob, 1 << 20);
	if (fake_link_copy(&c->too_late, late->event, err) || fake_link_copy(&c->blob, blob, err))
		goto fail;
	for (; c->asks_count < asks_count; c->asks_count++) {
		struct fake_ask *ask = &c->asks[c->asks_count];

		*ask = (struct fake_ask){.is_answered = false};
		buf_init(&ask->id, LINK_KEY_MAX);
		buf_init(&ask->answer, 1 << 20);
		if (fake_link_copy(&ask->id, asks[c->asks_count].id, err))
			goto fail;
	}
	for (size_t i = 0; i < asks_count; i++) {
		if (add_event(l, stream, asks[i].text, err))
			goto fail;
	}
	c->wait_ms = wait_ms;
	c->stream = stream;
	unlink_call(&l->calls, c);
	c->next = l->parked;
	l->parked = c;
	close(c->base.cancel_fd);
	c->base.cancel_fd = -1;
	*callp = NULL;
	return 0;
fail:
	for (; c->asks_count; c->asks_count--)
		buf_release(&c->asks[c->asks_count - 1].id);
	buf_release(&c->too_late);
	buf_release(&c->blob);
	return -1;
}

/* One that waits for that answer, and which of its questions it is. */
static struct fake_call *find_ask(struct link *l, struct slice session, struct slice id, struct fake_ask **ask)
{
	for (struct fake_call *c = l->parked; c; c = c->next) {
		for (size_t i = 0; i < c->asks_count && slice_is(session, c->session); i++) {
			*ask = &c->asks[i];
			if (!(*ask)->is_answered && slice_eq(id, buf_slice(&(*ask)->id)))
				return c;
		}
	}
	return NULL;
}

static struct slice add_lent(struct buf *bytes, struct slice s)
{
	size_t at = bytes->len;

	buf_add_slice(bytes, s);
	return (struct slice){bytes->data + at, s.len};
}

static struct slice cut_line(struct slice *lines)
{
	struct slice line = {lines->p, strcspn(lines->p, "\n")};

	lines->p += line.len + 1;
	lines->len -= line.len + 1;
	return line;
}

static int take_call(const struct fake_call *c, struct link_taken *taken, struct err *err)
{
	struct slice ids = buf_slice(&c->ids), wills = buf_slice(&c->wills);
	size_t len = c->blob.len + ids.len + wills.len;

	for (size_t i = 0; i < c->asks_count; i++)
		len += c->asks[i].id.len + c->asks[i].answer.len;
	for (size_t i = 0; i < ids.len; i++)
		taken->wills_count += ids.p[i] == '\n';
	taken->wills = calloc(taken->wills_count, sizeof(*taken->wills));
	taken->answers = calloc(c->asks_count, sizeof(*taken->answers));
	DIE_UNLESS(taken->wills && taken->answers);
	if (!buf_reserve(&taken->bytes, len))
		return buf_check(&taken->bytes, err);
	taken->blob = add_lent(&taken->bytes, buf_slice(&c->blob));
	for (size_t i = 0; i < taken->wills_count; i++) {
		taken->wills[i].id = add_lent(&taken->bytes, cut_line(&ids));
		taken->wills[i].event = add_lent(&taken->bytes, cut_line(&wills));
	}
	for (; taken->answers_count < c->asks_count; taken->answers_count++) {
		struct link_ask *answer = &taken->answers[taken->answers_count];

		answer->id = add_lent(&taken->bytes, buf_slice(&c->asks[taken->answers_count].id));
		answer->text = add_lent(&taken->bytes, buf_slice(&c->asks[taken->answers_count].answer));
	}
	taken->stream = c->stream;
	taken->call_flags = c->flags;
	return 0;
}

int link_answer(struct link *l, struct slice session, const char *principal, struct slice ask_id, struct slice answer,
    struct link_taken *taken, struct err *err)
{
	struct fake_ask *ask;
	struct fake_call *c;

	*taken = (struct link_taken){.state = LINK_ANSWER_IGNORED};
	buf_init(&taken->bytes, 1 << 24);
	if (fake_link_asked(l, FAKE_ANSWER, err) || !find(l, session, principal, err))
		return -1;
	c = find_ask(l, session, ask_id, &ask);
	if (!c)
		return 0;
	if (fake_link_copy(&ask->answer, answer, err))
		return -1;
	ask->is_answered = true;
	taken->state = LINK_ANSWER_KEPT;
	for (size_t i = 0; i < c->asks_count; i++) {
		if (!c->asks[i].is_answered)
			return 0;
	}
	if (take_call(c, taken, err)) { /* as if it had not come */
		link_taken_release(l, taken);
		ask->is_answered = false;
		return -1;
	}
	taken->state = LINK_ANSWER_TAKEN;
	for (; c->asks_count; c->asks_count--) {
		buf_release(&c->asks[c->asks_count - 1].id);
		buf_release(&c->asks[c->asks_count - 1].answer);
	}
	buf_release(&c->too_late);
	buf_release(&c->blob);
	unlink_call(&l->parked, c);
	c->next = l->calls;
	l->calls = c;
	call_number(c);
	taken->call = &c->base;
	return 0;
}

void link_taken_release(struct link *l, struct link_taken *taken)
{
	link_call_end(l, &taken->call);
	buf_release(&taken->bytes);
	free(taken->answers);
	free(taken->wills);
	*taken = (struct link_taken){.state = LINK_ANSWER_IGNORED};
}

/* --- streams that are read by others --- */

int link_close_conn(struct link *l, uint64_t stream, struct slice last, struct err *err)
{
	struct fake_stream *s = &l->streams[stream];

	if (fake_link_asked(l, FAKE_CLOSE_CONN, err))
		return -1;
	DIE_UNLESS(stream > 0 && stream <= l->streams_count);
	if (!buf_reserve(&s->closings, last.len)) {
		s->closings.fault = ERR_NONE;
		return err_set(err, ERR_NOMEM, "fake closing");
	}
	buf_add_slice(&s->closings, last);
	s->closings_count++;
	return 0;
}

int link_subscribe(struct link *l, uint64_t stream, struct slice session, const char *principal, bool reset,
    struct slice insert, const struct slice *topics, size_t topics_count, struct err *err)
{
	struct fake_session *s = NULL;
	struct buf *lines;

	if (fake_link_asked(l, FAKE_SUBSCRIBE, err))
		return -1;
	DIE_UNLESS((session.len == 0) == (stream != 0) && stream <= l->streams_count);
	if (session.len) {
		s = find(l, session, principal, err);
		if (!s)
			return -1;
	}
	lines = s ? &s->topics : &l->streams[stream].topics;
	if (reset)
		buf_clear(lines);
	for (size_t i = 0; i < topics_count; i++) {
		if (!fake_link_has_line(lines, topics[i]) && fake_link_add_line(lines, topics[i], err))
			return -1;
	}
	return s ? 0 : fake_link_copy(&l->streams[stream].insert, insert, err);
}

int link_unsubscribe(struct link *l, struct slice session, const char *principal, const struct slice *topics,
    size_t topics_count, struct err *err)
{
	struct fake_session *s;
	struct buf rest;

	if (fake_link_asked(l, FAKE_UNSUBSCRIBE, err))
		return -1;
	s = find(l, session, principal, err);
	if (!s)
		return -1;
	buf_init(&rest, s->topics.max);
	for (struct slice lines = buf_slice(&s->topics); lines.len;) {
		struct slice line = cut_line(&lines);
		bool goes = false;

		for (size_t i = 0; i < topics_count; i++)
			goes |= slice_eq(line, topics[i]);
		if (!goes)
			add_line(&rest, line);
	}
	if (buf_check(&rest, err) || fake_link_copy(&s->topics, buf_slice(&rest), err)) {
		buf_release(&rest);
		return -1;
	}
	buf_release(&rest);
	return 0;
}

/* Also counts whom it reaches. */
static int notify_one(struct link *l, uint64_t stream, struct slice event, uint64_t *count, struct err *err)
{
	if (!event.len)
		return 0;
	if (add_event(l, stream, event, err))
		return -1;
	++*count;
	return 0;
}

int link_notify(struct link *l, const struct link_news *news, uint64_t *reached, struct err *err)
{
	struct slice topic = news->topic, legacy = news->legacy, head = news->head, tail = news->tail;
	uint64_t count = 0;
	int ret = 0;

	if (fake_link_asked(l, FAKE_NOTIFY, err))
		return -1;
	for (struct fake_session *s = l->sessions; s < &l->sessions[FAKE_SESSIONS_MAX]; s++) {
		bool hears = news->flags & LINK_NOTIFY_LIST && s->flags & LINK_SESSION_HEARS_LISTS;

		if (s->id[0] && (hears || fake_link_has_line(&s->topics, topic)))
			ret |= notify_one(l, s->stream, legacy, &count, err);
	}
	for (uint64_t i = 1; i <= l->streams_count; i++) {
		struct fake_stream *s = &l->streams[i];
		struct buf event;

		if (s->is_finished || !fake_link_has_line(&s->topics, topic) || !head.len)
			continue;
		buf_init(&event, s->events.max);
		buf_add_slice(&event, head);
		buf_add_slice(&event, buf_slice(&s->insert));
		buf_add_slice(&event, tail);
		ret |= buf_check(&event, err) ? -1 : notify_one(l, i, buf_slice(&event), &count, err);
		buf_release(&event);
	}
	if (reached)
		*reached = count;
	return ret;
}

void link_count(struct link *l, const char *name, enum link_outcome outcome, uint64_t us)
{
	(void)us;
	l->counted = name;
	l->counted_outcome = outcome;
	l->counted_count++;
}

bool link_is_up(struct link *l)
{
	(void)l;
	return true;
}

int link_check(struct link *l, struct err *err)
{
	return fake_link_asked(l, FAKE_CHECK, err);
}
