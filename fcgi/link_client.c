/* The worker's end of the link. Who does what:
 *
 *   any thread    encodes its message, gives it a number and puts it into the inbox (under mtx); if the link thread
 *                 sleeps, wakes it by the eventfd; then waits on the request's own semaphore without a deadline of its
 *                 own, for the link thread completes every request exactly once: answer, deadline, or end of the link.
 *   link thread   lives as long as one connection. It alone touches the DEALER, the sent requests and the timers.
 *   the first     thread that needs a connection makes it, the others wait for the outcome (state, changed).
 *
 * A connection ends at EOF of the control socket, and with it all that was under way: whether the broker executed what
 * it did not acknowledge can't be known, so nothing is repeated on another one. Each connection is a producer of its
 * own: a ROUTER ignores a second peer of the same routing id, and the broker may hear the end of the old control socket
 * after the HELLO of the new one. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/broker_start.h"
#include "fcgi/link_client.h"
#include "common/banned.h"

#define TABLE_SIZE       256 /* chains of the tables of calls and sent requests; numbers are consecutive */
#define RECEIVE_TURN_MAX 64  /* messages read before the inbox is looked at again */
#define RETRY_FIRST_MS   250
#define START_PAUSE_MS   1000 /* between two starts of a broker by this process */
#define CONNECT_STEP_MS  10
#define HWM              128
#define RECONNECT_MS     50
#define STOP_LINGER_MS   100 /* what was given to ZeroMQ may still go out when we stop */

/* One message to the broker. One with a waiter lives on the waiter's stack until done is posted; one without is freed,
 * as owner, when it was sent or given up. */
struct request {
	struct link_header header;
	struct slice key; /* borrowed */
	struct buf body;
	void *owner;                /* NULL: somebody waits for done */
	TAILQ_ENTRY(request) fifo;  /* in the inbox (by mtx), then in sendq */
	LIST_ENTRY(request) hashed; /* in sent: only requests that somebody waits for */
	bool is_queued;             /* in sendq */
	bool is_tried;              /* handed to ZeroMQ at least once */
	uint64_t retry_at_ms;
	uint64_t retry_interval_ms;
	uint64_t credit; /* spent for it */
	/* The outcome, for the waiter: */
	sem_t done;
	int ret;
	struct err *err;  /* the waiter's, may be NULL */
	bool is_answered; /* by ACK or NACK */
	struct link_header answer;
	zmq_msg_t answer_body;
};
TAILQ_HEAD(request_fifo, request);
LIST_HEAD(request_chain, request);

/* What stands behind a struct link_call. */
struct call_entry {
	struct link_call call;    /* first: the user's pointer is ours */
	struct call_entry *next;  /* by mtx: in the table of calls */
	struct buf cancelled_ids; /* by mtx: of a batch, each text followed by '\n' */
	size_t ids_count;
	bool has_stream;    /* by mtx: its answer is the broker's to deliver, so it ends with the broker */
	bool is_finished;   /* the user's thread only */
	struct request end; /* CALL_END: memory of its own, so that a call can always be ended */
};

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP };

struct link {
	const struct cfg *cfg; /* borrowed */
	atomic_int pid;        /* of the process that uses it; 0: not used yet */
	int wake_fd;           /* eventfd; made at the first connection, for a link may be made before fork */

	pthread_mutex_t mtx;
	pthread_cond_t changed; /* state, attempt, credit */
	enum link_state state;  /* by mtx, and so is all of this part */
	unsigned attempt;       /* counts connection attempts that ended */
	struct err attempt_err; /* of the last one that failed */
	bool is_draining, is_asleep, is_stopping;
	uint64_t producer, seq;
	int64_t credit, credit_full; /* bytes */
	size_t body_max;             /* bytes; of the broker that we are connected to */
	int ctl;                     /* control socket; -1 when down */
	struct request_fifo inbox;
	struct call_entry *calls[TABLE_SIZE];

	/* Of the thread that connects, while state is LINK_CONNECTING: */
	void *context; /* ZeroMQ's */
	bool has_thread;
	pthread_t thread;
	uint64_t start_at_ms; /* no broker is started before */

	/* Of the link thread, while it runs: */
	void *dealer;
	int dealer_fd;
	struct buf head;
	struct request_fifo sendq; /* to send, first or again */
	struct request_chain sent[TABLE_SIZE];
	uint64_t timer_ms; /* nothing is due before */
};

static struct log_rate garbage_rate;

/* --- the link thread: completing, sending, timers --- */

static void request_complete(struct link *l, struct request *req)
{
	if (req->is_queued)
		TAILQ_REMOVE(&l->sendq, req, fifo);
	if (req->credit && !req->is_tried) { /* the broker never saw it and can't give this back */
		pthread_mutex_lock(&l->mtx);
		l->credit += (int64_t)req->credit;
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->mtx);
	}
	if (req->owner) {
		buf_release(&req->body);
		mem_free(req->owner);
		return;
	}
	LIST_REMOVE(req, hashed);
	sem_post(&req->done); /* from here on it is the waiter's */
}

static void request_fail(struct link *l, struct request *req, enum err_code code, const char *why)
{
	if (!req->owner)
		req->ret = err_set(req->err, code, "%s: %s", link_type_name(req->header.type), why);
	request_complete(l, req);
}

static void timer_before(struct link *l, uint64_t at_ms)
{
	if (at_ms < l->timer_ms)
		l->timer_ms = at_ms;
}

/* false: there is no room now. All parts are made before the first is sent, for a message that was begun must be ended.
 */
