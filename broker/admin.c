#include "config.h"

#include <errno.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/admin_pages.h"
#include "broker/admin_request.h"
#include "broker/gate.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "common/http_head.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define WAIT_MS  5000      /* for the request; then for the peer to take anything of the answer */
#define PAGE_MAX (1 << 20) /* bytes of a page, or of a part of a list */

struct admin_conn {
	uv_poll_t watch;
	struct admin *admin;           /* borrowed */
	struct admin_conn *next, **at; /* in admin->conns */
	int fd;                        /* owned */
	char head[ADMIN_HEAD_MAX];
	size_t head_len;
	struct admin_request request;
	struct admin_walk walk;
	struct buf out;
	size_t out_sent;
	bool is_answering, is_complete; /* complete: the end of the answer is in out */
	struct wheel_timer timer;
	struct loop_doom doom;
};

struct admin {
	uv_poll_t watch;
	struct broker *broker; /* borrowed */
	struct admin_conn *conns;
	struct admin_conn *waiter; /* who asked for a restart, and is not answered yet */
	unsigned conns_count;
	struct gate gate;
	int fd; /* owned */
	struct log_rate rate;
};

static void on_connect(uv_poll_t *watch, int status, int events);

static void free_conn(struct loop_doom *d)
{
	struct admin_conn *c = TABLE_OF(d, struct admin_conn, doom);

	buf_release(&c->out);
	mem_free(c);
}

static void on_conn_unwatched(uv_handle_t *watch)
{
	struct admin_conn *c = TABLE_OF(watch, struct admin_conn, watch);
	struct loop *loop = watch->data;

	loop_doom(loop, &c->doom, free_conn);
}

/* Once: nobody calls back after it. */
static void close_conn(struct admin_conn *c)
{
	struct admin *a = c->admin;
	char ignored[256];
	ssize_t n =
	    recv(c->fd, ignored, sizeof(ignored), MSG_DONTWAIT); /* what is unread would look like an error there */

	(void)n;
	if (a->waiter == c)
		a->waiter = NULL;
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	loop_untimer(&a->broker->loop, &c->timer);
	c->watch.data = &a->broker->loop;
	uv_close((uv_handle_t *)&c->watch, on_conn_unwatched);
	close(c->fd);
	if (a->conns_count-- == ADMIN_CONNS_MAX)
		gate_watch(&a->gate, &a->broker->loop, &a->watch, on_connect);
}

static void put_head(struct admin_conn *c, int status, const char *type)
{
	buf_addf(&c->out,
	    "HTTP/1.0 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s",
	    status, http_reason(status), type,
	    status != 405                      ? ""
	    : c->request.page == ADMIN_KILL    ? "Allow: DELETE\r\n"
	    : c->request.page == ADMIN_RESTART ? "Allow: POST\r\n"
					       : "Allow: GET\r\n");
}

static void put_page(struct admin_conn *c, int status, const char *type, const struct buf *page)
{
	put_head(c, status, type);
	buf_addf(&c->out, "Content-Length: %zu\r\nConnection: close\r\n\r\n", page->len);
	buf_add_slice(&c->out, buf_slice(page));
	if (page->fault)
		c->out.fault = page->fault;
	c->is_complete = true;
}

static void put_text(struct admin_conn *c, int status, const char *text)
{
	struct buf page;

	buf_init(&page, PAGE_MAX);
	buf_adds(&page, text);
	put_page(c, status, "text/plain; charset=utf-8", &page);
	buf_release(&page);
}

static void put_numbers(struct admin_conn *c)
{
	const struct broker *b = c->admin->broker;
	bool is_status = c->request.page == ADMIN_STATUS;
	struct buf page;

	buf_init(&page, PAGE_MAX);
	if (is_status)
		admin_put_status(b, &page);
	else
		stats_put_metrics(b, &page);
	put_page(c, 200, is_status ? "application/json" : "text/plain; version=0.0.4; charset=utf-8", &page);
	buf_release(&page);
}

static void put_list(struct admin_conn *c)
{
	const struct broker *b = c->admin->broker;

	if (!c->walk.is_begun) {
		put_head(c, 200, "application/json");
		buf_adds(&c->out, "Connection: close\r\n\r\n");
	}
	if (c->request.page == ADMIN_SESSIONS)
		admin_put_sessions(b, &c->walk, &c->out);
	else
		admin_put_streams(b, &c->walk, &c->out);
	c->is_complete = c->walk.is_over;
}

