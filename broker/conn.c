#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/conn.h"
#include "broker/record.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/sse.h"
#include "common/banned.h"

#define SCRATCH_KEEP_MAX (1 << 20) /* bytes: a scratch buffer that had to grow beyond is given back */

/* One read of the log. Lives on its own: the connection may go while the store works. */
struct conn_read {
	struct store_read read;
	uint64_t seqs[STORE_READ_MAX];
	uint64_t cursor_after;
	struct conn *conn; /* NULL: it has gone */
};

static const char *const whys[] = {
    "the peer is gone",
    "it takes no bytes",
    "it reads too slowly",
    "a newer connection took over",
    "finished",
    "its worker wants it to come again",
    "its stream has ended",
    "the broker stops",
    "no memory, or a log that could not be read",
};
_Static_assert(COUNT_OF(whys) == STAT_CLOSE_FAILED - STAT_CLOSE_LEFT + 1, "a text for each reason");

struct conn {
	uv_poll_t watch;
	struct broker *broker;   /* borrowed */
	struct stream *stream;   /* borrowed; NULL: it left its stream, or never had one */
	struct conn *next, **at; /* in broker->conns */
	int fd;                  /* owned */
	enum link_kind kind;
	uint16_t request_id;
	bool is_ending; /* the end is in out, or was written: then close */
	bool is_closed, is_watching_write, is_counted;
	uint32_t heartbeat_ms, retry_ms;
	uint64_t cursor;   /* taken from the log up to here, into the kernel or into out */
	struct slice last; /* owned: to be written at last_seq, before the end; p NULL: it stays */
	uint64_t last_seq;
	char *out; /* owned: what the kernel didn't take; NULL: nothing */
	size_t out_len, out_sent;
	uint64_t begun_ms;         /* loop_now() */
	uint64_t progress_ms;      /* loop_now() when the kernel last took something */
	struct conn_read *reading; /* owned by the store until it is done */
	struct loop_task task;
	struct wheel_timer timer;
	struct loop_doom doom;
};

static void free_conn(struct loop_doom *d)
{
	struct conn *c = TABLE_OF(d, struct conn, doom);

	mem_free(c->out);
	mem_free((char *)(uintptr_t)c->last.p);
	mem_free(c);
}

static void on_unwatched(uv_handle_t *watch)
{
	struct conn *c = TABLE_OF(watch, struct conn, watch);

	loop_doom(&c->broker->loop, &c->doom, free_conn);
}

/* What ends in a drain, ends because of it. Once: what was to be written before the end may end it otherwise. */
static void count_end(struct conn *c, enum stats_row why)
{
	if (c->is_counted)
		return;
	c->is_counted = true;
	if (c->broker->draining && (why == STAT_CLOSE_FINISHED || why == STAT_CLOSE_POLLED || why == STAT_CLOSE_STREAM))
		why = STAT_CLOSE_DRAINED;
	stats_add(&c->broker->stats, why, 1);
}

/* Its bytes are not for us any more. */
static void drop_read(struct conn *c)
{
	if (c->reading)
		c->reading->conn = NULL;
	c->reading = NULL;
}

void conn_close(struct conn *c, enum stats_row why)
{
	struct stream *s = c->stream;
	const char *text = whys[why - STAT_CLOSE_LEFT];

	if (c->is_closed)
		return;
	c->is_closed = true;
	count_end(c, why);
	LOG(DEBUG, "conn.close", "fd=%d stream=%" PRIu64 " why=\"%s\"", c->fd, s ? s->handle : 0, text);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	drop_read(c);
	c->stream = NULL;
	loop_unsoon(&c->broker->loop, &c->task);
	loop_untimer(&c->broker->loop, &c->timer);
	uv_close((uv_handle_t *)&c->watch, on_unwatched);
	close(c->fd);
	broker_fd_give(c->broker, 1);
	c->broker->conns_count--;
	if (s)
		stream_detach(s, c, text);
}

uint64_t conn_cursor(const struct conn *c)
{
	return c->cursor;
}

void conn_kick(struct conn *c)
{
	if (!c->is_closed)
		loop_soon(&c->broker->loop, &c->task);
}