static bool dealer_send(struct link *l, struct request *req)
{
	struct slice texts[3] = {{NULL, 0}, req->key, buf_slice(&req->body)};
	zmq_msg_t parts[3];

	buf_clear(&l->head);
	link_put_header(&l->head, &req->header);
	texts[0] = buf_slice(&l->head);
	for (int i = 0; i < 3; i++) {
		if (zmq_msg_init_size(&parts[i], texts[i].len) == -1) {
			while (--i >= 0)
				zmq_msg_close(&parts[i]);
			return false;
		}
		if (texts[i].len)
			memcpy(zmq_msg_data(&parts[i]), texts[i].p, texts[i].len);
	}
	for (int i = 0; i < 3; i++) {
		if (zmq_msg_send(&parts[i], l->dealer, ZMQ_DONTWAIT | (i < 2 ? ZMQ_SNDMORE : 0)) != -1)
			continue;
		zmq_msg_close(&parts[i]);
		if (i == 0) {
			zmq_msg_close(&parts[1]);
			zmq_msg_close(&parts[2]);
			return false;
		}
		/* The pipe died in the middle: ZeroMQ drops the message, if we go on to its last part. */
	}
	return true;
}

static void sendq_flush(struct link *l, uint64_t now)
{
	struct request *req;

	while ((req = TAILQ_FIRST(&l->sendq))) {
		if (!dealer_send(l, req))
			return;
		req->is_tried = true;
		if (req->owner) {
			request_complete(l, req);
			continue;
		}
		TAILQ_REMOVE(&l->sendq, req, fifo);
		req->is_queued = false;
		req->header.flags |= LINK_RETRY; /* from now on */
		req->retry_at_ms = now + req->retry_interval_ms;
		timer_before(l, req->retry_at_ms);
	}
}

static void inbox_take(struct link *l)
{
	struct request_fifo taken = TAILQ_HEAD_INITIALIZER(taken);
	struct request *req;

	pthread_mutex_lock(&l->mtx);
	TAILQ_CONCAT(&taken, &l->inbox, fifo);
	l->is_asleep = false;
	pthread_mutex_unlock(&l->mtx);
	while ((req = TAILQ_FIRST(&taken))) {
		TAILQ_REMOVE(&taken, req, fifo);
		TAILQ_INSERT_TAIL(&l->sendq, req, fifo);
		req->is_queued = true;
		timer_before(l, req->header.deadline_ms);
		if (!req->owner)
			LIST_INSERT_HEAD(&l->sent[req->header.seq % TABLE_SIZE], req, hashed);
	}
}

/* Doubles, and spreads processes that lost their answers at the same moment. */
static uint64_t next_interval(const struct request *req)
{
	uint64_t interval = req->retry_interval_ms * 2;
	uint64_t mixed = (req->header.producer ^ req->header.seq) * 0x9e3779b97f4a7c15u;

	return interval + interval * (mixed >> 58) / 256;
}

static void timers_run(struct link *l, uint64_t now)
{
	struct request *req, *next;

	if (now < l->timer_ms)
		return;
	l->timer_ms = UINT64_MAX;
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		for (req = LIST_FIRST(&l->sent[i]); req; req = next) {
			next = LIST_NEXT(req, hashed);
			if (now >= req->header.deadline_ms) {
				request_fail(l, req, ERR_EXPIRED, "no answer in time");
				continue;
			}
			if (!req->is_queued && now >= req->retry_at_ms) {
				req->retry_interval_ms = next_interval(req);
				TAILQ_INSERT_TAIL(&l->sendq, req, fifo);
				req->is_queued = true;
			}
			timer_before(l, req->header.deadline_ms);
			if (!req->is_queued)
				timer_before(l, req->retry_at_ms);
		}
	}
	for (req = TAILQ_FIRST(&l->sendq); req; req = next) {
		next = TAILQ_NEXT(req, fifo);
		if (req->owner && now >= req->header.deadline_ms)
			request_complete(l, req);
		else if (req->owner)
			timer_before(l, req->header.deadline_ms);
	}
}

/* --- the link thread: receiving --- */

static void log_garbage(const char *why)
{
	unsigned dropped;

	if (log_rate_ok(&garbage_rate, 5, 10000, &dropped))
		LOG(WARN, "link.garbage", "why=\"%s\" dropped=%u", why, dropped);
}

static void on_answer(struct link *l, const struct link_header *h, zmq_msg_t *body)
{
	struct slice in = {zmq_msg_data(body), zmq_msg_size(body)};
	struct request *req;
	char text[128];
	bool bad = false;
	uint32_t retry_ms;
	unsigned code;

	LIST_FOREACH(req, &l->sent[h->corr % TABLE_SIZE], hashed)
	if (req->header.seq == h->corr)
		break;
	if (!req)
		return; /* a second answer, or one after the deadline, or to what nobody waits for */
	if (h->type == LINK_NACK) {
		code = link_get_u16(&in, &bad);
		retry_ms = link_get_u32(&in, &bad);
		log_quote(text, sizeof(text), link_get_bytes(&in, &bad));
		if (bad) {
			log_garbage("malformed NACK");
			return;
		}
		/* Nothing was done, so the same may be said again; not to a broker that is about to go. */
		if (code == LINK_NACK_BUSY && retry_ms && !l->is_draining &&
		    now_ms() + retry_ms < req->header.deadline_ms) {
			req->retry_at_ms = now_ms() + retry_ms;
			timer_before(l, req->retry_at_ms);
			return;
		}
		req->ret = err_set(req->err, link_nack_err(code), "%s: broker says %s: %s",
		    link_type_name(req->header.type), link_nack_name(code), text);
	} else {
		zmq_msg_move(&req->answer_body, body);
	}
	req->answer = *h;
	req->is_answered = true;
	request_complete(l, req);
}

/* With mtx held. */
static void entry_wake(struct call_entry *entry)
{
	static const uint64_t one = 1;
	ssize_t ignored = write(entry->call.cancel_fd, &one, sizeof(one)); /* can't be full */

	(void)ignored;
}