static void kill_session(struct admin_conn *c)
{
	struct broker *b = c->admin->broker;
	struct slice id = {c->walk.id, 0};
	struct session *s;

	admin_find_session(b, &c->walk, c->request.prefix);
	if (!c->walk.is_over)
		return;
	id.len = c->walk.id_len;
	s = c->walk.count ? session_find(b, id, NULL) : NULL;
	if (c->walk.count > 1) {
		put_text(c, 409, "more than one session has an id that begins so\n");
	} else if (!s) {
		put_text(c, 404, "no session has an id that begins so\n");
	} else {
		stats_add(&b->stats, STAT_SESSIONS_KILLED, 1);
		session_close(s, "killed by mcpctl");
		put_text(c, 200, "killed\n");
	}
}

/* The answer comes with admin_tell_restart(). */
static void ask_restart(struct admin_conn *c)
{
	struct admin *a = c->admin;
	struct broker *b = a->broker;
	struct err err;

	if (b->restart(b->restart_arg, &err)) {
		put_text(c, 503, err.msg);
		return;
	}
	a->waiter = c;
	uv_poll_stop(&c->watch);
	loop_untimer(&b->loop, &c->timer);
}

/* The answer, or its next part. */
static void produce(struct admin_conn *c)
{
	switch (c->request.page) {
	case ADMIN_METRICS:
	case ADMIN_STATUS:
		put_numbers(c);
		break;
	case ADMIN_SESSIONS:
	case ADMIN_STREAMS:
		put_list(c);
		break;
	case ADMIN_KILL:
		kill_session(c);
		break;
	case ADMIN_RESTART:
		ask_restart(c);
		break;
	}
}

/* What the peer takes now; c is closed after the last of it. */
static void write_out(struct admin_conn *c)
{
	while (c->out_sent < c->out.len) {
		ssize_t n =
		    send(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EAGAIN)
			return;
		if (n == -1) {
			close_conn(c);
			return;
		}
		c->out_sent += (size_t)n;
		loop_timer(&c->admin->broker->loop, &c->timer, WAIT_MS);
	}
	buf_clear(&c->out);
	c->out_sent = 0;
	if (c->is_complete)
		close_conn(c);
}

static void answer(struct admin_conn *c)
{
	if (c->out.len == 0)
		produce(c);
	if (buf_check(&c->out, NULL)) {
		LOG(ERROR, "admin.failed", "why=\"no memory for an answer\"");
		close_conn(c);
	} else {
		write_out(c);
	}
}

static void on_io(uv_poll_t *watch, int status, int events);

static void read_head(struct admin_conn *c)
{
	ssize_t n = recv(c->fd, c->head + c->head_len, sizeof(c->head) - c->head_len, MSG_DONTWAIT);
	int status;

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_conn(c);
		return;
	}
	c->head_len += (size_t)n;
	status = admin_request_read((struct slice){c->head, c->head_len}, &c->request);
	if (status == 0)
		return;
	c->is_answering = true;
	if (status != 200)
		put_text(c, status, "see mcp-broker(8), ADMIN SOCKET\n");
	loop_timer(&c->admin->broker->loop, &c->timer, WAIT_MS);
	uv_poll_start(&c->watch, UV_WRITABLE, on_io);
}

static void on_io(uv_poll_t *watch, int status, int events)
{
	struct admin_conn *c = TABLE_OF(watch, struct admin_conn, watch);

	(void)events;
	if (status < 0)
		close_conn(c);
	else if (c->is_answering)
		answer(c);
	else
		read_head(c);
}

static void on_timer(struct wheel_timer *t)
{
	close_conn(TABLE_OF(t, struct admin_conn, timer));
}

static void refuse(struct admin *a, int fd, const struct ucred *peer, const char *why)
{
	unsigned dropped;

	if (log_rate_ok(&a->rate, 5, 10000, &dropped))
		LOG(WARN, "admin.refused", "pid=%d uid=%d why=\"%s\" not_logged=%u", (int)peer->pid, (int)peer->uid,
		    why, dropped);
	stats_add(&a->broker->stats, STAT_REFUSED_PEER, 1);
	close(fd);
}

/* NULL: no memory. */
static struct admin_conn *add_conn(struct admin *a, int fd)
{
	struct admin_conn *c = mem_alloc(1, sizeof(*c));

