/* A question that its thread asks by itself, and whose answer it reads by itself: on one of the sockets that the broker
 * was given for that (CALLER, doc/link.md), which is this thread's as long as it asks. No other thread is woken. */
#include "config.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fcgi/link_priv.h"
#include "common/banned.h"

/* Longer than the question may have an effect: who says it again by the data channel must not be overtaken by it. The
 * kernel counts in ticks. */
#define ANSWER_WAIT_MS (RETRY_FIRST_MS + 20)

int link_send_fd(int ctl, const struct buf *packet, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = packet->data, .iov_len = packet->len};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(ctl, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -1 : 0;
}

/* With mtx held, so that ctl is not closed meanwhile. */
static int offer(struct link *l, int fd)
{
	struct link_header h = {.version = LINK_VERSION, .type = LINK_CALLER, .producer = l->producer, .seq = ++l->seq};
	struct buf packet;
	int rc;

	buf_init(&packet, LINK_HEADER_LEN);
	link_put_header(&packet, &h);
	rc = buf_check(&packet, NULL) || link_send_fd(l->ctl, &packet, fd) ? -1 : 0;
	buf_release(&packet);
	return rc;
}

static int make(struct link *l)
{
	const struct timeval wait = {.tv_usec = ANSWER_WAIT_MS * 1000};
	int fds[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -1;
	rc = setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) || offer(l, fds[1]);
	close(fds[1]);
	if (rc) {
		close(fds[0]);
		return -1;
	}
	l->callers_count++;
	return fds[0];
}

struct caller link_caller_take(struct link *l)
{
	struct caller c = {.fd = -1, .connection = l->connection};

	if (l->state != LINK_UP || !l->takes_callers)
		return c;
	if (l->idle_callers_count > 0)
		c.fd = l->idle_callers[--l->idle_callers_count];
	else if (l->callers_count < LINK_CALLERS_MAX)
		c.fd = make(l);
	return c;
}

void link_caller_give(struct link *l, struct caller c, bool is_sound)
{
	bool is_kept = false;

	pthread_mutex_lock(&l->mtx);
	if (l->state == LINK_UP && l->connection == c.connection) {
		is_kept = is_sound;
		if (is_kept)
			l->idle_callers[l->idle_callers_count++] = c.fd;
		else
			l->callers_count--;
	}
	pthread_mutex_unlock(&l->mtx);
	if (!is_kept)
		close(c.fd);
}

void link_callers_close(struct link *l)
{
	while (l->idle_callers_count > 0)
		close(l->idle_callers[--l->idle_callers_count]);
	l->callers_count = 0;
}

static bool is_event(const struct request *req)
{
	return req->header.type == LINK_APPEND || req->header.type == LINK_FINISH;
}

bool link_caller_send(struct caller c, const struct request *req, uint64_t deadline_ms)
{
	struct link_header h = req->header;
	struct buf packet;
	bool is_sent;

	h.body_len = (uint32_t)(sizeof(uint32_t) + req->key.len + req->body.len);
	h.deadline_ms = deadline_ms;
	buf_init(&packet, LINK_PACKET_MAX);
	link_put_header(&packet, &h);
	link_put_bytes(&packet, req->key);
	buf_add_slice(&packet, buf_slice(&req->body));
	is_sent = !packet.fault && send(c.fd, packet.data, packet.len, MSG_DONTWAIT | MSG_NOSIGNAL) != -1;
	buf_release(&packet);
	return is_sent;
}

/* What is not done now (BUSY) may be said again, by the link thread, which has the clock for it; so may what is not
 * understood there (BAD), for a program of before may have taken the broker's place; and, under another number, an
 * event that others have overtaken by a whole window (EXPIRED). */
static bool take_nack(struct request *req, const struct link_header *h, struct slice body)
{
	struct nack nack;

	if (!nack_read(body, &nack) || nack.code == LINK_NACK_BUSY || nack.code == LINK_NACK_BAD)
		return false;
	if (nack.code == LINK_NACK_EXPIRED && is_event(req)) {
		req->header.seq = 0;
		return false;
	}
	request_refused(req, &nack);
	request_answered(req, h);
	return true;
}

static bool take_ack(struct request *req, const struct link_header *h, struct slice body)
{
	if (h->type != LINK_ACK)
		return false;
	if (zmq_msg_init_size(&req->answer_body, body.len) == -1) {
		zmq_msg_init(&req->answer_body);
		return false;
	}
	memcpy(zmq_msg_data(&req->answer_body), body.p, body.len);
	request_answered(req, h);
	return true;
}

/* false: there is none, or none to be relied upon. */
static bool receive(struct caller c, struct request *req)
{
	char packet[LINK_PACKET_MAX];
	struct link_header h;
	struct slice body;
	ssize_t len;

	do
		len = recv(c.fd, packet, sizeof(packet), 0);
	while (len == -1 && errno == EINTR);
	if (len < LINK_HEADER_LEN || link_get_header((struct slice){packet, (size_t)len}, &h, NULL))
		return false;
	body = (struct slice){packet + LINK_HEADER_LEN, (size_t)len - LINK_HEADER_LEN};
	if (h.body_len != body.len || h.corr != req->header.seq)
		return false;
	return h.type == LINK_NACK ? take_nack(req, &h, body) : take_ack(req, &h, body);
}

/* With mtx held. An event must not overtake what was said of its stream, or of all calls (RETURN), by the data channel
 * without waiting for it. */
static bool may_go(const struct link *l, const struct request *req)
{
	uint64_t heard = atomic_load(&l->heard_seq);

	return !is_event(req) ||
	       (l->takes_events && heard >= l->returned_seq && heard >= l->unheard[req->header.stream % TABLE_SIZE]);
}

bool link_caller_ask(struct link *l, struct request *req, struct call_entry *entry)
{
	struct caller c = {.fd = -1};
	bool is_answered;

	if (LINK_HEADER_LEN + sizeof(uint32_t) + req->key.len + req->body.len > LINK_PACKET_MAX ||
	    link_lock_up(l, false, 0, NULL))
		return false;
	if (may_go(l, req))
		c = link_caller_take(l);
	if (c.fd != -1)
		request_name(l, req, entry);
	pthread_mutex_unlock(&l->mtx);
	if (c.fd == -1)
		return false;
	is_answered = link_caller_send(c, req, now_ms() + RETRY_FIRST_MS) && receive(c, req);
	link_caller_give(l, c, is_answered);
	if (is_answered)
		req->connection = c.connection;
	else
		req->header.flags |= LINK_RETRY;
	return is_answered;
}