static void on_io(uv_poll_t *watch, int status, int events);

/* A pipe has no RDHUP: its reader's end shows as an error. A CGI socket was half-closed from the start, so only a whole
 * hang-up counts, and PRI stands for "nothing but that". */
static void watch(struct conn *c, bool want_write)
{
	int events = c->kind == LINK_KIND_FCGI   ? UV_READABLE
		     : c->kind == LINK_KIND_PIPE ? UV_DISCONNECT
						 : UV_PRIORITIZED;

	c->is_watching_write = want_write;
	uv_poll_start(&c->watch, events | (want_write ? UV_WRITABLE : 0), on_io);
}

/* What the kernel takes now: 0 .. len; -1: the peer is gone, and so is c. */
static ssize_t write_some(struct conn *c, const char *p, size_t len)
{
	ssize_t n;

	do
		n = c->kind == LINK_KIND_PIPE ? write(c->fd, p, len) : send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	if (n > 0)
		c->progress_ms = loop_now(&c->broker->loop);
	if (n >= 0)
		return n;
	if (errno == EAGAIN)
		return 0;
	conn_close(c, STAT_CLOSE_LEFT);
	return -1;
}

/* Writes what was left over. False: some still is, or c is closed. */
static bool flush(struct conn *c)
{
	ssize_t n;

	if (c->out) {
		n = write_some(c, c->out + c->out_sent, c->out_len - c->out_sent);
		if (n < 0)
			return false;
		c->out_sent += (size_t)n;
		if (c->out_sent < c->out_len) {
			if (!c->is_watching_write)
				watch(c, true);
			return false;
		}
		mem_free(c->out);
		c->out = NULL;
		if (c->stream)
			stream_delivered(c->stream, c->cursor);
	}
	if (c->is_ending) {
		conn_close(c, STAT_CLOSE_FINISHED);
		return false;
	}
	if (c->is_watching_write)
		watch(c, false);
	return true;
}

/* Writes bytes, keeps what is left. Nothing was left over before. Returns how many bytes went, -1: c is closed. */
static ssize_t write_bytes(struct conn *c, struct slice bytes)
{
	ssize_t n = write_some(c, bytes.p, bytes.len);

	if (n < 0 || (size_t)n == bytes.len)
		return n;
	c->out = mem_dup(bytes.p + n, bytes.len - (size_t)n);
	if (!c->out) {
		conn_close(c, STAT_CLOSE_FAILED);
		return -1;
	}
	c->out_len = bytes.len - (size_t)n;
	c->out_sent = 0;
	c->progress_ms = loop_now(&c->broker->loop);
	watch(c, true);
	return n;
}

static void release_scratch(struct buf *b)
{
	if (b->cap > SCRATCH_KEEP_MAX)
		buf_release(b);
	else
		buf_clear(b);
}

static void on_read(struct store_op *op, int status)
{
	struct conn_read *r = TABLE_OF(op, struct conn_read, read.op);
	struct conn *c = r->conn;
	size_t ends[STORE_READ_MAX], count = r->read.good, sent = 0;
	struct buf *frame, *events;
	struct stream_id id = {0};
	ssize_t n;

	if (!c) { /* its bytes belong to whoever comes after it */
		mem_free(r);
		return;
	}
	c->reading = NULL;
	frame = &c->broker->frame;
	events = &c->broker->events;
	for (size_t i = 0; i < count && c->stream; i++) {
		struct slice text = SLICE("");

		if (!c->stream->is_modern)
			text = stream_put_event_id(c->stream, r->read.positions[i], r->seqs[i], &id);
		sse_add_event(events, text, "message", r->read.events[i]);
		ends[i] = record_stdout_len(c->kind, events->len);
	}
	if (buf_check(events, NULL)) /* as in frame, below */
		frame->fault = events->fault;
	record_put_stdout(frame, c->kind, c->request_id, buf_slice(events));
	if (!c->stream) { /* it is ending */
		conn_kick(c);
	} else if (status && r->read.is_damaged) {
		stream_lose(c->stream, r->seqs[0], "it can't be read");
		conn_kick(c);
	} else if (status || buf_check(frame, NULL)) {
		conn_close(c, STAT_CLOSE_FAILED);
	} else {
		for (size_t i = 0; i < count && r->seqs[i] <= c->stream->delivered_seq; i++)
			stats_add(&c->broker->stats, STAT_REPLAYED, 1);
		c->cursor = count < r->read.count ? r->seqs[count - 1] : r->cursor_after;
		n = write_bytes(c, buf_slice(frame));
		if (n >= 0 && c->stream && !c->out)
			stream_delivered(c->stream, c->cursor);
		for (; n >= 0 && c->out && sent < count && ends[sent] <= (size_t)n; sent++)
			;
		if (sent > 0 && c->stream)
			stream_delivered(c->stream, r->seqs[sent - 1]);
		conn_kick(c);
	}
	release_scratch(frame);
	release_scratch(events);
	mem_free(r);
}

