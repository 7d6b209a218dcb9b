#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "common/log.h"
#include "tests/lib/fake_broker.h"
#include "common/banned.h"

#define CONN_MAX 64

struct fake_broker {
	const struct fake_options *options; /* borrowed */
	char ctl_path[108], ipc[128];
	int listener, conns[CONN_MAX], conns_count;
	void *context, *router;
	unsigned char peer[LINK_ROUTING_LEN]; /* whom fake_broker_send() speaks to */
	int answer_fd;                        /* where the message came from that is handled; -1: the data channel */
	pthread_t thread;
	atomic_bool is_stopping;
	atomic_uint counts[256];
	atomic_int role;  /* enum link_role, of the last HELLO */
	uint64_t streams; /* handles given out */
};

#define MUST(claim) ((claim) ? (void)0 : die(__FILE__, __LINE__, #claim))

void fake_broker_send_raw(struct fake_broker *fb, const struct slice *frames, size_t count)
{
	MUST(zmq_send(fb->router, fb->peer, sizeof(fb->peer), count ? ZMQ_SNDMORE : 0) != -1);
	for (size_t i = 0; i < count; i++)
		MUST(zmq_send(fb->router, frames[i].p, frames[i].len, i + 1 < count ? ZMQ_SNDMORE : 0) != -1);
}

static void send_message(struct fake_broker *fb, struct link_header h, struct slice key, struct slice body)
{
	struct buf head;
	struct slice frames[3];

	h.version = LINK_VERSION;
	h.body_len = (uint32_t)body.len;
	if (fb->answer_fd != -1 && (h.type == LINK_ACK || h.type == LINK_NACK)) {
		buf_init(&head, LINK_PACKET_MAX);
		link_put_header(&head, &h);
		buf_add_slice(&head, body);
		MUST(send(fb->answer_fd, head.data, head.len, MSG_NOSIGNAL) == (ssize_t)head.len);
		buf_release(&head);
		return;
	}
	buf_init(&head, LINK_HEADER_LEN);
	link_put_header(&head, &h);
	frames[0] = buf_slice(&head);
	frames[1] = key;
	frames[2] = body;
	fake_broker_send_raw(fb, frames, 3);
	buf_release(&head);
}

void fake_broker_send(struct fake_broker *fb, enum link_type type, uint64_t corr, uint64_t stream, struct slice body)
{
	send_message(fb, (struct link_header){.type = (uint8_t)type, .corr = corr, .stream = stream}, SLICE(""), body);
}

void fake_broker_tell(struct fake_broker *fb, enum link_type type, struct slice key, struct slice body)
{
	send_message(fb, (struct link_header){.type = (uint8_t)type}, key, body);
}

void fake_broker_nack(struct fake_broker *fb, uint64_t corr, enum link_nack code, uint32_t retry_ms)
{
	struct buf body;

	buf_init(&body, 64);
	link_put_u16(&body, (uint16_t)code);
	link_put_u32(&body, retry_ms);
	link_put_bytes(&body, SLICE("as the test wants"));
	fake_broker_send(fb, LINK_NACK, corr, 0, buf_slice(&body));
	buf_release(&body);
}

void fake_broker_cancelled(struct fake_broker *fb, uint64_t call, const char *id)
{
	struct buf body;

	buf_init(&body, 256);
	link_put_bytes(&body, slice_str(id));
	fake_broker_send(fb, LINK_CANCELLED, call, 0, buf_slice(&body));
	buf_release(&body);
}

void fake_broker_credit(struct fake_broker *fb, uint64_t bytes)
{
	struct buf body;

	buf_init(&body, 8);
	link_put_u64(&body, bytes);
	fake_broker_send(fb, LINK_CREDIT, 0, 0, buf_slice(&body));
	buf_release(&body);
}

static void put_task(struct buf *body, struct slice blob)
{
	link_put_u8(body, LINK_TASK_WORKING);
	link_put_u64(body, 1000);
	link_put_u64(body, 2000);
	link_put_u64(body, 60000);
	link_put_bytes(body, blob);
}

/* The answer was the only one that was missing: the call of id 1 goes on. */
static void put_taken(struct buf *body, struct slice question)
{
	bool bad = false;

	link_get_bytes(&question, &bad);
	link_put_u8(body, LINK_ANSWER_TAKEN);
	link_put_u8(body, LINK_CALL_ON_SESSION_STREAM);
	link_put_bytes(body, SLICE("kept"));
	link_put_u16(body, 1);
	link_put_bytes(body, link_get_bytes(&question, &bad));
	link_put_bytes(body, link_get_bytes(&question, &bad));
	link_put_u16(body, 1);
	link_put_bytes(body, SLICE("1"));
	link_put_bytes(body, SLICE("{\"will\":1}"));
}

/* What a broker in a good mood says. The version in the answer to CALL_BEGIN is its number, so that a test sees whose
 * answer it got. */
