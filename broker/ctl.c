#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/gate.h"
#include "broker/handle.h"
#include "broker/producer.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define CTL_TURN_MAX    32 /* packets of one connection per wake-up */
#define CTL_FDS_MAX     4  /* descriptors that one packet may carry before the kernel drops them; one is right */
#define CTL_FDS_COUNTED 2  /* a worker costs its control connection and libzmq's; a caller's socket 1 */

struct ctl {
	uv_poll_t watch;
	struct broker *broker; /* borrowed, as the next two */
	struct ctl_listener *listener;
	struct ctl *owner;         /* of a caller's socket: the connection by which it came, and with which it goes */
	unsigned callers;          /* how many such it has */
	struct producer *producer; /* borrowed; NULL: no HELLO yet */
	struct ctl *next, **at;    /* in listener->ctls */
	int fd;                    /* owned */
	pid_t pid;
	bool is_closed, is_hung_up; /* the latter: by the worker */
	struct wheel_timer hello_timer;
	struct loop_doom doom;
};

struct ctl_listener {
	uv_poll_t watch;
	struct broker *broker; /* borrowed */
	struct ctl *ctls;
	struct gate gate;
	int fd; /* owned */
	struct log_rate rate;
};

static size_t fds_counted(const struct ctl *c)
{
	return c->owner ? 1 : CTL_FDS_COUNTED;
}

static void free_ctl(struct loop_doom *d)
{
	mem_free(TABLE_OF(d, struct ctl, doom));
}

static void on_unwatched(uv_handle_t *watch)
{
	struct ctl *c = TABLE_OF(watch, struct ctl, watch);

	loop_doom(&c->broker->loop, &c->doom, free_ctl);
}

static void on_packet(uv_poll_t *watch, int status, int events);

/* What a worker said there before it died is read, in one turn's measure: an answer that was sent beats its will. */
static void close_callers(struct ctl *owner)
{
	struct ctl *next;

	for (struct ctl *c = owner->listener->ctls; c && owner->callers > 0; c = next) {
		next = c->next;
		if (c->owner != owner)
			continue;
		if (owner->is_hung_up)
			on_packet(&c->watch, 0, UV_READABLE);
		ctl_close(c, "its worker's connection ends");
	}
}

void ctl_close(struct ctl *c, const char *why)
{
	if (!c || c->is_closed)
		return;
	c->is_closed = true;
	close_callers(c);
	LOG(DEBUG, "ctl.close", "pid=%d why=\"%s\"", (int)c->pid, why);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	loop_untimer(&c->broker->loop, &c->hello_timer);
	uv_close((uv_handle_t *)&c->watch, on_unwatched);
	close(c->fd);
	broker_fd_give(c->broker, fds_counted(c));
	if (c->owner)
		c->owner->callers--;
	if (c->producer)
		producer_forget_ctl(c->producer, c);
	if (c->producer && c->producer->ctl == c)
		producer_lost(c->producer, !c->is_hung_up);
	c->producer = NULL;
}

static void on_hello_late(struct wheel_timer *t)
{
	ctl_close(TABLE_OF(t, struct ctl, hello_timer), "no HELLO came");
}