	if (!c || uv_poll_init(&a->broker->loop.uv, &c->watch, fd)) {
		mem_free(c);
		return NULL;
	}
	c->admin = a;
	c->fd = fd;
	c->timer.fire = on_timer;
	buf_init(&c->out, 2 * PAGE_MAX);
	c->next = a->conns;
	c->at = &a->conns;
	if (c->next)
		c->next->at = &c->next;
	a->conns = c;
	if (++a->conns_count == ADMIN_CONNS_MAX)
		gate_unwatch(&a->gate);
	return c;
}

static void on_connect(uv_poll_t *watch, int status, int events)
{
	struct admin *a = TABLE_OF(watch, struct admin, watch);
	struct broker *b = a->broker;
	struct admin_conn *c;
	struct ucred peer;
	int fd;

	(void)events;
	if (status < 0)
		return;
	fd = gate_accept(&a->gate, a->fd);
	if (fd == -1)
		return;
	if (!gate_may_pass(&a->gate, fd, &peer)) {
		refuse(a, fd, &peer, "this user may not connect (broker_peer_uids)");
		return;
	}
	c = add_conn(a, fd);
	if (!c) {
		refuse(a, fd, &peer, "no memory");
		return;
	}
	loop_timer(&b->loop, &c->timer, WAIT_MS);
	uv_poll_start(&c->watch, UV_READABLE, on_io);
}

static void on_unwatched(uv_handle_t *watch)
{
	struct admin *a = TABLE_OF(watch, struct admin, watch);

	gate_release(&a->gate);
	mem_free(a);
}

void admin_close(struct admin **ap)
{
	struct admin *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	while (a->conns)
		close_conn(a->conns);
	gate_unwatch(&a->gate);
	uv_close((uv_handle_t *)&a->watch, on_unwatched);
	close(a->fd);
}

/* fd is taken. NULL: *err. */
static struct admin *make(struct broker *b, int fd, struct err *err)
{
	struct admin *a = mem_alloc(1, sizeof(*a));
	int rc;

	if (!a) {
		err_set(err, ERR_NOMEM, "admin socket");
		close(fd);
		return NULL;
	}
	a->broker = b;
	a->fd = fd;
	if (gate_init(&a->gate, b->cfg, err))
		goto fail;
	rc = uv_poll_init(&b->loop.uv, &a->watch, fd);
	if (rc) {
		err_set(err, ERR_SYS, "watch the admin socket: %s", uv_strerror(rc));
		goto fail;
	}
	gate_watch(&a->gate, &b->loop, &a->watch, on_connect);
	return a;
fail:
	close(fd);
	gate_release(&a->gate);
	mem_free(a);
	return NULL;
}

struct admin *admin_listen(struct broker *b, const char *path, struct err *err)
{
	int fd = gate_listen(path, SOCK_STREAM, err);

	return fd == -1 ? NULL : make(b, fd, err);
}

void admin_tell_restart(struct admin *a, int status, struct slice text)
{
	struct admin_conn *c = a->waiter;
	struct buf page;

	if (!c)
		return;
	a->waiter = NULL;
	buf_init(&page, PAGE_MAX);
	buf_add_slice(&page, text);
	put_page(c, status, status == 200 ? "application/json" : "text/plain; charset=utf-8", &page);
	buf_release(&page);
	loop_timer(&a->broker->loop, &c->timer, WAIT_MS);
	uv_poll_start(&c->watch, UV_WRITABLE, on_io);
}

void admin_save(const struct admin *a, struct buf *out)
{
	snapshot_put_fd(out, a->fd);
	link_put_u8(out, a->waiter != NULL);
	if (a->waiter)
		snapshot_put_fd(out, a->waiter->fd);
}

struct admin *admin_load(struct broker *b, struct slice *in, struct err *err)
{
	bool bad = false, has_waiter;
	int fd = snapshot_get_fd(in, false, &bad), waiter_fd = -1;
	struct admin *a = bad ? NULL : make(b, fd, err);

	has_waiter = link_get_u8(in, &bad);
	if (has_waiter)
		waiter_fd = snapshot_get_fd(in, false, &bad);
	if (bad) {
		err_set(err, ERR_LINK, "the admin socket is missing");
		admin_close(&a);
	}
	if (!a || !has_waiter)
		return a;
	a->waiter = add_conn(a, waiter_fd);
	if (a->waiter)
		a->waiter->is_answering = true;
	else
		close(waiter_fd); /* it sees that */
	return a;
}
