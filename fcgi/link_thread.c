#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

#define RECEIVE_TURN_MAX 64  /* messages read before the inbox is looked at again */
#define STOP_LINGER_MS   100 /* what was given to ZeroMQ may still go out when we stop */
#define RECONNECT_MIN_MS 25  /* pause before an attempt that nobody waits for; doubles with each ... */
#define RECONNECT_MAX_MS 500
#define SHORT_LIFE_MS    1000 /* ... and with a connection that lasted no longer */

static struct log_rate garbage_rate;

/* --- completing, sending, timers --- */

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
	l->waiting_count--;
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
bool link_dealer_send(struct link *l, struct request *req)
{
	struct slice texts[3] = {{NULL, 0}, req->key, buf_slice(&req->body)};
	zmq_msg_t parts[3];

	l->is_dealer_due = true;
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

/* As the last message before RELEASE. */
static void send_held(struct link *l)
{
	struct request held = {.header = {.version = LINK_VERSION, .type = LINK_HELD, .producer = l->producer}};

	if (link_dealer_send(l, &held))
		l->hold = LINK_HOLD_TOLD;
}

static bool wants_to_send(const struct link *l)
{
	return l->hold == LINK_HOLD_NONE ? !TAILQ_EMPTY(&l->sendq) : l->hold == LINK_HOLD_ASKED;
}

static void sendq_flush(struct link *l, uint64_t now)
{
	struct request *req;

	if (l->hold == LINK_HOLD_ASKED)
		send_held(l);
	while (l->hold == LINK_HOLD_NONE && (req = TAILQ_FIRST(&l->sendq))) {
		if (!link_dealer_send(l, req))
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
		if (!req->owner) {
			LIST_INSERT_HEAD(&l->sent[req->header.seq % TABLE_SIZE], req, hashed);
			l->waiting_count++;
		}
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

	if (l->state == LINK_UP && now >= l->stats_at_ms) /* which only this thread makes so */
		link_stats_send(l, now);
	if (now < l->timer_ms)
		return;
	l->timer_ms = UINT64_MAX;
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		for (req = LIST_FIRST(&l->sent[i]); req; req = next) {
			next = LIST_NEXT(req, hashed);
			if (now >= req->header.deadline_ms) {
				atomic_store(&l->stuck_ms, now);
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

/* --- receiving --- */

static void log_garbage(const char *why)
{
	unsigned dropped;

	if (log_rate_ok(&garbage_rate, 5, 10000, &dropped))
		LOG(WARN, "link.garbage", "why=\"%s\" dropped=%u", why, dropped);
}

static void on_answer(struct link *l, const struct link_header *h, zmq_msg_t *body)
{
	struct request *req;
	struct nack nack;

	LIST_FOREACH(req, &l->sent[h->corr % TABLE_SIZE], hashed)
	if (req->header.seq == h->corr)
		break;
	if (!req)
		return; /* a second answer, or one after the deadline, or to what nobody waits for */
	if (h->corr > atomic_load(&l->heard_seq))
		atomic_store(&l->heard_seq, h->corr);
	if (h->type == LINK_NACK) {
		if (!nack_read((struct slice){zmq_msg_data(body), zmq_msg_size(body)}, &nack)) {
			log_garbage("malformed NACK");
			return;
		}
		/* Nothing was done, so the same may be said again; not to a broker that is about to go. */
		if (nack.code == LINK_NACK_BUSY && nack.retry_ms && !l->is_draining &&
		    now_ms() + nack.retry_ms < req->header.deadline_ms) {
			req->retry_at_ms = now_ms() + nack.retry_ms;
			timer_before(l, req->retry_at_ms);
			return;
		}
		if (nack.code == LINK_NACK_BUSY)
			atomic_store(&l->stuck_ms, now_ms());
		request_refused(req, &nack);
	} else {
		zmq_msg_move(&req->answer_body, body);
	}
	request_answered(req, h);
	request_complete(l, req);
}

/* With mtx held. */
static void entry_wake(struct call_entry *entry)
{
	static const uint64_t one = 1;
	ssize_t ignored = write(entry->call.cancel_fd, &one, sizeof(one)); /* can't be full */

	(void)ignored;
	entry->is_woken = true;
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

void link_entry_cancel(struct call_entry *entry)
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

static void on_task_run(struct link *l, struct slice id, struct slice in)
{
	bool bad = false;
	struct slice principal = link_get_bytes(&in, &bad);
	uint64_t ttl_ms = link_get_u64(&in, &bad);
	struct slice job = link_get_bytes(&in, &bad);

	if (bad || !l->runner)
		log_garbage(bad ? "malformed TASK_RUN" : "TASK_RUN for a worker");
	else
		l->runner->run(l->runner->arg, id, principal, ttl_ms, job);
}

static void on_task_input(struct link *l, struct slice id, struct slice in)
{
	bool bad = false;
	unsigned what = link_get_u8(&in, &bad);
	struct slice body = link_get_bytes(&in, &bad);

	if (bad || !l->runner || (what != LINK_TASK_ANSWERS && what != LINK_TASK_CANCEL))
		log_garbage(l->runner ? "malformed TASK_INPUT" : "TASK_INPUT for a worker");
	else
		l->runner->input(l->runner->arg, id, (enum link_task_what)what, body);
}

static struct slice part_slice(zmq_msg_t *part)
{
	return (struct slice){zmq_msg_data(part), zmq_msg_size(part)};
}

/* parts: header, key, body. */
static void on_message(struct link *l, zmq_msg_t *parts)
{
	struct slice key = part_slice(&parts[1]), in = part_slice(&parts[2]);
	struct link_header h;
	struct err err;

	if (link_get_header(part_slice(&parts[0]), &h, &err)) {
		log_garbage(err.msg);
		return;
	}
	if (h.body_len != in.len || key.len > LINK_KEY_MAX) {
		log_garbage("body or key length");
		return;
	}
	switch (h.type) {
	case LINK_ACK:
	case LINK_NACK:
		on_answer(l, &h, &parts[2]);
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
	case LINK_HOLD:
		l->hold = LINK_HOLD_ASKED;
		break;
	case LINK_RELEASE:
		l->hold = LINK_HOLD_NONE;
		break;
	case LINK_TASK_CHANGED:
		pthread_mutex_lock(&l->mtx);
		link_watches_fire(l, &key);
		pthread_mutex_unlock(&l->mtx);
		break;
	case LINK_TASK_RUN:
		on_task_run(l, key, in);
		break;
	case LINK_TASK_INPUT:
		on_task_input(l, key, in);
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
		on_message(l, parts);
	else if (count)
		log_garbage("frames");
	for (int i = 0; i < 3; i++)
		zmq_msg_close(&parts[i]);
	zmq_msg_close(&extra);
	return count > 0;
}

/* --- its loop --- */

/* Nothing comes there but its end. */
static void ctl_ended(const struct link *l)
{
	char byte;

	if (recv(l->ctl, &byte, sizeof(byte), MSG_DONTWAIT) > 0)
		log_garbage("on the control channel");
}

/* ZMQ_FD is edge-triggered and only means "look again". A receive that found nothing armed it; but the same receive may
 * have eaten the news that there is room to send. */
static bool dealer_has_room(struct link *l)
{
	int events = 0;
	size_t len = sizeof(events);

	if (zmq_getsockopt(l->dealer, ZMQ_EVENTS, &events, &len) == -1)
		events = ZMQ_POLLIN;
	l->is_dealer_due = l->is_dealer_due || (events & ZMQ_POLLIN);
	return events & (ZMQ_POLLOUT | ZMQ_POLLIN);
}

/* Sleeps until there is something to do. false: the connection is over. */
static bool link_sleep(struct link *l)
{
	struct pollfd fds[3] = {{.fd = l->wake_fd, .events = POLLIN}, {.fd = l->dealer_fd, .events = POLLIN},
	    {.fd = l->ctl, .events = POLLIN}};
	bool is_idle = (!wants_to_send(l) || !dealer_has_room(l)) && !l->is_dealer_due;
	uint64_t now = now_ms(), count;
	ssize_t ignored;
	uint64_t due_ms = l->timer_ms < l->stats_at_ms ? l->timer_ms : l->stats_at_ms;

	pthread_mutex_lock(&l->mtx);
	if (l->is_stopping && TAILQ_EMPTY(&l->inbox)) {
		pthread_mutex_unlock(&l->mtx);
		return false;
	}
	l->is_asleep = is_idle && due_ms > now && TAILQ_EMPTY(&l->inbox);
	is_idle = l->is_asleep;
	pthread_mutex_unlock(&l->mtx);
	if (!is_idle)
		return true;

	if (poll(fds, COUNT_OF(fds), ms_until(due_ms, now)) <= 0)
		return true;
	if (fds[0].revents) {
		ignored = read(l->wake_fd, &count, sizeof(count));
		(void)ignored;
	}
	l->is_dealer_due = fds[1].revents != 0;
	if (fds[2].revents)
		ctl_ended(l);
	return !fds[2].revents;
}

/* Grows, and spreads processes that lost their broker at the same moment. */
static void pause_before_retry(struct link *l, uint64_t now)
{
	uint64_t pause = 2 * l->retry_pause_ms;

	pause = pause < RECONNECT_MIN_MS ? RECONNECT_MIN_MS : pause > RECONNECT_MAX_MS ? RECONNECT_MAX_MS : pause;
	l->retry_pause_ms = pause;
	l->retry_at_ms = now + pause / 2 + rnd_u64() % pause;
}

static void line_up(struct link *l, struct request *req)
{
	req->retry_interval_ms = RETRY_FIRST_MS;
	if (req->is_queued)
		return;
	TAILQ_INSERT_TAIL(&l->sendq, req, fifo);
	req->is_queued = true;
}

/* A broker that went in good order has said the wills of all calls that owe an answer on a stream. */
static void cancel_streams(struct link *l)
{
	for (size_t i = 0; i < TABLE_SIZE; i++)
		for (struct call_entry *entry = l->calls[i]; entry; entry = entry->next)
			if (entry->stream)
				link_entry_cancel(entry);
}

/* The connection is over. What has no answer lines up for the next one. */
static void link_down(struct link *l)
{
	uint64_t now = now_ms();
	struct request *req;
	bool is_stopping;
	int ctl, linger;

	pthread_mutex_lock(&l->mtx);
	is_stopping = l->is_stopping;
	LOG(INFO, "link.down", "producer=%016" PRIx64 " connection=%" PRIu32 " calls=%zu waiting=%zu%s", l->producer,
	    l->connection, l->calls_count, l->waiting_count, is_stopping ? " why=stop" : "");
	l->state = LINK_DOWN;
	linger = is_stopping ? STOP_LINGER_MS : 0;
	ctl = l->ctl;
	l->ctl = -1;
	link_callers_close(l);
	if (l->is_draining)
		cancel_streams(l);
	link_watches_fire(l, NULL);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mtx);
	/* Who stops in good order (a CGI process after its one request) still says what it did, and that its call has
	 * ended: the broker hears it for a moment longer than it sees the control socket. */
	if (is_stopping)
		link_stats_send(l, now);
	close(ctl);
	zmq_setsockopt(l->dealer, ZMQ_LINGER, &linger, sizeof(linger));
	zmq_close(l->dealer);
	for (size_t i = 0; i < TABLE_SIZE; i++)
		LIST_FOREACH(req, &l->sent[i], hashed)
	line_up(l, req);
	if (now - l->up_at_ms >= SHORT_LIFE_MS)
		l->retry_pause_ms = 0;
	pause_before_retry(l, now);
	if (l->runner && !is_stopping)
		l->runner->lost(l->runner->arg);
}

static void serve(struct link *l)
{
	do {
		int n;

		do { /* a receive must have found nothing before we sleep */
			inbox_take(l);
			sendq_flush(l, now_ms());
			for (n = 0; l->is_dealer_due && n < RECEIVE_TURN_MAX; n++)
				l->is_dealer_due = dealer_receive(l);
			timers_run(l, now_ms());
		} while (n == RECEIVE_TURN_MAX);
	} while (link_sleep(l));
}

/* false: not now. */
static bool connect_now(struct link *l, bool is_wanted)
{
	struct err why = {0};
	uint64_t deadline_ms;
	bool may_start;
	int rc;

	pthread_mutex_lock(&l->mtx);
	l->is_wanted = false;
	may_start = is_wanted || !l->is_draining; /* who has stopped it may want it to stay so */
	deadline_ms = is_wanted ? l->wanted_until_ms : link_deadline(l);
	l->state = LINK_CONNECTING;
	pthread_mutex_unlock(&l->mtx);
	rc = link_connect(l, may_start, deadline_ms, &why);
	pthread_mutex_lock(&l->mtx);
	if (rc)
		l->state = LINK_DOWN;
	else /* for who waits, and comes to it when it is down again */
		err_set(&why, ERR_BROKER, "the broker went away");
	l->attempt_err = why;
	l->attempt++;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->mtx);
	if (rc) {
		pause_before_retry(l, now_ms());
		return false;
	}
	l->up_at_ms = l->stats_at_ms = now_ms();
	return true;
}

/* Waits, without a connection, for a reason to make one. false: for the end. */
static bool wait_for_need(struct link *l, bool *is_wanted)
{
	for (;;) {
		struct pollfd fd = {.fd = l->wake_fd, .events = POLLIN};
		uint64_t now, until;
		eventfd_t ignored;
		bool goes_on, is_stopping, is_idle;

		inbox_take(l);
		timers_run(l, now_ms());
		now = now_ms();
		pthread_mutex_lock(&l->mtx);
		is_stopping = l->is_stopping;
		*is_wanted = l->is_wanted;
		goes_on = l->calls_count > 0 || l->waiting_count > 0 || (l->runner && l->connection > 0);
		is_idle = l->is_asleep = TAILQ_EMPTY(&l->inbox);
		pthread_mutex_unlock(&l->mtx);
		if (is_stopping || *is_wanted || (goes_on && now >= l->retry_at_ms))
			return !is_stopping;
		until = goes_on && l->retry_at_ms < l->timer_ms ? l->retry_at_ms : l->timer_ms;
		if (is_idle && poll(&fd, 1, ms_until(until, now)) > 0)
			eventfd_read(l->wake_fd, &ignored);
	}
}

void *link_thread(void *arg)
{
	struct link *l = arg;
	struct request *req, *next;
	bool is_wanted;

	l->timer_ms = UINT64_MAX;
	while (wait_for_need(l, &is_wanted)) {
		if (!connect_now(l, is_wanted))
			continue;
		serve(l);
		link_down(l);
	}
	for (size_t i = 0; i < TABLE_SIZE; i++)
		for (req = LIST_FIRST(&l->sent[i]); req; req = next) {
			next = LIST_NEXT(req, hashed);
			request_fail(l, req, ERR_BROKER, "the link ends");
		}
	while ((req = TAILQ_FIRST(&l->sendq)))
		request_complete(l, req);
	return NULL;
}
