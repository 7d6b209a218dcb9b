#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <zmq.h>

#include "broker/bus.h"
#include "broker/bus_line.h"
#include "broker/ctl.h"
#include "broker/handle.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define BUS_TURN_MAX   64 /* messages received per turn of the loop */
#define BUS_HWM        128
#define BUS_AGAIN_MS   100
#define BUS_FRAMES_MAX 4 /* routing id, header, key, body */

struct bus {
	struct broker *broker; /* borrowed */
	void *context, *socket;
	uv_poll_t watch;
	bool is_watched;
	bool is_due;                    /* something may be there, or room, of which ZMQ_FD will not tell */
	struct wheel_timer again_timer; /* runs while some wait */
	struct log_rate rate;
};

static int set_int(void *socket, int option, int value)
{
	return zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* The turn looks. */
static void on_zmq_fd(uv_poll_t *watch, int status, int events)
{
	(void)status, (void)events;
	TABLE_OF(watch, struct bus, watch)->is_due = true;
}

/* The turn tries once more. */
static void on_again(struct wheel_timer *t)
{
	TABLE_OF(t, struct bus, again_timer)->is_due = true;
}

int bus_open(struct broker *b, const char *path, struct err *err)
{
	struct bus *bus = mem_alloc(1, sizeof(*bus));
	int64_t frame_max = (int64_t)broker_frame_max(b);
	char address[512];
	size_t len = sizeof(int);
	int fd = -1, rc;

	if (!bus)
		return err_set(err, ERR_NOMEM, "data channel");
	bus->broker = b;
	bus->is_due = true;
	bus->again_timer.fire = on_again;
	b->bus = bus;
	snprintf(address, sizeof(address), "ipc://%s", path);
	bus->context = zmq_ctx_new();
	bus->socket = bus->context ? zmq_socket(bus->context, ZMQ_ROUTER) : NULL;
	if (!bus->socket || set_int(bus->socket, ZMQ_ROUTER_MANDATORY, 1) || set_int(bus->socket, ZMQ_LINGER, 0) ||
	    set_int(bus->socket, ZMQ_HANDSHAKE_IVL, (int)b->cfg->link_timeout_ms) ||
	    set_int(bus->socket, ZMQ_SNDHWM, BUS_HWM) || set_int(bus->socket, ZMQ_RCVHWM, BUS_HWM) ||
	    zmq_setsockopt(bus->socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof(frame_max)) ||
	    zmq_bind(bus->socket, address) || zmq_getsockopt(bus->socket, ZMQ_FD, &fd, &len)) {
		err_set(err, ERR_BROKER, "%s: %s", address, zmq_strerror(zmq_errno()));
		bus_close(b);
		return -1;
	}
	rc = uv_poll_init(&b->loop.uv, &bus->watch, fd);
	if (rc) {
		bus_close(b);
		return err_set(err, ERR_SYS, "watch the data channel: %s", uv_strerror(rc));
	}
	bus->is_watched = true;
	uv_poll_start(&bus->watch, UV_READABLE, on_zmq_fd);
	return 0;
}

void bus_linger(struct broker *b, int ms)
{
	set_int(b->bus->socket, ZMQ_LINGER, ms);
}

static void on_unwatched(uv_handle_t *watch)
{
	mem_free(TABLE_OF(watch, struct bus, watch));
}

void bus_close(struct broker *b)
{
	struct bus *bus = b->bus;

	if (!bus)
		return;
	b->bus = NULL;
	loop_untimer(&b->loop, &bus->again_timer);
	if (bus->is_watched)
		uv_close((uv_handle_t *)&bus->watch, on_unwatched);
	if (bus->socket)
		zmq_close(bus->socket);
	if (bus->context)
		zmq_ctx_term(bus->context);
	if (!bus->is_watched)
		mem_free(bus);
}

static void drop(struct bus *bus, const char *why, uint64_t producer)
{
	unsigned dropped;

	if (log_rate_ok(&bus->rate, 5, 10000, &dropped))
		LOG(WARN, "bus.dropped", "producer=%016" PRIx64 " why=\"%s\" not_logged=%u", producer, why, dropped);
}

static struct slice frame_of(zmq_msg_t *m)
{
	return (struct slice){zmq_msg_data(m), zmq_msg_size(m)};
}

/* A message is what it should be, or it is dropped: who sent it can't be trusted to understand an answer. */
static void take_message(struct bus *bus, zmq_msg_t *frames, int count)
{
	unsigned char routing[LINK_ROUTING_LEN];
	const size_t who_len = LINK_ROUTING_LEN - sizeof(uint32_t);
	struct slice id = frame_of(&frames[0]), body;
	struct link_header h;
	struct producer *p;
	struct err err;

	if (count != BUS_FRAMES_MAX) {
		drop(bus, "not four frames", 0);
		return;
	}
	if (link_get_header(frame_of(&frames[1]), &h, &err)) {
		drop(bus, err.msg, 0);
		return;
	}
	link_routing_id(h.producer, 0, routing);
	/* What it sent on an earlier connection is as good. */
	if (id.len != sizeof(routing) || memcmp(id.p, routing, who_len) != 0) {
		drop(bus, "the routing id is not the producer's", h.producer);
		return;
	}
	p = producer_find(bus->broker, h.producer);
	if (!p) {
		drop(bus, "unknown producer", h.producer);
		return;
	}
	if (h.type == LINK_HELD) {
		if (p->hold == PRODUCER_QUIET) /* else nobody asked for it */
			p->hold = PRODUCER_HELD;
		return;
	}
	body = frame_of(&frames[3]);
	if (h.body_len != body.len) {
		drop(bus, "the body's length is not the header's", h.producer);
		return;
	}
	handle_message(p, &h, frame_of(&frames[2]), body);
}

/* Receives one message of however many frames. False: there was none. */
static bool receive(struct bus *bus)
{
	zmq_msg_t frames[BUS_FRAMES_MAX], surplus;
	int count = 0;
	bool more = true;

	while (more) {
		zmq_msg_t *m = count < BUS_FRAMES_MAX ? &frames[count] : &surplus;

		zmq_msg_init(m);
		if (zmq_msg_recv(m, bus->socket, ZMQ_DONTWAIT) == -1) {
			zmq_msg_close(m);
			break; /* only before the first frame: messages arrive whole */
		}
		more = zmq_msg_more(m);
		if (m == &surplus)
			zmq_msg_close(m);
		count++;
	}
	if (count > 0)
		take_message(bus, frames, count);
	for (int i = 0; i < count && i < BUS_FRAMES_MAX; i++)
		zmq_msg_close(&frames[i]);
	return count > 0;
}

/* EAGAIN: the peer doesn't read. EHOSTUNREACH: it has sent its HELLO, and its DEALER is still to come. */
static bool may_pass(int error)
{
	return error == EAGAIN || error == EHOSTUNREACH;
}

/* 0, or -1 with errno. */
static int send_frames(const struct producer *p, const void *header, struct slice key, struct slice body)
{
	struct bus *bus = p->broker->bus;
	unsigned char routing[LINK_ROUTING_LEN];

	bus->is_due = true;
	link_routing_id(p->id, p->connection, routing);
	if (zmq_send(bus->socket, routing, sizeof(routing), ZMQ_SNDMORE | ZMQ_DONTWAIT) == -1)
		return -1;
	/* The first frame chose the pipe and had room in it: the others can't fail. */
	zmq_send(bus->socket, header, LINK_HEADER_LEN, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(bus->socket, key.p, key.len, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	zmq_send(bus->socket, body.p, body.len, ZMQ_DONTWAIT);
	return 0;
}

static void wait_in_line(struct producer *p, const void *header, struct slice key, struct slice body, bool is_hold)
{
	unsigned dropped;

	p->broker->bus->is_due = true;
	if (p->waiting_count < (size_t)p->broker->cfg->link_backlog_max && line_add(p, header, key, body, is_hold) == 0)
		return;
	if (log_rate_ok(&p->broker->bus->rate, 5, 10000, &dropped))
		LOG(WARN, "bus.cut_off", "producer=%016" PRIx64 " pid=%u waiting=%zu not_logged=%u", p->id, p->pid,
		    p->waiting_count, dropped);
	ctl_close(p->ctl, "it does not read the data channel");
}

void bus_forget(struct producer *p)
{
	while (p->waiting)
		line_take_first(p);
}

void bus_send(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	struct bus *bus = p->broker->bus;
	struct link_header full = *h;
	bool is_hold = h->type == LINK_HOLD;
	struct buf header;

	if (!bus || (!p->ctl && !p->is_away))
		return;
	full.version = LINK_VERSION;
	full.body_len = (uint32_t)body.len;
	buf_init(&header, LINK_HEADER_LEN);
	link_put_header(&header, &full);
	if (buf_check(&header, NULL)) {
		ctl_close(p->ctl, "no memory for an answer");
		return;
	}
	if (p->waiting || !p->ctl || p->hold >= PRODUCER_QUIET)
		wait_in_line(p, header.data, key, body, is_hold);
	else if (send_frames(p, header.data, key, body) == 0)
		p->hold = is_hold ? PRODUCER_QUIET : p->hold;
	else if (may_pass(errno))
		wait_in_line(p, header.data, key, body, is_hold);
	else
		drop(bus, zmq_strerror(errno), p->id);
	buf_release(&header);
}

static void send_waiting_of(struct table_node *n, void *arg)
{
	struct producer *p = TABLE_OF(n, struct producer, node);

	(void)arg;
	while (p->waiting && p->ctl && p->hold < PRODUCER_QUIET) {
		struct bus_message *m = p->waiting;
		struct slice key = {m->bytes + LINK_HEADER_LEN, m->key_len};

		if (send_frames(p, m->bytes, key, (struct slice){key.p + key.len, m->body_len}) && may_pass(errno))
			return;
		if (m->is_hold)
			p->hold = PRODUCER_QUIET;
		line_take_first(p);
	}
}

/* True: some went. */
static bool send_waiting(struct broker *b, struct bus *bus)
{
	size_t before = b->line_count;

	table_each(&b->producers, send_waiting_of, NULL);
	if (b->line_count > 0)
		loop_timer(&b->loop, &bus->again_timer, BUS_AGAIN_MS);
	return b->line_count < before;
}

static void tell_hold(struct table_node *n, void *arg)
{
	struct producer *p = TABLE_OF(n, struct producer, node);
	struct link_header h = {.type = LINK_HOLD};

	(void)arg;
	if (!p->ctl)
		return;
	p->hold = PRODUCER_TOLD;
	bus_send(p, &h, SLICE(""), SLICE(""));
}

void bus_hold(struct broker *b)
{
	table_each(&b->producers, tell_hold, NULL);
}

static void count_unheld(struct table_node *n, void *arg)
{
	const struct producer *p = TABLE_OF(n, struct producer, node);
	size_t *count = arg;

	*count += p->ctl && p->hold != PRODUCER_HELD;
}

size_t bus_unheld(const struct broker *b)
{
	size_t count = 0;

	table_each(&b->producers, count_unheld, &count);
	return count;
}

static void tell_release(struct table_node *n, void *arg)
{
	struct producer *p = TABLE_OF(n, struct producer, node);
	struct link_header h = {.type = LINK_RELEASE};

	(void)arg;
	if (p->hold == PRODUCER_FREE)
		return;
	p->hold = PRODUCER_FREE;
	bus_send(p, &h, SLICE(""), SLICE(""));
}

void bus_release(struct broker *b)
{
	table_each(&b->producers, tell_release, NULL);
}

/* Whichever call looks into libzmq's mailbox takes the edge of ZMQ_FD with it, for all that is in there: messages that
 * came, and room for those that wait. ZMQ_EVENTS always looks, and tells of the first; so what waits is tried after it.
 * That may look again, if not in the same millisecond: what it takes then without telling is found by the timer. Each
 * look is a system call, which most turns need not make: nothing was sent since the last one, and ZMQ_FD said nothing.
 */
bool bus_turn(struct broker *b)
{
	struct bus *bus = b->bus;
	size_t len = sizeof(int);
	int events = 0;
	bool more;

	if (!bus)
		return false;
	if (!bus->is_due) {
		producers_kept(b);
		return false;
	}
	for (int n = 0; n < BUS_TURN_MAX; n++) {
		if (!receive(bus))
			break;
	}
	producers_kept(b);
	bus->is_due = false;
	if (zmq_getsockopt(bus->socket, ZMQ_EVENTS, &events, &len) == -1)
		more = true; /* EINTR: ask again */
	else if (b->line_count > 0 && send_waiting(b, bus))
		more = true;
	else
		more = events & ZMQ_POLLIN;
	bus->is_due = bus->is_due || more;
	return more;
}

bool bus_is_due(const struct broker *b)
{
	return b->bus && b->bus->is_due;
}