int ctl_send(struct ctl *c, struct link_header *h, struct slice body)
{
	struct buf packet;
	int ret;

	if (!c || c->is_closed)
		return -1;
	h->version = h->type == LINK_NACK ? LINK_VERSION_HELLO : LINK_VERSION;
	h->body_len = (uint32_t)body.len;
	buf_init(&packet, LINK_PACKET_MAX);
	link_put_header(&packet, h);
	buf_add_slice(&packet, body);
	ret = buf_check(&packet, NULL);
	if (ret == 0 && send(c->fd, packet.data, packet.len, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
		ret = -1;
	buf_release(&packet);
	return ret;
}

/* Of the handshake: what the peer's socket has no room for is lost; who waits for it gives up after link_timeout_ms. */
static void send_packet(struct ctl *c, struct link_header *h, struct slice body)
{
	if (ctl_send(c, h, body))
		LOG(WARN, "ctl.send_failed", "pid=%d type=%s", (int)c->pid, link_type_name(h->type));
}

static void set_owner(struct ctl *caller, struct ctl *owner)
{
	caller->owner = owner;
	caller->producer = owner->producer;
	owner->callers++;
}

static void send_nack(struct ctl *c, uint64_t seq, unsigned code, const char *text)
{
	struct link_header h = {.type = LINK_NACK, .corr = seq};
	struct buf body;

	stats_add(&c->broker->stats, STAT_NACK_BUSY + code - LINK_NACK_BUSY, 1);
	buf_init(&body, 512);
	link_put_u16(&body, (uint16_t)code);
	link_put_u32(&body, 0);
	link_put_bytes(&body, slice_str(text));
	if (buf_check(&body, NULL) == 0)
		send_packet(c, &h, buf_slice(&body));
	buf_release(&body);
}

static void take_hello(struct ctl *c, const struct link_header *h, struct slice in)
{
	struct link_header reply = {.type = LINK_WELCOME, .corr = h->seq};
	struct broker *b = c->broker;
	bool bad = false;
	uint16_t version_min = link_get_u16(&in, &bad), version_max = link_get_u16(&in, &bad);
	uint32_t pid = link_get_u32(&in, &bad);
	struct slice program = link_get_bytes(&in, &bad);
	enum link_role role = in.len == 0 && !bad ? LINK_ROLE_WORKER : (enum link_role)link_get_u8(&in, &bad);
	struct producer *older;
	char quoted[64];
	struct buf body;
	bool is_known;

	if (!bad && (version_min > LINK_VERSION || version_max < LINK_VERSION)) {
		LOG(WARN, "ctl.version", "pid=%d versions=%d-%d program=\"%s\"", (int)c->pid, version_min, version_max,
		    log_quote(quoted, sizeof(quoted), program));
		send_nack(c, h->seq, LINK_NACK_VERSION, "no common version of the link");
		ctl_close(c, "no common version");
		return;
	}
	if (bad || in.len > 0 || h->producer == 0 || h->corr == 0 || h->corr > UINT32_MAX || c->producer ||
	    role < LINK_ROLE_WORKER || role >= LINK_ROLE__COUNT) {
		send_nack(c, h->seq, LINK_NACK_BAD, "not a HELLO, or a second one");
		ctl_close(c, "bad HELLO");
		return;
	}
	older = producer_find(b, h->producer);
	is_known = older && older->connection > 0;
	c->producer = producer_connect(b, h->producer, (uint32_t)h->corr, c, pid, role);
	if (!c->producer) {
		ctl_close(c, "no memory, or an older connection");
		return;
	}
	loop_untimer(&b->loop, &c->hello_timer);
	buf_init(&body, 64);
	link_put_u16(&body, LINK_VERSION);
	link_put_u64(&body, b->store->epoch);
	link_put_u64(&body, (uint64_t)b->cfg->link_credit_bytes);
	link_put_u32(&body, (uint32_t)broker_frame_max(b));
	link_put_u8(&body, is_known);
	link_put_u8(&body, LINK_CALLS_BY_CALLER);
	link_put_u8(&body, LINK_EVENTS_BY_CALLER);
	if (buf_check(&body, NULL) == 0)
		send_packet(c, &reply, buf_slice(&body));
	buf_release(&body);
}

/* fd is taken. */
static void take_adopt(struct ctl *c, const struct link_header *h, struct slice in, int fd)
{
	struct broker *b = c->broker;
	struct stream *s = stream_find(b, h->stream);
	struct conn_how how;
	struct slice head;
	bool bad = false;

	how.kind = (enum link_kind)link_get_u8(&in, &bad);
	how.request_id = link_get_u16(&in, &bad);
	how.cursor = link_get_u64(&in, &bad);
	how.heartbeat_ms = link_get_u32(&in, &bad);
	how.retry_ms = link_get_u32(&in, &bad);
	head = link_get_bytes(&in, &bad);
	if (bad || in.len > 0 || how.kind < LINK_KIND_FCGI || how.kind >= LINK_KIND__COUNT || !c->producer ||
	    fd == -1) {
		LOG(WARN, "ctl.bad_adopt", "pid=%d fd=%d", (int)c->pid, fd);
		if (fd != -1)
			close(fd);
		return;
	}
	if (s && stream_spend_reserve(s))
		b->fd_used++; /* the promise is kept: from reserved to used */
	else if (!broker_fd_take(b, 1)) {
		/* It is open already, and owed an answer: refuse properly, above the budget, out of the reserve. */
		b->fd_used++;
		conn_refuse(b, fd, &how, false);
		return;
	}
	if (!s) {
		conn_refuse(b, fd, &how, !STREAM_HANDLE_IS_MODERN(h->stream));
		return;
	}
	if (how.cursor == LINK_CURSOR_UNDELIVERED)
		how.cursor = s->delivered_seq;
	if (how.cursor > s->ready_seq)
		how.cursor = s->ready_seq;
	if (how.cursor + 1 < s->first_seq) { /* what ATTACH promised was forgotten since: never a silent skip */
		conn_refuse(b, fd, &how, false);
		return;
	}
	conn_new(s, fd, &how, head);
}

static struct ctl *add_ctl(struct ctl_listener *l, int fd, pid_t pid);

/* fd is taken. What can't be had is closed, and the worker asks by the data channel. */
static void take_caller(struct ctl *c, int fd)
{
	struct ctl *caller = NULL;

	if (fd != -1 && c->producer && !c->owner && c->callers < LINK_CALLERS_MAX && broker_fd_take(c->broker, 1)) {
		caller = add_ctl(c->listener, fd, c->pid);
		if (!caller)
			broker_fd_give(c->broker, 1);
	}
	if (caller)
		set_owner(caller, c);
	else if (fd != -1)
		close(fd);
}

static bool is_event(unsigned type)
{
	return type == LINK_APPEND || type == LINK_FINISH;
}

/* Who waits for it is what bounds them: one for each caller. */
static bool may_come(const struct ctl *c, const struct link_header *h)
{
	return handle_comes_by_ctl(h->type) && c->producer && h->producer == c->producer->id &&
	       (!is_event(h->type) || (c->owner && h->flags & LINK_WANT_ACK));
}

/* Its end may not have been read yet. */
static bool is_dead(const struct ctl *c)
{
	char byte;
	ssize_t len = recv(c->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);

	return len == 0 || (len == -1 && errno != EAGAIN);
}

/* An event that is late has no effect, for it is said again by the data channel. Not so if its worker has died
 * meanwhile, and did not come back: it counts, as it would if it had been sent by the data channel. */
static bool is_last_word(const struct ctl *c, const struct link_header *h)
{
	return is_event(h->type) && h->deadline_ms && now_ms() >= h->deadline_ms && c->owner &&
	       c->producer->ctl == c->owner && is_dead(c->owner);
}

/* true: the sender waits for the answer, and says nothing before it there. */
static bool take_packet(struct ctl *c, struct slice packet, int fd)
{
	struct link_header h;
	struct slice body = {packet.p + LINK_HEADER_LEN, packet.len - LINK_HEADER_LEN};
	struct err err;
	bool takes_fd;

	if (packet.len < LINK_HEADER_LEN || link_get_header(packet, &h, &err) || h.body_len != body.len) {
		if (fd != -1)
			close(fd);
		LOG(WARN, "ctl.garbage", "pid=%d bytes=%zu", (int)c->pid, packet.len);
		ctl_close(c, "garbage");
		return false;
	}
	takes_fd = h.type == LINK_ADOPT || h.type == LINK_CALLER;
	if (fd != -1 && !takes_fd) {
		close(fd);
		fd = -1;
	}
	if (is_last_word(c, &h))
		h.deadline_ms = 0;
	if (h.type == LINK_HELLO && !c->owner)
		take_hello(c, &h, body);
	else if (h.type == LINK_ADOPT)
		take_adopt(c, &h, body, fd);
	else if (h.type == LINK_CALLER)
		take_caller(c, fd);
	else if (may_come(c, &h))
		handle_by_ctl(c->producer, c, &h, body);
	else
		send_nack(c, h.seq, LINK_NACK_BAD, "not a message of the control channel");
	return c->owner && h.flags & LINK_WANT_ACK;
}

/* Takes the first descriptor of a packet and closes what else it carries. */
static int take_fd(struct msghdr *msg)
{
	int fd = -1;

	for (struct cmsghdr *cm = CMSG_FIRSTHDR(msg); cm; cm = CMSG_NXTHDR(msg, cm)) {
		size_t count;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int one;

			memcpy(&one, CMSG_DATA(cm) + i * sizeof(int), sizeof(one));
			if (fd == -1)
				fd = one;
			else
				close(one);
		}
	}
	return fd;
}

static void on_packet(uv_poll_t *watch, int status, int events)
{
	static char packet[LINK_PACKET_MAX]; /* one loop, one thread */
	struct ctl *c = TABLE_OF(watch, struct ctl, watch);

	(void)events;
	if (status < 0) {
		ctl_close(c, uv_strerror(status));
		return;
	}
	for (int n = 0; n < CTL_TURN_MAX && !c->is_closed; n++) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(CTL_FDS_MAX * sizeof(int))];
		} control;
		struct iovec iov = {packet, sizeof(packet)};
		struct msghdr msg = {.msg_iov = &iov,
		    .msg_iovlen = 1,
		    .msg_control = control.bytes,
		    .msg_controllen = sizeof(control.bytes)};
		ssize_t len = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int fd;

		if (len == -1 && errno == EINTR)
			continue;
		if (len == -1 && errno == EAGAIN)
			return;
		c->is_hung_up = len <= 0;
		if (len == -1) {
			ctl_close(c, "it broke");
			return;
		}
		fd = take_fd(&msg);
		if (len == 0) { /* its end, or a packet without bytes, which may carry descriptors */
			if (fd != -1)
				close(fd);
			ctl_close(c, "the worker closed it");
			return;
		}
		if (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) { /* too long, or the kernel had no descriptor to give */
			LOG(ERROR, "ctl.truncated", "pid=%d bytes=%zd descriptor_lost=%d", (int)c->pid, len,
			    (msg.msg_flags & MSG_CTRUNC) != 0);
			if (fd != -1)
				close(fd);
			continue;
		}
		if (take_packet(c, (struct slice){packet, (size_t)len}, fd)) {
			loop_give_way(&c->broker->loop);
			return;
		}
	}
}