/* False: no memory; the timer tries again. */
static bool start_read(struct conn *c)
{
	struct conn_read *r = mem_alloc(1, sizeof(*r));
	uint64_t cursor = c->cursor;

	if (!r)
		return false;
	stream_fill_read(c->stream, &cursor, &r->read, r->seqs);
	if (r->read.count == 0) { /* only lost events */
		c->cursor = cursor;
		stream_delivered(c->stream, cursor);
		mem_free(r);
		return true;
	}
	r->conn = c;
	r->cursor_after = cursor;
	r->read.op.done = on_read;
	c->reading = r;
	c->broker->store->read(c->broker->store, &r->read);
	return true;
}

/* The end as bytes, after what is left over and last. */
static void put_end(struct conn *c, struct slice last)
{
	struct buf all;

	if (c->is_ending)
		return;
	buf_init(&all, SIZE_MAX / 2);
	if (c->out)
		buf_add(&all, c->out + c->out_sent, c->out_len - c->out_sent);
	record_put_stdout(&all, c->kind, c->request_id, last);
	record_put_end(&all, c->kind, c->request_id);
	if (buf_check(&all, NULL)) {
		buf_release(&all);
		conn_close(c, STAT_CLOSE_FAILED);
		return;
	}
	c->is_ending = true;
	mem_free(c->out);
	c->out = all.data; /* NULL for plain CGI with nothing left */
	c->out_len = all.len;
	c->out_sent = 0;
}

static void end_with(struct conn *c, struct slice last, enum stats_row why)
{
	struct stream *s = c->stream;
	const char *text = whys[why - STAT_CLOSE_LEFT];

	if (c->is_closed || c->is_ending)
		return;
	count_end(c, why);
	LOG(DEBUG, "conn.end", "fd=%d stream=%" PRIu64 " why=\"%s\"", c->fd, s ? s->handle : 0, text);
	c->stream = NULL;
	put_end(c, last);
	conn_kick(c);
	if (s)
		stream_detach(s, c, text);
}

void conn_end(struct conn *c, enum stats_row why)
{
	end_with(c, SLICE(""), why);
}

void conn_skip(struct conn *c, uint64_t seq)
{
	drop_read(c);
	c->cursor = seq;
	conn_kick(c);
}

int conn_end_after(struct conn *c, struct slice last)
{
	char *copy = mem_dup(last.p, last.len);

	if (!copy)
		return -1;
	mem_free((char *)(uintptr_t)c->last.p);
	c->last = (struct slice){copy, last.len};
	c->last_seq = c->stream ? c->stream->last_seq : 0;
	conn_kick(c);
	return 0;
}

void conn_end_until(struct conn *c, uint64_t in_ms)
{
	struct buf last;

	buf_init(&last, 64);
	if (c->retry_ms > 0)
		sse_add_retry(&last, (int64_t)(in_ms + c->retry_ms));
	if (buf_check(&last, NULL) || conn_end_after(c, buf_slice(&last)))
		conn_end(c, STAT_CLOSE_FAILED);
	buf_release(&last);
}