static void on_cancelled(struct link *l, const struct link_header *h, struct slice in)
{
	bool bad = false;
	struct slice id = link_get_bytes(&in, &bad);
	struct call_entry *entry;

	if (bad) {
		log_garbage("malformed CANCELLED");
		return;
	}
	pthread_mutex_lock(&l->mtx);
	for (entry = l->calls[h->corr % TABLE_SIZE]; entry; entry = entry->next)
		if (entry->call.number == h->corr)
			break;
	if (entry) { /* else it has ended meanwhile */
		if (id.len && entry->ids_count > 1) {
			if (buf_reserve(&entry->cancelled_ids, id.len + 1)) { /* a text and its end, or neither */
				buf_add_slice(&entry->cancelled_ids, id);
				buf_adds(&entry->cancelled_ids, "\n");
			}
		} else {
			atomic_store(&entry->call.cancelled, true);
		}
		entry_wake(entry);
	}
	pthread_mutex_unlock(&l->mtx);
}

/* With mtx held: nobody can receive the answer any more. */
static void entry_cancel(struct call_entry *entry)
{
	atomic_store(&entry->call.cancelled, true);
	entry_wake(entry);
}

static void on_credit(struct link *l, struct slice in)
{
	bool bad = false;
	uint64_t n = link_get_u64(&in, &bad);

	if (bad) {
		log_garbage("malformed CREDIT");
		return;
	}
	pthread_mutex_lock(&l->mtx);
	if (n < (uint64_t)(l->credit_full - l->credit))
		l->credit += (int64_t)n;
	else
		l->credit = l->credit_full;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mtx);
}

static void on_message(struct link *l, const zmq_msg_t *head, zmq_msg_t *body)
{
	struct slice in = {zmq_msg_data(body), zmq_msg_size(body)};
	struct link_header h;
	struct err err;

	if (link_get_header((struct slice){zmq_msg_data((zmq_msg_t *)head), zmq_msg_size(head)}, &h, &err)) {
		log_garbage(err.msg);
		return;
	}
	if (h.body_len != in.len) {
		log_garbage("body length");
		return;
	}
	switch (h.type) {
	case LINK_ACK:
	case LINK_NACK:
		on_answer(l, &h, body);
		break;
	case LINK_CANCELLED:
		on_cancelled(l, &h, in);
		break;
	case LINK_CREDIT:
		on_credit(l, in);
		break;
	case LINK_DRAIN:
		LOG(INFO, "link.drain", "producer=%016" PRIx64, l->producer);
		pthread_mutex_lock(&l->mtx);
		l->is_draining = true;
		pthread_mutex_unlock(&l->mtx);
		break;
	default:
		log_garbage(link_type_name(h.type));
	}
}

/* Header, key, body; a message of any other shape is read to its end and dropped. false: nothing is there. */
static bool dealer_receive(struct link *l)
{
	zmq_msg_t parts[3], extra;
	int count = 0;
	bool more = true;

	for (int i = 0; i < 3; i++)
		zmq_msg_init(&parts[i]);
	zmq_msg_init(&extra);
	while (more) {
		zmq_msg_t *part = count < 3 ? &parts[count] : &extra;

		if (zmq_msg_recv(part, l->dealer, ZMQ_DONTWAIT) == -1)
			break;
		more = zmq_msg_more(part);
		count++;
	}
	if (count == 3)
		on_message(l, &parts[0], &parts[2]);
	else if (count)
		log_garbage("frames");
	for (int i = 0; i < 3; i++)
		zmq_msg_close(&parts[i]);
	zmq_msg_close(&extra);
	return count > 0;
}

/* --- the link thread: its loop --- */

/* EOF, an error, or a packet that has no business here: the broker speaks there only at the handshake. */
static bool ctl_is_over(const struct link *l)
{
	char byte;

	if (recv(l->ctl, &byte, 1, MSG_DONTWAIT) == -1)
		return errno != EAGAIN && errno != EINTR;
	return true;
}

/* ZMQ_FD is edge-triggered and only means "look again". A receive that found nothing armed it; but the same receive may
 * have eaten the news that there is room to send. */
static bool dealer_has_room(struct link *l)
{
	int events = 0;
	size_t len = sizeof(events);

	return zmq_getsockopt(l->dealer, ZMQ_EVENTS, &events, &len) == -1 || (events & (ZMQ_POLLOUT | ZMQ_POLLIN));
}

/* Sleeps until there is something to do. false: the connection is over. */
static bool link_sleep(struct link *l)
{
	struct pollfd fds[3] = {{.fd = l->wake_fd, .events = POLLIN}, {.fd = l->dealer_fd, .events = POLLIN},
	    {.fd = l->ctl, .events = POLLIN}};
	bool is_idle = TAILQ_EMPTY(&l->sendq) || !dealer_has_room(l);
	uint64_t now = now_ms(), count;
	ssize_t ignored;
	int timeout_ms = -1;

	pthread_mutex_lock(&l->mtx);
	if (l->is_stopping && TAILQ_EMPTY(&l->inbox)) {
		pthread_mutex_unlock(&l->mtx);
		return false;
	}
	l->is_asleep = is_idle && l->timer_ms > now && TAILQ_EMPTY(&l->inbox);
	is_idle = l->is_asleep;
	pthread_mutex_unlock(&l->mtx);
	if (!is_idle)
		return true;

	if (l->timer_ms != UINT64_MAX)
		timeout_ms = (int)(l->timer_ms - now); /* link_timeout_ms at most */
	if (poll(fds, COUNT_OF(fds), timeout_ms) <= 0)
		return true;
	if (fds[0].revents) {
		ignored = read(l->wake_fd, &count, sizeof(count));
		(void)ignored;
	}
	return !fds[2].revents || !ctl_is_over(l);
}