static void refuse(struct ctl_listener *l, int fd, const struct ucred *peer, const char *why)
{
	unsigned dropped;

	if (log_rate_ok(&l->rate, 5, 10000, &dropped))
		LOG(WARN, "ctl.refused", "pid=%d uid=%d why=\"%s\" not_logged=%u", (int)peer->pid, (int)peer->uid, why,
		    dropped);
	stats_add(&l->broker->stats, STAT_REFUSED_PEER, 1);
	close(fd);
}

/* Of the listener's, and watched. NULL: no memory. */
static struct ctl *add_ctl(struct ctl_listener *l, int fd, pid_t pid)
{
	struct ctl *c = mem_alloc(1, sizeof(*c));

	if (!c || uv_poll_init(&l->broker->loop.uv, &c->watch, fd)) {
		mem_free(c);
		return NULL;
	}
	c->broker = l->broker;
	c->listener = l;
	c->fd = fd;
	c->pid = pid;
	c->hello_timer.fire = on_hello_late;
	c->next = l->ctls;
	c->at = &l->ctls;
	if (c->next)
		c->next->at = &c->next;
	l->ctls = c;
	uv_poll_start(&c->watch, UV_READABLE, on_packet);
	return c;
}

static void on_connect(uv_poll_t *watch, int status, int events)
{
	struct ctl_listener *l = TABLE_OF(watch, struct ctl_listener, watch);
	struct broker *b = l->broker;
	struct ucred peer;
	struct ctl *c;
	int fd;

	(void)events;
	if (status < 0)
		return;
	fd = gate_accept(&l->gate, l->fd);
	if (fd == -1)
		return;
	if (!gate_may_pass(&l->gate, fd, &peer)) {
		refuse(l, fd, &peer, "this user may not connect (broker_peer_uids)");
		return;
	}
	if (!broker_fd_take(b, CTL_FDS_COUNTED)) {
		refuse(l, fd, &peer, "no descriptors left");
		return;
	}
	c = add_ctl(l, fd, peer.pid);
	if (!c) {
		broker_fd_give(b, CTL_FDS_COUNTED);
		refuse(l, fd, &peer, "no memory");
		return;
	}
	loop_timer(&b->loop, &c->hello_timer, (uint64_t)b->cfg->link_timeout_ms);
}