static void on_task(struct loop_task *t)
{
	struct conn *c = TABLE_OF(t, struct conn, task);
	struct stream *s = c->stream;

	if (c->is_closed || !flush(c) || c->reading || !s)
		return;
	if (c->cursor < s->ready_seq) {
		if (start_read(c) && !c->reading)
			conn_kick(c);
	} else if (s->state == STREAM_FINISHED && c->cursor == s->last_seq) {
		conn_end(c, STAT_CLOSE_FINISHED);
	} else if (c->last.p && c->cursor >= c->last_seq) {
		end_with(c, c->last, STAT_CLOSE_POLLED);
	}
}

static void on_io(uv_poll_t *w, int status, int events)
{
	struct conn *c = TABLE_OF(w, struct conn, watch);
	char ignored[4096];
	ssize_t n = 1;

	if (c->is_closed)
		return;
	if (status < 0 || (events & (UV_DISCONNECT | UV_PRIORITIZED))) {
		conn_close(c, STAT_CLOSE_LEFT);
		return;
	}
	if (events &
	    UV_READABLE) { /* the request was read to its end: what comes now can only be an abort, or nothing */
		n = recv(c->fd, ignored, sizeof(ignored), MSG_DONTWAIT);
		if (n == 0 && !c->out && !c->is_ending) { /* it may still read, and then it wants a proper end */
			conn_end(c, STAT_CLOSE_LEFT);
			return;
		}
		if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
			conn_close(c, STAT_CLOSE_LEFT);
			return;
		}
	}
	if (events & UV_WRITABLE)
		conn_kick(c);
}

/* When its client is to come again, so that others get the web server's thread meanwhile; UINT64_MAX: never. */
static uint64_t rotate_at_ms(const struct conn *c)
{
	uint64_t after_ms = (uint64_t)c->broker->cfg->stream_rotate_s * 1000;
	const struct session *session = c->stream && c->stream->is_own ? c->stream->session : NULL;

	if (after_ms == 0 || !session || session->ends_with_conn || c->is_ending || c->last.p)
		return UINT64_MAX;
	return c->begun_ms + after_ms;
}

/* From silent_ms of silence to the next time that something may have to be done. */
static void start_timer(struct conn *c, uint64_t silent_ms)
{
	uint64_t wait_ms = (uint64_t)c->broker->cfg->stream_stall_s * 1000, now = loop_now(&c->broker->loop);
	uint64_t rotate_ms = rotate_at_ms(c);

	if (c->heartbeat_ms > 0 && !c->is_ending && c->heartbeat_ms < wait_ms)
		wait_ms = c->heartbeat_ms;
	if (silent_ms < wait_ms)
		wait_ms -= silent_ms;
	if (rotate_ms > now && rotate_ms - now < wait_ms)
		wait_ms = rotate_ms - now;
	loop_timer(&c->broker->loop, &c->timer, wait_ms);
}

/* False: c is closed. */
static bool send_heartbeat(struct conn *c)
{
	struct buf *frame = &c->broker->frame;
	ssize_t n = 0;

	record_put_stdout(frame, c->kind, c->request_id, SLICE(SSE_HEARTBEAT));
	if (buf_check(frame, NULL) == 0)
		n = write_bytes(c, buf_slice(frame));
	release_scratch(frame);
	return n >= 0;
}

/* Silence: a comment. Bytes that nobody takes: the end. */
static void on_timer(struct wheel_timer *t)
{
	struct conn *c = TABLE_OF(t, struct conn, timer);
	uint64_t silent_ms = loop_now(&c->broker->loop) - c->progress_ms;

	if (c->out || c->is_ending) {
		if (silent_ms >= (uint64_t)c->broker->cfg->stream_stall_s * 1000) {
			conn_close(c, STAT_CLOSE_STALLED);
			return;
		}
	} else if (c->heartbeat_ms > 0 && silent_ms >= c->heartbeat_ms && !c->reading) {
		if (!send_heartbeat(c))
			return;
		silent_ms = 0;
	}
	if (loop_now(&c->broker->loop) >= rotate_at_ms(c))
		conn_end_until(c, 0);
	conn_kick(c); /* for a read that found no memory */
	start_timer(c, silent_ms);
}