static void answer(struct fake_broker *fb, const struct fake_msg *msg)
{
	uint64_t stream = msg->head.stream;
	struct buf body;

	buf_init(&body, 4096);
	switch (msg->head.type) {
	case LINK_SESSION_PUT:
		link_put_u64(&body, 1);
		break;
	case LINK_CALL_BEGIN:
		stream = 7;
		link_put_u64(&body, msg->head.seq);
		link_put_bytes(&body, SLICE("{\"blob\":1}"));
		break;
	case LINK_OPEN_STREAM:
		stream = 100 + ++fb->streams;
		break;
	case LINK_ATTACH:
		stream = 8;
		link_put_u64(&body, 5);
		break;
	case LINK_APPEND:
	case LINK_FINISH:
		fake_broker_credit(fb, msg->body.len);
		break;
	case LINK_ANSWER:
		stream = 101;
		put_taken(&body, msg->body);
		break;
	case LINK_SUBSCRIBE:
	case LINK_NOTIFY:
		link_put_u64(&body, 2);
		break;
	case LINK_TASK_NEW:
	case LINK_TASK_PUT:
		link_put_u64(&body, 1);
		break;
	case LINK_TASK_GET:
		link_put_u64(&body, 3);
		put_task(&body, SLICE("{\"task\":1}"));
		break;
	case LINK_TASK_LIST:
		link_put_u16(&body, 2);
		link_put_bytes(&body, SLICE("t1"));
		put_task(&body, SLICE("{\"task\":1}"));
		link_put_bytes(&body, SLICE("t2"));
		put_task(&body, SLICE("{\"task\":2}"));
		link_put_u8(&body, 1);
		break;
	default:
		break;
	}
	if (msg->head.flags & LINK_WANT_ACK)
		fake_broker_send(fb, LINK_ACK, msg->head.seq, stream, buf_slice(&body));
	buf_release(&body);
}

static void handle(struct fake_broker *fb, const struct fake_msg *msg)
{
	if (!fb->options->on_message || !fb->options->on_message(fb, msg, fb->options->arg))
		if (msg->fd == -1)
			answer(fb, msg);
	atomic_fetch_add(&fb->counts[msg->head.type], 1);
}

static void welcome(const struct fake_broker *fb, int fd)
{
	const struct fake_options *o = fb->options;
	struct link_header h = {.version = LINK_VERSION,
	    .type = LINK_WELCOME,
	    .body_len = 2u + 8 + 8 + 4 + 1 + o->takes_calls + o->takes_events};
	struct buf packet;

	buf_init(&packet, 1024);
	if (o->welcome.len) {
		buf_add_slice(&packet, o->welcome);
	} else {
		link_put_header(&packet, &h);
		link_put_u16(&packet, (uint16_t)(o->version ? o->version : LINK_VERSION));
		link_put_u64(&packet, 42);
		link_put_u64(&packet, o->credit_bytes ? o->credit_bytes : 1048576);
		link_put_u32(&packet, o->body_max ? o->body_max : 65536);
		link_put_u8(&packet, (uint8_t)o->is_known);
		if (o->takes_calls)
			link_put_u8(&packet, LINK_CALLS_BY_CALLER);
		if (o->takes_events)
			link_put_u8(&packet, LINK_EVENTS_BY_CALLER);
	}
	(void)!send(fd, packet.data, packet.len, MSG_NOSIGNAL);
	buf_release(&packet);
}

/* false: the connection is over. */
static bool take_packet(struct fake_broker *fb, int fd)
{
	char bytes[LINK_PACKET_MAX];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr m = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	struct fake_msg msg = {.fd = -1};
	struct cmsghdr *cmsg;

	if (n <= 0)
		return false;
	MUST(link_get_header((struct slice){bytes, (size_t)n}, &msg.head, NULL) == 0);
	msg.body = (struct slice){bytes + LINK_HEADER_LEN, (size_t)n - LINK_HEADER_LEN};
	MUST(msg.body.len == msg.head.body_len);
	cmsg = CMSG_FIRSTHDR(&m);
	if (cmsg)
		memcpy(&msg.fd, CMSG_DATA(cmsg), sizeof(int));
	if (msg.head.type == LINK_HELLO) {
		link_routing_id(msg.head.producer, (uint32_t)msg.head.corr, fb->peer);
		atomic_store(&fb->role, msg.body.p[msg.body.len - 1]);
		atomic_fetch_add(&fb->counts[LINK_HELLO], 1);
		if (fb->options->welcome.p && !fb->options->welcome.len)
			return false;
		welcome(fb, fd);
		return true;
	}
	if (msg.head.type == LINK_CALLER) {
		MUST(fb->options->takes_calls && msg.fd != -1 && fb->conns_count < CONN_MAX);
		fb->conns[fb->conns_count++] = msg.fd;
		atomic_fetch_add(&fb->counts[LINK_CALLER], 1);
		return true;
	}
	msg.by_ctl = msg.head.type != LINK_ADOPT;
	if (msg.by_ctl) {
		bool bad = false;

		MUST(fb->options->takes_calls);
		msg.key = link_get_bytes(&msg.body, &bad);
		MUST(!bad);
		fb->answer_fd = fd;
	}
	handle(fb, &msg);
	fb->answer_fd = -1;
	if (msg.fd != -1)
		close(msg.fd);
	return true;
}

