/* Any thread that says something to the broker: encode, hand over to the link thread, wait. */
#include "config.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

uint64_t link_deadline(const struct link *l)
{
	return now_ms() + (uint64_t)l->cfg->link_timeout_ms;
}

/* What ends or goes on with something that the broker has acknowledged is not given up before the broker would. */
static uint64_t deadline_of(const struct link *l, enum link_type type)
{
	bool is_owed = type == LINK_APPEND || type == LINK_FINISH || type == LINK_PARK || type == LINK_TASK_PUT ||
		       type == LINK_CALL_END;

	return link_deadline(l) + (is_owed ? (uint64_t)l->cfg->link_return_ms : 0);
}

void request_init(struct request *req, const struct link *l, enum link_type type, size_t body_len)
{
	*req = (struct request){
	    .header = {.version = LINK_VERSION, .type = (uint8_t)type, .deadline_ms = deadline_of(l, type)},
	    .retry_interval_ms = RETRY_FIRST_MS,
	};
	zmq_msg_init(&req->answer_body);
	buf_init(&req->body, link_body_max(l->cfg));
	if (body_len)
		buf_reserve(&req->body, body_len);
}

void request_release(struct request *req)
{
	buf_release(&req->body);
	zmq_msg_close(&req->answer_body);
}

/* At once, by this thread: no other need wake for it, here or in the broker. Who waits for an answer says it again by
 * the data channel if none comes; until then is all the time that this one has. mtx is held. */
static bool send_by_ctl(struct link *l, const struct request *req)
{
	struct link_header h = req->header;

	if (l->state != LINK_UP || !l->ctl_takes_calls || (req->connection && req->connection != l->connection))
		return false;
	h.body_len += (uint32_t)(sizeof(uint32_t) + req->key.len);
	h.deadline_ms = req->owner ? 0 : now_ms() + RETRY_FIRST_MS;
	buf_clear(&l->packet);
	link_put_header(&l->packet, &h);
	link_put_bytes(&l->packet, req->key);
	buf_add_slice(&l->packet, buf_slice(&req->body));
	return !l->packet.fault && send(l->ctl, l->packet.data, l->packet.len, MSG_DONTWAIT | MSG_NOSIGNAL) != -1;
}

/* Gives req its identity and sends it, or hands it over. mtx is held. true: the link thread must be woken. */
static bool hand_over(struct link *l, struct request *req)
{
	bool wakes = l->is_asleep;

	req->header.producer = l->producer;
	req->header.seq = ++l->seq;
	req->header.body_len = (uint32_t)req->body.len;
	req->by_ctl = req->by_ctl && send_by_ctl(l, req);
	if (req->by_ctl)
		req->connection = l->connection;
	if (req->by_ctl && req->owner) {
		request_release(req);
		mem_free(req->owner);
		return false;
	}
	TAILQ_INSERT_TAIL(&l->inbox, req, fifo);
	if (req->by_ctl)
		return false;
	l->is_asleep = false;
	return wakes;
}

void link_wake(struct link *l)
{
	static const uint64_t one = 1;
	ssize_t ignored = write(l->wake_fd, &one, sizeof(one)); /* full is awake */

	(void)ignored;
}

/* An event larger than all credit there is goes when nothing else is under way. mtx is held. */
static int take_credit(struct link *l, struct request *req, struct err *err)
{
	int64_t len = (int64_t)req->body.len;

	if (l->credit < (len < l->credit_full ? len : l->credit_full))
		atomic_fetch_add(&l->credit_waits, 1);
	while (l->credit < (len < l->credit_full ? len : l->credit_full)) {
		if (!link_wait_changed(l, req->header.deadline_ms))
			return err_set(err, ERR_BUSY, "%s: no credit in time", link_type_name(req->header.type));
	}
	l->credit -= len;
	req->credit = (uint64_t)len;
	return 0;
}

int request_submit(struct link *l, struct request *req, enum need need, struct call_entry *entry, struct err *err)
{
	bool wakes;

	if (need == NEED_ANY ? link_lock_up(l, true, req->header.deadline_ms, err) : link_lock(l, err))
		return -1;
	if (req->body.len > l->body_max) {
		err_set(err, ERR_TOO_BIG, "%s: %zu bytes", link_type_name(req->header.type), req->body.len);
		goto fail;
	}
	if (l->state == LINK_UP && l->is_draining &&
	    (req->header.type == LINK_OPEN_STREAM || req->header.type == LINK_ATTACH)) {
		err_set(err, ERR_BUSY, "the broker is going down");
		goto fail;
	}
	if (need == NEED_CREDIT && take_credit(l, req, err))
		goto fail;
	wakes = hand_over(l, req);
	if (entry) {
		entry->call.number = req->header.seq;
		entry->call.epoch = l->epoch;
		entry->next = l->calls[req->header.seq % TABLE_SIZE];
		l->calls[req->header.seq % TABLE_SIZE] = entry;
		l->calls_count++;
	}
	pthread_mutex_unlock(&l->mtx);
	if (wakes)
		link_wake(l);
	return 0;
fail:
	pthread_mutex_unlock(&l->mtx);
	return -1;
}

static void wait_until_done(struct link *l, struct request *req)
{
	uint64_t until_ms = now_ms() + RETRY_FIRST_MS;
	struct timespec until = {.tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000};
	int rc = -1;

	if (req->by_ctl) {
		do
			rc = sem_clockwait(&req->done, CLOCK_MONOTONIC, &until);
		while (rc == -1 && errno == EINTR);
		if (rc == -1)
			link_wake(l); /* now it is the link thread's: to be said again, or given up */
	}
	while (rc == -1)
		rc = sem_wait(&req->done); /* EINTR */
}

int request_ask(struct link *l, struct request *req, enum need need, struct call_entry *entry, struct err *err)
{
	if (req->key.len > LINK_KEY_MAX)
		return err_set(err, ERR_NO_SESSION, "id of %zu bytes", req->key.len);
	if (buf_check(&req->body, err))
		return err_wrap(err, "%s", link_type_name(req->header.type));
	req->header.flags |= LINK_WANT_ACK;
	req->err = err;
	sem_init(&req->done, 0, 0);
	if (request_submit(l, req, need, entry, err))
		req->ret = -1;
	else
		wait_until_done(l, req);
	sem_destroy(&req->done);
	return req->ret;
}

void question_init(struct request *req, const struct link *l, enum link_type type, struct slice key,
    const char *principal, size_t body_len)
{
	struct slice who = slice_str(principal);

	request_init(req, l, type, 4 + who.len + body_len);
	req->key = key;
	link_put_bytes(&req->body, who);
}

struct slice request_answer(struct request *req)
{
	return (struct slice){zmq_msg_data(&req->answer_body), zmq_msg_size(&req->answer_body)};
}

int request_ask_and_release(struct link *l, struct request *req, enum need need, struct err *err)
{
	int ret = request_ask(l, req, need, NULL, err);

	request_release(req);
	return ret;
}