static void on_listener_unwatched(uv_handle_t *watch)
{
	struct ctl_listener *l = TABLE_OF(watch, struct ctl_listener, watch);

	gate_release(&l->gate);
	mem_free(l);
}

void ctl_stop_accepting(struct ctl_listener *l)
{
	if (l->fd == -1)
		return;
	gate_unwatch(&l->gate);
	close(l->fd);
	l->fd = -1;
}

void ctl_listener_close(struct ctl_listener **lp)
{
	struct ctl_listener *l = *lp;

	if (!l)
		return;
	*lp = NULL;
	while (l->ctls)
		ctl_close(l->ctls, "shutdown");
	ctl_stop_accepting(l);
	uv_close((uv_handle_t *)&l->watch, on_listener_unwatched);
}

/* fd is taken. NULL: *err. */
static struct ctl_listener *make_listener(struct broker *b, int fd, struct err *err)
{
	struct ctl_listener *l = mem_alloc(1, sizeof(*l));
	int rc;

	if (!l) {
		err_set(err, ERR_NOMEM, "control channel");
		close(fd);
		return NULL;
	}
	l->broker = b;
	l->fd = fd;
	if (gate_init(&l->gate, b->cfg, err))
		goto fail;
	rc = uv_poll_init(&b->loop.uv, &l->watch, fd);
	if (rc) {
		err_set(err, ERR_SYS, "watch the control channel: %s", uv_strerror(rc));
		goto fail;
	}
	gate_watch(&l->gate, &b->loop, &l->watch, on_connect);
	return l;
fail:
	close(fd);
	gate_release(&l->gate);
	mem_free(l);
	return NULL;
}