/* After this the next need makes a new connection; its thread is joined there. */
static void link_end(struct link *l)
{
	struct request *req, *next;
	int ctl, linger;

	pthread_mutex_lock(&l->mtx);
	LOG(INFO, "link.down", "producer=%016" PRIx64 "%s", l->producer, l->is_stopping ? " why=stop" : "");
	l->state = LINK_DOWN;
	linger = l->is_stopping ? STOP_LINGER_MS : 0;
	ctl = l->ctl;
	l->ctl = -1;
	for (size_t i = 0; i < TABLE_SIZE; i++)
		for (struct call_entry *entry = l->calls[i]; entry; entry = entry->next)
			if (entry->has_stream)
				entry_cancel(entry);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mtx);
	close(ctl);
	/* Who stops in good order (a CGI process after its one request) still says that its call has ended. */
	zmq_setsockopt(l->dealer, ZMQ_LINGER, &linger, sizeof(linger));
	zmq_close(l->dealer);
	inbox_take(l); /* nobody adds to it any more */
	for (size_t i = 0; i < TABLE_SIZE; i++)
		for (req = LIST_FIRST(&l->sent[i]); req; req = next) {
			next = LIST_NEXT(req, hashed);
			request_fail(l, req, ERR_BROKER, "the broker went away");
		}
	while ((req = TAILQ_FIRST(&l->sendq)))
		request_complete(l, req);
}

static void *link_run(void *arg)
{
	struct link *l = arg;

	do {
		int n;

		do { /* a receive must have found nothing before we sleep */
			inbox_take(l);
			sendq_flush(l, now_ms());
			for (n = 0; n < RECEIVE_TURN_MAX && dealer_receive(l); n++)
				;
			timers_run(l, now_ms());
		} while (n == RECEIVE_TURN_MAX);
	} while (link_sleep(l));
	link_end(l);
	return NULL;
}

/* --- connecting --- */

static int ctl_connect_once(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int saved;

	if (fd == -1 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Returns the control socket, or -1. A full backlog is waited for; no broker is started at most once. */
static int ctl_open(struct link *l, uint64_t deadline_ms, struct err *err)
{
	const struct timespec step = {.tv_nsec = CONNECT_STEP_MS * 1000000L};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	bool is_started = false;
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", l->cfg->run_dir, LINK_CTL_NAME) >=
	    (int)sizeof(addr.sun_path))
		return err_set(err, ERR_BROKER, "run_dir %s is too long for a socket's name", l->cfg->run_dir);
	for (;;) {
		bool is_absent, is_full;

		fd = ctl_connect_once(&addr);
		if (fd != -1)
			return fd;
		is_absent = errno == ENOENT || errno == ECONNREFUSED;
		is_full = errno == EAGAIN;
		err_sys(err, "connect %s", addr.sun_path);
		if (err)
			err->code = ERR_BROKER;
		if (is_absent && l->cfg->broker_autostart && !is_started) {
			if (now_ms() < l->start_at_ms)
				return err_wrap(err, "a broker was started less than a second ago");
			is_started = true;
			if (broker_start(l->cfg, deadline_ms, err)) {
				l->start_at_ms = now_ms() + START_PAUSE_MS;
				return -1;
			}
			l->start_at_ms = now_ms() + START_PAUSE_MS;
			continue;
		}
		if (!is_full && !(is_absent && is_started))
			return -1;
		if (now_ms() >= deadline_ms)
			return err_wrap(err, "not in time");
		nanosleep(&step, NULL);
	}
}

struct welcome {
	uint64_t epoch, credit_bytes;
	uint32_t body_max;
};

static int welcome_read(struct slice in, struct welcome *w, struct err *err)
{
	struct link_header h;
	char text[128];
	bool bad = false;
	unsigned code;

	/* A broker of another version may say so in its own header: look at the version before anything else. */
	if (link_get_header(in, &h, err))
		return -1;
	in.p += LINK_HEADER_LEN;
	in.len -= LINK_HEADER_LEN;
	if (h.type == LINK_NACK) {
		code = link_get_u16(&in, &bad);
		link_get_u32(&in, &bad);
		log_quote(text, sizeof(text), link_get_bytes(&in, &bad));
		return err_set(err, ERR_LINK, "broker says %s: %s", link_nack_name(code), text);
	}
	if (h.type != LINK_WELCOME)
		return err_set(err, ERR_LINK, "%s for WELCOME", link_type_name(h.type));
	code = link_get_u16(&in, &bad);
	w->epoch = link_get_u64(&in, &bad);
	w->credit_bytes = link_get_u64(&in, &bad);
	w->body_max = link_get_u32(&in, &bad);
	if (bad || w->credit_bytes > INT64_MAX)
		return err_set(err, ERR_LINK, "malformed WELCOME");
	if (code != LINK_VERSION)
		return err_set(err, ERR_LINK, "link version %u, ours is %d", code, LINK_VERSION);
	return 0;
}

static int hello(int ctl, uint64_t producer, uint64_t deadline_ms, struct welcome *w, struct err *err)
{
	struct link_header h = {.version = LINK_VERSION, .type = LINK_HELLO, .producer = producer};
	struct pollfd fd = {.fd = ctl, .events = POLLIN};
	struct buf packet;
	char answer[1024];
	uint64_t now;
	ssize_t n;
	int rc;

	buf_init(&packet, sizeof(answer));
	h.body_len = 2 + 2 + 4 + 4 + sizeof(PACKAGE_VERSION) - 1 + 1;
	link_put_header(&packet, &h);
	link_put_u16(&packet, LINK_VERSION);
	link_put_u16(&packet, LINK_VERSION);
	link_put_u32(&packet, (uint32_t)getpid());
	link_put_bytes(&packet, SLICE(PACKAGE_VERSION));
	link_put_u8(&packet, LINK_ROLE_WORKER);
	rc = buf_check(&packet, err);
	if (!rc && send(ctl, packet.data, packet.len, MSG_NOSIGNAL) == -1)
		rc = err_sys(err, "send HELLO");
	buf_release(&packet);
	while (!rc) {
		now = now_ms();
		if (now >= deadline_ms)
			return err_set(err, ERR_BROKER, "no WELCOME in time");
		if (poll(&fd, 1, (int)(deadline_ms - now)) <= 0)
			continue;
		n = recv(ctl, answer, sizeof(answer), MSG_DONTWAIT);
		if (n > 0)
			return welcome_read((struct slice){answer, (size_t)n}, w, err);
		if (n == 0)
			return err_set(err, ERR_BROKER, "closed instead of WELCOME");
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(err, "receive WELCOME");
	}
	return rc;
}

static int dealer_open(struct link *l, uint64_t producer, struct err *err)
{
	static const int linger = 0, immediate = 1, hwm = HWM, reconnect = RECONNECT_MS;
	/* What comes in is small but for a session's blob. */
	int64_t blob_max = l->cfg->session_blob_max_bytes, body_max = l->cfg->body_max_bytes;
	int64_t message_max = (blob_max > body_max ? blob_max : body_max) + LINK_FRAME_SLACK;
	unsigned char id[LINK_ROUTING_LEN];
	char endpoint[sizeof(struct sockaddr_un) + 16];
	size_t len = sizeof(l->dealer_fd);

	link_routing_id(producer, id);
	snprintf(endpoint, sizeof(endpoint), "ipc://%s/%s", l->cfg->run_dir, LINK_ZMQ_NAME);
	if (!l->context)
		l->context = zmq_ctx_new(); /* one I/O thread is its default */
	if (!l->context)
		return err_sys(err, "make a ZeroMQ context");
	l->dealer = zmq_socket(l->context, ZMQ_DEALER);
	if (!l->dealer)
		return err_sys(err, "make a DEALER");
	if (zmq_setsockopt(l->dealer, ZMQ_LINGER, &linger, sizeof(linger)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_IMMEDIATE, &immediate, sizeof(immediate)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_SNDHWM, &hwm, sizeof(hwm)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_RCVHWM, &hwm, sizeof(hwm)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_MAXMSGSIZE, &message_max, sizeof(message_max)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_RECONNECT_IVL, &reconnect, sizeof(reconnect)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_ROUTING_ID, id, sizeof(id)) == 0 &&
	    zmq_getsockopt(l->dealer, ZMQ_FD, &l->dealer_fd, &len) == 0 && zmq_connect(l->dealer, endpoint) == 0)
		return 0;
	err_sys(err, "connect a DEALER to %s", endpoint);
	zmq_close(l->dealer);
	return -1;
}

static int thread_start(struct link *l, struct err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, NULL, link_run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "start the link thread");
	}
	l->has_thread = true;
	return 0;
}