/* Takes fd, and one descriptor of the budget. Is not watched yet. NULL: it can't be. */
static struct conn *make(struct broker *b, int fd, const struct conn_how *how)
{
	struct conn *c = mem_alloc(1, sizeof(*c));
	int sndbuf = (int)b->cfg->stream_sndbuf_bytes, rc;

	if (!c) {
		LOG(ERROR, "conn.refused", "why=\"no memory\"");
		goto fail;
	}
	rc = uv_poll_init(&b->loop.uv, &c->watch, fd); /* sets O_NONBLOCK too */
	if (rc) {
		LOG(WARN, "conn.refused", "why=\"%s\"", uv_strerror(rc));
		mem_free(c);
		goto fail;
	}
	if (how->kind != LINK_KIND_PIPE && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)))
		LOG(DEBUG, "conn.sndbuf", "errno=%d", errno); /* a CGI's stdout may be anything; it works without */
	c->broker = b;
	c->fd = fd;
	c->kind = how->kind;
	c->request_id = how->request_id;
	c->heartbeat_ms = how->heartbeat_ms;
	c->retry_ms = how->retry_ms;
	c->cursor = how->cursor;
	c->begun_ms = c->progress_ms = loop_now(&b->loop);
	c->task.run = on_task;
	c->timer.fire = on_timer;
	c->next = b->conns;
	c->at = &b->conns;
	if (c->next)
		c->next->at = &c->next;
	b->conns = c;
	b->conns_count++;
	return c;
fail:
	close(fd);
	broker_fd_give(b, 1);
	return NULL;
}

/* One that begins with head. NULL: it can't be. */
static struct conn *begin(struct broker *b, int fd, const struct conn_how *how, struct slice head)
{
	struct conn *c = make(b, fd, how);

	if (!c)
		return NULL;
	record_put_stdout(&b->frame, c->kind, c->request_id, head);
	if (buf_check(&b->frame, NULL) == 0) {
		c->out = mem_dup(b->frame.data, b->frame.len);
		c->out_len = b->frame.len;
	}
	release_scratch(&b->frame);
	watch(c, false);
	start_timer(c, 0);
	if (!c->out) {
		conn_close(c, STAT_CLOSE_FAILED);
		return NULL;
	}
	return c;
}

void conn_new(struct stream *s, int fd, const struct conn_how *how, struct slice head)
{
	struct conn *c = begin(s->broker, fd, how, head);

	if (!c) {
		stream_hangup(s, "its connection could not be taken");
		return;
	}
	LOG(DEBUG, "conn.adopted", "fd=%d stream=%" PRIu64 " cursor=%" PRIu64, fd, s->handle, c->cursor);
	stats_add(&s->broker->stats, STAT_ADOPTIONS, 1);
	c->stream = s;
	start_timer(c, 0); /* now it is known whether it is to be rotated */
	stream_attach(s, c);
}