struct ctl_listener *ctl_listen(struct broker *b, const char *path, struct err *err)
{
	int fd = gate_listen(path, SOCK_SEQPACKET, err);

	return fd == -1 ? NULL : make_listener(b, fd, err);
}

static void save_one(const struct ctl *c, struct buf *out)
{
	snapshot_put_fd(out, c->fd);
	link_put_u32(out, (uint32_t)c->pid);
	link_put_u64(out, c->producer ? c->producer->id : 0);
	link_put_u8(out, c->owner != NULL);
	snapshot_put_timer(out, &c->broker->loop, &c->hello_timer);
}

/* Who owns comes before what is owned. */
void ctl_save(const struct ctl_listener *l, struct buf *out)
{
	snapshot_put_fd(out, l->fd);
	for (const struct ctl *c = l->ctls; c; c = c->next) {
		if (!c->owner)
			save_one(c, out);
	}
	for (const struct ctl *c = l->ctls; c; c = c->next) {
		if (c->owner)
			save_one(c, out);
	}
}

static int load_one(struct ctl_listener *l, struct slice *in)
{
	struct broker *b = l->broker;
	bool bad = false;
	int fd = snapshot_get_fd(in, false, &bad);
	pid_t pid = (pid_t)link_get_u32(in, &bad);
	uint64_t producer = link_get_u64(in, &bad);
	bool is_caller = link_get_u8(in, &bad);
	struct producer *p = bad || !producer ? NULL : producer_find(b, producer);
	struct ctl *c;

	if (bad || ((producer || is_caller) && (!p || (p->ctl != NULL) != is_caller)))
		return -1;
	c = add_ctl(l, fd, pid);
	if (!c)
		return -1;
	if (is_caller) {
		set_owner(c, p->ctl);
	} else {
		c->producer = p;
		if (p)
			p->ctl = c;
	}
	b->fd_used += fds_counted(c);
	snapshot_get_timer(in, &b->loop, &c->hello_timer, &bad);
	return bad ? -1 : 0;
}

struct ctl_listener *ctl_load(struct broker *b, struct slice in, struct err *err)
{
	bool bad = false;
	int fd = snapshot_get_fd(&in, false, &bad);
	struct ctl_listener *l = bad ? NULL : make_listener(b, fd, err);

	if (bad)
		err_set(err, ERR_LINK, "the control channel is missing");
	while (l && in.len > 0) {
		if (load_one(l, &in) == 0)
			continue;
		ctl_listener_close(&l);
		err_set(err, ERR_LINK, "a control connection is not to be understood");
	}
	return l;
}