/* Only by the one thread that set state to LINK_CONNECTING. On success state is LINK_UP. */
static int link_connect(struct link *l, uint64_t deadline_ms, struct err *err)
{
	uint64_t producer = rnd_u64();
	struct welcome w = {0};
	int ctl;

	if (l->has_thread) {
		pthread_join(l->thread, NULL); /* it set state to LINK_DOWN and is nearly through */
		l->has_thread = false;
	}
	if (l->wake_fd == -1)
		l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd == -1)
		return err_sys(err, "make an eventfd");
	buf_clear(&l->head);
	if (!buf_reserve(&l->head, LINK_HEADER_LEN))
		return buf_check(&l->head, err);
	ctl = ctl_open(l, deadline_ms, err);
	if (ctl == -1)
		return -1;
	if (hello(ctl, producer, deadline_ms, &w, err)) {
		err_wrap(err, "handshake with the broker");
		goto fail;
	}
	if (dealer_open(l, producer, err))
		goto fail;
	l->timer_ms = UINT64_MAX;

	pthread_mutex_lock(&l->mtx);
	l->ctl = ctl;
	l->producer = producer;
	l->credit = l->credit_full = (int64_t)w.credit_bytes;
	l->body_max = w.body_max;
	l->is_draining = false;
	l->is_asleep = false;
	if (thread_start(l, err)) {
		l->ctl = -1;
		pthread_mutex_unlock(&l->mtx);
		zmq_close(l->dealer);
		goto fail;
	}
	l->state = LINK_UP;
	pthread_mutex_unlock(&l->mtx);
	LOG(INFO, "link.up", "producer=%016" PRIx64 " epoch=%" PRIu64 " credit_bytes=%" PRIu64, producer, w.epoch,
	    w.credit_bytes);
	return 0;
fail:
	close(ctl);
	return -1;
}