static void take_message(struct fake_broker *fb)
{
	struct fake_msg msg = {.fd = -1};
	zmq_msg_t frames[4];
	int count = 0;
	bool more = true;

	while (more) {
		MUST(count < 4);
		zmq_msg_init(&frames[count]);
		MUST(zmq_msg_recv(&frames[count], fb->router, 0) != -1);
		more = zmq_msg_more(&frames[count++]);
	}
	MUST(count == 4 && zmq_msg_size(&frames[0]) == sizeof(fb->peer));
	memcpy(fb->peer, zmq_msg_data(&frames[0]), sizeof(fb->peer));
	MUST(link_get_header((struct slice){zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1])}, &msg.head, NULL) == 0);
	msg.key = (struct slice){zmq_msg_data(&frames[2]), zmq_msg_size(&frames[2])};
	msg.body = (struct slice){zmq_msg_data(&frames[3]), zmq_msg_size(&frames[3])};
	MUST(msg.body.len == msg.head.body_len);
	handle(fb, &msg);
	while (count > 0)
		zmq_msg_close(&frames[--count]);
}

void fake_broker_hang_up(struct fake_broker *fb)
{
	while (fb->conns_count > 0)
		close(fb->conns[--fb->conns_count]);
}

static void *run(void *arg)
{
	struct fake_broker *fb = arg;
	zmq_pollitem_t items[CONN_MAX + 2];

	while (!atomic_load(&fb->is_stopping)) {
		int count = fb->conns_count;

		items[0] = (zmq_pollitem_t){.socket = fb->router, .events = ZMQ_POLLIN};
		items[1] = (zmq_pollitem_t){.fd = fb->listener, .events = ZMQ_POLLIN};
		for (int i = 0; i < count; i++)
			items[2 + i] = (zmq_pollitem_t){.fd = fb->conns[i], .events = ZMQ_POLLIN};
		if (zmq_poll(items, 2 + count, 20) <= 0)
			continue;
		for (int i = count - 1; i >= 0; i--) {
			if (items[2 + i].revents && i < fb->conns_count && !take_packet(fb, fb->conns[i])) {
				close(fb->conns[i]);
				fb->conns[i] = fb->conns[--fb->conns_count];
			}
		}
		if (items[1].revents && fb->conns_count < CONN_MAX) {
			int fd = accept4(fb->listener, NULL, NULL, SOCK_CLOEXEC);

			if (fd != -1)
				fb->conns[fb->conns_count++] = fd;
		}
		if (items[0].revents & ZMQ_POLLIN)
			take_message(fb);
	}
	fake_broker_hang_up(fb);
	return NULL;
}

struct fake_broker *fake_broker_start(const char *run_dir, const struct fake_options *options)
{
	static const int linger = 0, mandatory = 0;
	struct fake_broker *fb = calloc(1, sizeof(*fb));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	MUST(fb != NULL);
	fb->options = options;
	fb->answer_fd = -1;
	snprintf(fb->ctl_path, sizeof(fb->ctl_path), "%s/%s", run_dir, LINK_CTL_NAME);
	snprintf(fb->ipc, sizeof(fb->ipc), "ipc://%s/%s", run_dir, LINK_ZMQ_NAME);
	fb->context = zmq_ctx_new();
	fb->router = zmq_socket(fb->context, ZMQ_ROUTER);
	MUST(fb->router != NULL);
	zmq_setsockopt(fb->router, ZMQ_LINGER, &linger, sizeof(linger));
	zmq_setsockopt(fb->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
	MUST(zmq_bind(fb->router, fb->ipc) == 0);
	unlink(fb->ctl_path);
	memcpy(addr.sun_path, fb->ctl_path, sizeof(addr.sun_path));
	fb->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	MUST(bind(fb->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	MUST(listen(fb->listener, 64) == 0);
	MUST(pthread_create(&fb->thread, NULL, run, fb) == 0);
	return fb;
}

/* As after kill -9: the names stay behind. */
void fake_broker_stop(struct fake_broker **fbp)
{
	struct fake_broker *fb = *fbp;

	if (!fb)
		return;
	*fbp = NULL;
	atomic_store(&fb->is_stopping, true);
	pthread_join(fb->thread, NULL);
	close(fb->listener);
	zmq_close(fb->router);
	zmq_ctx_term(fb->context);
	free(fb);
}

enum link_role fake_broker_role(struct fake_broker *fb)
{
	return (enum link_role)atomic_load(&fb->role);
}

unsigned fake_broker_count(struct fake_broker *fb, enum link_type type)
{
	return atomic_load(&fb->counts[type]);
}

unsigned fake_broker_wait(struct fake_broker *fb, enum link_type type, unsigned count)
{
	const struct timespec step = {.tv_nsec = 5000000};

	for (int i = 0; i < 1000 && fake_broker_count(fb, type) < count; i++)
		nanosleep(&step, NULL);
	return fake_broker_count(fb, type);
}