void conn_refuse(struct broker *b, int fd, const struct conn_how *how, bool is_gone)
{
	struct slice head =
	    is_gone ? SLICE("Status: 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		    : SLICE("Status: 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
	struct conn *c = begin(b, fd, how, head);

	stats_add(&b->stats, is_gone ? STAT_REFUSED_GONE : STAT_REFUSED_BUSY, 1);
	if (!c)
		return;
	c->is_counted = true;
	conn_end(c, STAT_CLOSE_STREAM);
}

struct conn *conn_next(const struct conn *c)
{
	return c->next;
}

bool conn_is_reading(const struct broker *b)
{
	for (const struct conn *c = b->conns; c; c = c->next) {
		if (c->reading)
			return true;
	}
	return false;
}

enum saved_flag { SAVED_ENDING = 1, SAVED_COUNTED = 2, SAVED_LAST = 4 };

/* What conn_end_saved() needs stands first. */
void conn_save(const struct conn *c, struct buf *out)
{
	snapshot_put_fd(out, c->fd);
	link_put_u8(out, (uint8_t)c->kind);
	link_put_u16(out, c->request_id);
	link_put_u8(out, (uint8_t)((c->is_ending ? SAVED_ENDING : 0) | (c->is_counted ? SAVED_COUNTED : 0) |
				   (c->last.p ? SAVED_LAST : 0)));
	link_put_bytes(out, c->out ? (struct slice){c->out + c->out_sent, c->out_len - c->out_sent} : SLICE(""));
	link_put_u64(out, c->stream ? c->stream->handle : 0);
	link_put_u64(out, c->cursor);
	link_put_u32(out, c->heartbeat_ms);
	link_put_u32(out, c->retry_ms);
	link_put_bytes(out, c->last);
	link_put_u64(out, c->last_seq);
	link_put_u64(out, c->progress_ms);
	link_put_u64(out, c->begun_ms);
	snapshot_put_timer(out, &c->broker->loop, &c->timer);
}

static bool is_kind(enum link_kind kind)
{
	return kind >= LINK_KIND_FCGI && kind < LINK_KIND__COUNT;
}

/* The bytes that it owns, and its stream. */
static int load_rest(struct conn *c, struct slice out, unsigned flags, struct stream *s, struct slice *in)
{
	bool bad = false;
	struct slice last = link_get_bytes(in, &bad);

	c->last_seq = link_get_u64(in, &bad);
	c->progress_ms = link_get_u64(in, &bad);
	c->begun_ms = link_get_u64(in, &bad);
	snapshot_get_timer(in, &c->broker->loop, &c->timer, &bad);
	c->is_ending = flags & SAVED_ENDING;
	c->is_counted = flags & SAVED_COUNTED;
	if (bad || in->len > 0 || c->progress_ms > loop_now(&c->broker->loop))
		return -1;
	c->out = out.len ? mem_dup(out.p, out.len) : NULL;
	c->out_len = out.len;
	c->last = (struct slice){flags & SAVED_LAST ? mem_dup(last.p, last.len) : NULL, last.len};
	if ((out.len && !c->out) || ((flags & SAVED_LAST) && !c->last.p) || (s && stream_load_reader(s, c)))
		return -1;
	c->stream = s;
	return 0;
}

int conn_load(struct broker *b, struct slice in)
{
	bool bad = false;
	int fd = snapshot_get_fd(&in, false, &bad);
	struct conn_how how = {.kind = (enum link_kind)link_get_u8(&in, &bad)};
	unsigned flags;
	struct slice out;
	uint64_t handle;
	struct stream *s;
	struct conn *c;

	how.request_id = link_get_u16(&in, &bad);
	flags = link_get_u8(&in, &bad);
	out = link_get_bytes(&in, &bad);
	handle = link_get_u64(&in, &bad);
	how.cursor = link_get_u64(&in, &bad);
	how.heartbeat_ms = link_get_u32(&in, &bad);
	how.retry_ms = link_get_u32(&in, &bad);
	s = bad || !handle ? NULL : stream_find(b, handle);
	if (bad || !is_kind(how.kind) || (handle && !s))
		return -1;
	b->fd_used++;
	c = make(b, fd, &how);
	if (!c)
		return -1;
	if (load_rest(c, out, flags, s, &in)) {
		conn_close(c, STAT_CLOSE_FAILED);
		return -1;
	}
	watch(c, c->out != NULL);
	conn_kick(c);
	return 0;
}

void conn_end_saved(struct slice in)
{
	bool bad = false;
	int fd = snapshot_get_fd(&in, false, &bad);
	enum link_kind kind = (enum link_kind)link_get_u8(&in, &bad);
	uint16_t request_id = link_get_u16(&in, &bad);
	unsigned flags = link_get_u8(&in, &bad);
	struct slice out = link_get_bytes(&in, &bad);
	struct buf all;
	ssize_t n;

	if (bad || !is_kind(kind))
		return;
	buf_init(&all, SIZE_MAX / 2);
	buf_add_slice(&all, out);
	if (!(flags & SAVED_ENDING))
		record_put_end(&all, kind, request_id);
	n = all.fault || all.len == 0 ? 0 : write(fd, all.data, all.len); /* what does not go now can't */
	(void)n;
	buf_release(&all);
}