/* Waits for a change until deadline_ms. false: it passed. mtx is held. */
static bool wait_changed(struct link *l, uint64_t deadline_ms)
{
	struct timespec at = {.tv_sec = (time_t)(deadline_ms / 1000), .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

	return pthread_cond_timedwait(&l->changed, &l->mtx, &at) == 0 || now_ms() < deadline_ms;
}

/* Returns 0 with mtx held and the link up, or -1 without mtx. */
static int lock_up(struct link *l, bool connects, uint64_t deadline_ms, struct err *err)
{
	int unused = 0;
	int pid = (int)getpid();
	struct err why = {0};
	unsigned attempt;
	int rc;

	if (!atomic_compare_exchange_strong(&l->pid, &unused, pid) && unused != pid)
		return err_set(err, ERR_BROKER, "the link is that of process %d, before fork", unused);
	pthread_mutex_lock(&l->mtx);
	while (connects && l->state == LINK_CONNECTING) {
		attempt = l->attempt;
		while (l->attempt == attempt && wait_changed(l, deadline_ms))
			;
		if (l->state == LINK_UP)
			break;
		why = l->attempt_err;
		if (l->attempt == attempt)
			err_set(&why, ERR_BROKER, "another thread still connects");
		pthread_mutex_unlock(&l->mtx);
		return err_set(err, why.code, "%s", why.msg);
	}
	if (connects && l->state == LINK_DOWN) {
		l->state = LINK_CONNECTING;
		pthread_mutex_unlock(&l->mtx);
		rc = link_connect(l, deadline_ms, &why);
		pthread_mutex_lock(&l->mtx);
		if (rc) {
			why.code = ERR_BROKER; /* whatever it was, it is the broker that can't be reached */
			l->attempt_err = why;
			l->state = LINK_DOWN;
		}
		l->attempt++;
		pthread_cond_broadcast(&l->changed);
		if (rc) {
			pthread_mutex_unlock(&l->mtx);
			return err_set(err, ERR_BROKER, "%s", why.msg);
		}
	}
	if (l->state == LINK_UP)
		return 0;
	pthread_mutex_unlock(&l->mtx);
	return err_set(err, ERR_BROKER, "the broker went away");
}

/* --- asking: any thread --- */

static uint64_t link_deadline(const struct link *l)
{
	return now_ms() + (uint64_t)l->cfg->link_timeout_ms;
}

/* A message with room for body_len bytes of body, which the caller appends to req->body. */
static void request_init(struct request *req, const struct link *l, enum link_type type, size_t body_len)
{
	*req = (struct request){
	    .header = {.version = LINK_VERSION, .type = (uint8_t)type, .deadline_ms = link_deadline(l)},
	    .retry_interval_ms = RETRY_FIRST_MS,
	};
	zmq_msg_init(&req->answer_body);
	buf_init(&req->body, (size_t)l->cfg->body_max_bytes + LINK_FRAME_SLACK);
	if (body_len)
		buf_reserve(&req->body, body_len);
}

/* For its waiter, once nothing lent out of the answer is needed any more. */
static void request_release(struct request *req)
{
	buf_release(&req->body);
	zmq_msg_close(&req->answer_body);
}

/* Gives req its identity and hands it over. mtx is held, the link is up. true: the link thread must be woken. */
static bool inbox_add(struct link *l, struct request *req)
{
	bool wakes = l->is_asleep;

	req->header.producer = l->producer;
	req->header.seq = ++l->seq;
	req->header.body_len = (uint32_t)req->body.len;
	TAILQ_INSERT_TAIL(&l->inbox, req, fifo);
	l->is_asleep = false;
	return wakes;
}

static void link_wake(struct link *l)
{
	static const uint64_t one = 1;
	ssize_t ignored = write(l->wake_fd, &one, sizeof(one)); /* full is awake */

	(void)ignored;
}

/* An event larger than all credit there is goes when nothing else is under way. mtx is held. */
static int take_credit(struct link *l, struct request *req, uint64_t producer, struct err *err)
{
	int64_t len = (int64_t)req->body.len;
	int64_t need = len < l->credit_full ? len : l->credit_full;

	while (l->credit < need) {
		if (!wait_changed(l, req->header.deadline_ms))
			return err_set(err, ERR_BUSY, "%s: no credit in time", link_type_name(req->header.type));
		if (l->state != LINK_UP || l->producer != producer)
			return err_set(err, ERR_BROKER, "the broker went away");
	}
	l->credit -= len;
	req->credit = (uint64_t)len;
	return 0;
}

/* What a message needs of the connection. */
enum need {
	NEED_ANY,   /* connects when there is none */
	NEED_UP,    /* one that is up: without it what this is about is gone */
	NEED_CREDIT /* the same, and credit for its body */
};

/* Hands req over, to the connection of producer if that isn't 0. entry, when given, is the call that it begins: it can
 * be found from now on, for CANCELLED may be here before the acknowledgement. */
static int link_submit(
    struct link *l, struct request *req, enum need need, uint64_t producer, struct call_entry *entry, struct err *err)
{
	bool wakes;

	if (lock_up(l, need == NEED_ANY, req->header.deadline_ms, err))
		return -1;
	if (producer && producer != l->producer) {
		err_set(err, ERR_BROKER, "the broker of this call went away");
		goto fail;
	}
	if (req->body.len > l->body_max) {
		err_set(err, ERR_TOO_BIG, "%s: %zu bytes", link_type_name(req->header.type), req->body.len);
		goto fail;
	}
	if (l->is_draining && (req->header.type == LINK_OPEN_STREAM || req->header.type == LINK_ATTACH)) {
		err_set(err, ERR_BUSY, "the broker is going down");
		goto fail;
	}
	if (need == NEED_CREDIT && take_credit(l, req, l->producer, err))
		goto fail;
	wakes = inbox_add(l, req);
	if (entry) {
		entry->call.producer = req->header.producer;
		entry->call.number = req->header.seq;
		entry->next = l->calls[req->header.seq % TABLE_SIZE];
		l->calls[req->header.seq % TABLE_SIZE] = entry;
	}
	pthread_mutex_unlock(&l->mtx);
	if (wakes)
		link_wake(l);
	return 0;
fail:
	pthread_mutex_unlock(&l->mtx);
	return -1;
}

/* Submits and waits for the answer. */
static int link_ask(
    struct link *l, struct request *req, enum need need, uint64_t producer, struct call_entry *entry, struct err *err)
{
	if (req->key.len > LINK_KEY_MAX)
		return err_set(err, ERR_NO_SESSION, "session id of %zu bytes", req->key.len);
	if (buf_check(&req->body, err))
		return err_wrap(err, "%s", link_type_name(req->header.type));
	req->header.flags |= LINK_WANT_ACK;
	req->err = err;
	sem_init(&req->done, 0, 0);
	if (link_submit(l, req, need, producer, entry, err))
		req->ret = -1;
	else
		while (sem_wait(&req->done) == -1)
			; /* EINTR */
	sem_destroy(&req->done);
	return req->ret;
}

/* A question about a session, begun with who asks. */
static void question_init(struct request *req, const struct link *l, enum link_type type, struct slice session,
    const char *principal, size_t body_len)
{
	struct slice who = slice_str(principal);

	request_init(req, l, type, 4 + who.len + body_len);
	req->key = session;
	link_put_bytes(&req->body, who);
}

static struct slice answer_slice(struct request *req)
{
	return (struct slice){zmq_msg_data(&req->answer_body), zmq_msg_size(&req->answer_body)};
}

int link_session_put(struct link *l, struct slice session, const char *principal, uint64_t version_expected,
    unsigned flags, struct slice blob, uint64_t *version, struct err *err)
{
	struct slice who = slice_str(principal), in;
	uint64_t now_version;
	struct request req;
	bool bad = false;
	int ret;

	request_init(&req, l, LINK_SESSION_PUT, 21 + who.len + blob.len);
	req.key = session;
	link_put_u64(&req.body, version_expected);
	link_put_u32(&req.body, (uint32_t)l->cfg->session_idle_s);
	link_put_u8(&req.body, (uint8_t)flags);
	link_put_bytes(&req.body, who);
	link_put_bytes(&req.body, blob);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		now_version = link_get_u64(&in, &bad);
		if (bad)
			ret = err_set(err, ERR_LINK, "malformed answer to SESSION_PUT");
		else if (version)
			*version = now_version;
	}
	request_release(&req);
	return ret;
}

