/* Any thread that says something to the broker: encode, hand over to the link thread, wait. */
#include "config.h"

#include <unistd.h>

#include "common/log.h"
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

void request_name(struct link *l, struct request *req, struct call_entry *entry)
{
	req->header.producer = l->producer;
	req->header.seq = ++l->seq;
	req->header.body_len = (uint32_t)req->body.len;
	if (!entry)
		return;
	entry->call.number = req->header.seq;
	entry->call.epoch = l->epoch;
	entry->next = l->calls[req->header.seq % TABLE_SIZE];
	l->calls[req->header.seq % TABLE_SIZE] = entry;
	l->calls_count++;
}

/* mtx is held. true: the link thread must be woken. */
static bool hand_over(struct link *l, struct request *req)
{
	bool wakes = l->is_asleep;

	TAILQ_INSERT_TAIL(&l->inbox, req, fifo);
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
	if (need == NEED_CREDIT && !(req->header.flags & LINK_RETRY) && take_credit(l, req, err))
		goto fail;
	if (req->header.seq == 0)
		request_name(l, req, entry);
	if (req->owner && req->header.stream)
		l->unheard[req->header.stream % TABLE_SIZE] = req->header.seq;
	wakes = hand_over(l, req);
	pthread_mutex_unlock(&l->mtx);
	if (wakes)
		link_wake(l);
	return 0;
fail:
	pthread_mutex_unlock(&l->mtx);
	return -1;
}

int request_ask(struct link *l, struct request *req, enum need need, struct call_entry *entry, struct err *err)
{
	if (req->key.len > LINK_KEY_MAX)
		return err_set(err, ERR_NO_SESSION, "id of %zu bytes", req->key.len);
	if (buf_check(&req->body, err))
		return err_wrap(err, "%s", link_type_name(req->header.type));
	req->header.flags |= LINK_WANT_ACK;
	req->err = err;
	if (req->by_caller && link_caller_ask(l, req, entry))
		return req->ret;
	sem_init(&req->done, 0, 0);
	if (request_submit(l, req, need, entry, err))
		req->ret = -1;
	else
		while (sem_wait(&req->done) == -1) /* EINTR */
			;
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

bool nack_read(struct slice body, struct nack *nack)
{
	bool bad = false;

	nack->code = link_get_u16(&body, &bad);
	nack->retry_ms = link_get_u32(&body, &bad);
	log_quote(nack->text, sizeof(nack->text), link_get_bytes(&body, &bad));
	return !bad;
}

void request_refused(struct request *req, const struct nack *nack)
{
	req->ret = err_set(req->err, link_nack_err(nack->code), "%s: broker says %s: %s",
	    link_type_name(req->header.type), link_nack_name(nack->code), nack->text);
}

void request_answered(struct request *req, const struct link_header *h)
{
	req->answer = *h;
	req->is_answered = true;
}