int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err)
{
	struct request req;
	int ret;

	question_init(&req, l, LINK_SESSION_DEL, session, principal, 0);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	request_release(&req);
	return ret;
}

/* --- calls --- */

/* is_known: the broker will know it, and may cancel it. */
static struct call_entry *entry_new(const struct link *l, bool is_known, size_t ids_count, struct err *err)
{
	struct call_entry *entry;

	if (ids_count > UINT16_MAX) {
		err_set(err, ERR_TOO_BIG, "%zu requests in one call", ids_count);
		return NULL;
	}
	entry = mem_alloc(1, sizeof(*entry));
	if (!entry) {
		err_set(err, ERR_NOMEM, "call");
		return NULL;
	}
	entry->ids_count = ids_count;
	buf_init(&entry->call.blob, (size_t)l->cfg->session_blob_max_bytes);
	buf_init(&entry->cancelled_ids, (size_t)l->cfg->body_max_bytes * 2); /* those ids came in one body */
	entry->call.cancel_fd = -1;
	if (is_known) {
		entry->call.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (entry->call.cancel_fd == -1) {
			err_sys(err, "make an eventfd");
			mem_free(entry);
			return NULL;
		}
	}
	return entry;
}

void link_call_end(struct link *l, struct link_call **callp)
{
	struct call_entry *entry = (struct call_entry *)*callp, **at;

	if (!entry)
		return;
	*callp = NULL;
	if (entry->call.number) {
		pthread_mutex_lock(&l->mtx);
		for (at = &l->calls[entry->call.number % TABLE_SIZE]; *at != entry; at = &(*at)->next)
			;
		*at = entry->next;
		pthread_mutex_unlock(&l->mtx);
	}
	if (entry->call.cancel_fd != -1)
		close(entry->call.cancel_fd);
	buf_release(&entry->call.blob);
	buf_release(&entry->cancelled_ids);
	if (entry->call.number && !entry->is_finished) {
		request_init(&entry->end, l, LINK_CALL_END, 0);
		entry->end.header.corr = entry->call.number;
		entry->end.owner = entry;
		if (link_submit(l, &entry->end, NEED_UP, entry->call.producer, NULL, NULL) == 0)
			return; /* the link thread frees it */
		request_release(&entry->end);
	}
	mem_free(entry);
}

/* After a call's first message failed: a NACK says that it was not begun, anything else leaves that open. */
static void entry_give_up(struct link *l, struct call_entry *entry, const struct request *req)
{
	struct link_call *call = &entry->call;

	if (req->is_answered && req->answer.type == LINK_NACK)
		entry->is_finished = true;
	link_call_end(l, &call);
}

static size_t wills_len(const struct link_will *wills, size_t count)
{
	size_t len = 2;

	for (size_t i = 0; i < count; i++)
		len += 8 + wills[i].id.len + wills[i].event.len;
	return len;
}

static void put_wills(struct buf *body, const struct link_will *wills, size_t count)
{
	link_put_u16(body, (uint16_t)count);
	for (size_t i = 0; i < count; i++) {
		link_put_bytes(body, wills[i].id);
		link_put_bytes(body, wills[i].event);
	}
}

int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err)
{
	struct call_entry *entry;
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	*call = NULL;
	entry = entry_new(l, wills_count > 0, wills_count, err);
	if (!entry)
		return -1;
	question_init(&req, l, LINK_CALL_BEGIN, session, principal, 1 + wills_len(wills, wills_count));
	link_put_u8(&req.body, (uint8_t)flags);
	put_wills(&req.body, wills, wills_count);
	ret = link_ask(l, &req, NEED_ANY, 0, wills_count ? entry : NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		entry->call.session_stream = req.answer.stream;
		entry->call.session_version = link_get_u64(&in, &bad);
		buf_add_slice(&entry->call.blob, link_get_bytes(&in, &bad));
		ret =
		    bad ? err_set(err, ERR_LINK, "malformed answer to CALL_BEGIN") : buf_check(&entry->call.blob, err);
	}
	if (ret)
		entry_give_up(l, entry, &req);
	else
		*call = &entry->call;
	request_release(&req);
	return ret;
}

int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err)
{
	struct request req;
	int ret;

	question_init(&req, l, LINK_CANCEL, session, principal, 4 + id.len);
	link_put_bytes(&req.body, id);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	request_release(&req);
	return ret;
}

bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id)
{
	struct call_entry *entry = (struct call_entry *)call;
	struct slice rest;
	bool found = false;

	if (atomic_load(&call->cancelled))
		return true;
	pthread_mutex_lock(&l->mtx);
	rest = buf_slice(&entry->cancelled_ids);
	while (!found && rest.len) { /* a JSON text as the worker writes it holds no newline */
		size_t len = (size_t)((const char *)memchr(rest.p, '\n', rest.len) - rest.p);

		found = slice_eq((struct slice){rest.p, len}, id);
		rest.p += len + 1;
		rest.len -= len + 1;
	}
	pthread_mutex_unlock(&l->mtx);
	return found;
}

/* --- streams --- */

static void entry_streams(struct link *l, struct call_entry *entry)
{
	pthread_mutex_lock(&l->mtx);
	entry->has_stream = true;
	if (l->state != LINK_UP || l->producer != entry->call.producer)
		entry_cancel(entry); /* it went down since the answer came */
	pthread_mutex_unlock(&l->mtx);
}

int link_open_stream(struct link *l, struct slice session, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err)
{
	struct link_call *call = *callp;
	struct call_entry *entry = NULL;
	struct request req;
	int ret;

	if (!call) {
		entry = entry_new(l, true, wills_count, err);
		if (!entry)
			return -1;
	}
	request_init(&req, l, LINK_OPEN_STREAM, 1 + wills_len(wills, wills_count));
	req.header.corr = call ? call->number : 0;
	req.key = session;
	link_put_u8(&req.body, (uint8_t)flags);
	put_wills(&req.body, wills, wills_count);
	ret = link_ask(l, &req, call ? NEED_UP : NEED_ANY, call ? call->producer : 0, entry, err);
	if (!ret) {
		*stream = req.answer.stream;
		if (entry)
			*callp = &entry->call;
		entry_streams(l, (struct call_entry *)*callp);
	} else if (entry) {
		entry_give_up(l, entry, &req);
	}
	request_release(&req);
	return ret;
}

int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err)
{
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	question_init(&req, l, LINK_ATTACH, session, principal, 4 + last_event_id.len);
	link_put_bytes(&req.body, last_event_id);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		*stream = req.answer.stream;
		*cursor = link_get_u64(&in, &bad);
		if (bad)
			ret = err_set(err, ERR_LINK, "malformed answer to ATTACH");
	}
	request_release(&req);
	return ret;
}

static int send_fd(int ctl, const struct buf *packet, int fd)
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

int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, struct slice head, struct err *err)
{
	struct link_header h = {.version = LINK_VERSION, .type = LINK_ADOPT, .stream = stream};
	struct buf packet;
	int ret;

	buf_init(&packet, LINK_ADOPT_MAX);
	h.body_len = (uint32_t)(1 + 2 + 8 + 4 + 4 + head.len);
	if (lock_up(l, false, 0, err))
		return -1;
	h.producer = l->producer;
	h.seq = ++l->seq;
	link_put_header(&packet, &h);
	link_put_u8(&packet, (uint8_t)kind);
	link_put_u16(&packet, request_id);
	link_put_u64(&packet, cursor);
	link_put_u32(&packet, heartbeat_ms);
	link_put_bytes(&packet, head);
	ret = buf_check(&packet, err);
	if (!ret && send_fd(l->ctl, &packet, fd)) { /* under mtx, so that ctl is not closed meanwhile */
		ret = err_sys(err, "send ADOPT");
		if (err)
			err->code =
			    err->sys == EPIPE || err->sys == ECONNRESET || err->sys == ENOTCONN ? ERR_BROKER : ERR_BUSY;
	}
	pthread_mutex_unlock(&l->mtx);
	buf_release(&packet);
	return ret;
}

static void append_init(struct request *req, const struct link *l, uint64_t stream, struct slice event)
{
	request_init(req, l, LINK_APPEND, 4 + event.len);
	req->header.stream = stream;
	req->header.count = 1;
	link_put_bytes(&req->body, event);
}

static int append_and_go(struct link *l, uint64_t stream, struct slice event, struct err *err)
{
	struct request *req = mem_alloc(1, sizeof(*req));

	if (!req)
		return err_set(err, ERR_NOMEM, "APPEND");
	append_init(req, l, stream, event);
	req->owner = req;
	if (buf_check(&req->body, err) == 0 && link_submit(l, req, NEED_CREDIT, 0, NULL, err) == 0)
		return 0; /* the link thread frees it */
	request_release(req);
	mem_free(req);
	return -1;
}

int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err)
{
	struct request req;
	int ret;

	if (!durable)
		return append_and_go(l, stream, event, err);
	append_init(&req, l, stream, event);
	req.header.flags = LINK_DURABLE;
	ret = link_ask(l, &req, NEED_CREDIT, 0, NULL, err);
	request_release(&req);
	return ret;
}

int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err)
{
	struct call_entry *entry = (struct call_entry *)call;
	struct request req;
	size_t len = 0;
	int ret;

	for (size_t i = 0; i < events_count; i++)
		len += 4 + events[i].len;
	request_init(&req, l, LINK_FINISH, len);
	req.header.corr = call->number;
	req.header.stream = stream;
	req.header.count = (uint32_t)events_count;
	req.header.flags = LINK_DURABLE;
	for (size_t i = 0; i < events_count; i++)
		link_put_bytes(&req.body, events[i]);
	ret = link_ask(l, &req, NEED_CREDIT, call->producer, NULL, err);
	entry->is_finished = ret == 0;
	request_release(&req);
	return ret;
}

/* --- the whole --- */

struct link *link_new(const struct cfg *cfg)
{
	struct link *l = mem_alloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	l->cfg = cfg;
	l->wake_fd = -1;
	l->ctl = -1;
	TAILQ_INIT(&l->inbox);
	TAILQ_INIT(&l->sendq);
	buf_init(&l->head, LINK_HEADER_LEN);
	pthread_mutex_init(&l->mtx, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	return l;
}

void link_free(struct link **linkp)
{
	struct link *l = *linkp;
	int pid;

	if (!l)
		return;
	*linkp = NULL;
	pid = atomic_load(&l->pid);
	if (pid && pid != (int)getpid()) {
		/* A child: the thread is not here and ZeroMQ's context is not ours to end. But as long as we hold the
		 * control socket the broker would not see our parent die. */
		if (l->ctl != -1)
			close(l->ctl);
	} else {
		if (l->has_thread) {
			pthread_mutex_lock(&l->mtx);
			l->is_stopping = true;
			pthread_mutex_unlock(&l->mtx);
			link_wake(l);
			pthread_join(l->thread, NULL);
		}
		if (l->context)
			zmq_ctx_term(l->context);
		pthread_cond_destroy(&l->changed);
		pthread_mutex_destroy(&l->mtx);
	}
	if (l->wake_fd != -1)
		close(l->wake_fd);
	buf_release(&l->head);
	mem_free(l);
}

bool link_is_up(struct link *l)
{
	bool is_up;

	pthread_mutex_lock(&l->mtx);
	is_up = l->state == LINK_UP;
	pthread_mutex_unlock(&l->mtx);
	return is_up;
}
