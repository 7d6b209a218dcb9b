#include "config.h"

#include "broker/bus.h"
#include "broker/call.h"
#include "broker/ctl.h"
#include "broker/handle.h"
#include "broker/handle_priv.h"
#include "broker/park.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "common/banned.h"

#define RETRY_MS          100  /* to twice as much: after NACK BUSY */
#define RETRY_DRAINING_MS 1000 /* by then there is another broker */

_Static_assert(STAT_NACK_NO_RUNNER - STAT_NACK_BUSY == LINK_NACK__COUNT - 1 - LINK_NACK_BUSY, "a row for each code");

/* The body of an ACK, made anew for a retry. 0, or why there is none: the session ended in between. */
static unsigned put_session(struct producer *p, const struct outcome *o, struct slice key, struct buf *body)
{
	const struct session *s = session_find(p->broker, key, NULL);

	(void)o;
	if (!s)
		return LINK_NACK_NO_SESSION;
	link_put_u64(body, s->version);
	link_put_bytes(body, s->blob);
	return 0;
}

static unsigned put_value(struct producer *p, const struct outcome *o, struct slice key, struct buf *body)
{
	(void)p, (void)key;
	link_put_u64(body, o->value);
	return 0;
}

/* The whole of a call that its last answer brought here. */
static unsigned put_answered(struct producer *p, const struct outcome *o, struct slice key, struct buf *body)
{
	const struct call *call = call_find(p->broker, p, o->seq);

	(void)key;
	link_put_u8(body, (uint8_t)o->value);
	if (o->value != LINK_ANSWER_TAKEN)
		return 0;
	if (!call || !call->park)
		return LINK_NACK_NO_SESSION;
	link_put_u8(body, call->on_session_stream ? LINK_CALL_ON_SESSION_STREAM : 0);
	park_put(call->park, body);
	link_put_u16(body, call->ids_count);
	buf_add_slice(body, call->wills);
	return 0;
}

static const struct {
	unsigned (*handle)(struct message *m);
	unsigned (*put_ack)(struct producer *p, const struct outcome *o, struct slice key, struct buf *body);
	bool is_answered; /* always; else only with LINK_WANT_ACK */
	bool is_event;
	bool is_question; /* has no effect: a retry is asked anew */
	bool comes_by_ctl;
} handlers[] = {
    [LINK_SESSION_PUT] = {do_session_put, put_value, .is_answered = true},
    [LINK_SESSION_DEL] = {do_session_del, .is_answered = true},
    [LINK_CALL_BEGIN] = {do_call_begin, put_session, .is_answered = true, .comes_by_ctl = true},
    [LINK_CALL_END] = {.handle = do_call_end, .comes_by_ctl = true},
    [LINK_OPEN_STREAM] = {do_open_stream, .is_answered = true},
    [LINK_ATTACH] = {do_attach, put_value, .is_answered = true},
    [LINK_APPEND] = {do_append, .is_event = true, .comes_by_ctl = true},
    [LINK_FINISH] = {do_finish, .is_event = true, .comes_by_ctl = true},
    [LINK_CANCEL] = {do_cancel, .is_answered = true},
    [LINK_PARK] = {do_park, .is_answered = true},
    [LINK_ANSWER] = {do_answer, put_answered, .is_answered = true},
    [LINK_CLOSE_CONN] = {do_close_conn, .is_answered = true},
    [LINK_SUBSCRIBE] = {do_subscribe, put_value, .is_answered = true},
    [LINK_UNSUBSCRIBE] = {do_unsubscribe, .is_answered = true},
    [LINK_NOTIFY] = {do_notify, put_value, .is_answered = true},
    [LINK_TASK_NEW] = {do_task_new, put_value, .is_answered = true},
    [LINK_TASK_PUT] = {do_task_put, put_value, .is_answered = true},
    [LINK_TASK_GET] = {do_task_get, .is_answered = true, .is_question = true},
    [LINK_TASK_LIST] = {do_task_list, .is_answered = true, .is_question = true},
    [LINK_TASK_SEND] = {do_task_send, .is_answered = true},
    [LINK_ONCE] = {do_once, .is_answered = true},
    [LINK_STATS] = {.handle = do_stats},
    [LINK_RETURN] = {.handle = do_return},
};

bool handle_has(unsigned type)
{
	return type < COUNT_OF(handlers) && handlers[type].handle;
}

bool handle_comes_by_ctl(unsigned type)
{
	return handle_has(type) && handlers[type].comes_by_ctl;
}

static void send_answer(struct producer *p, const struct outcome *o, struct slice key, const struct buf *reply);

/* The answer has no room in a packet: the worker is to say the same by the data channel. */
static void ask_elsewhere(struct producer *p, const struct outcome *o)
{
	struct outcome busy = *o;

	busy.state = OUTCOME_NACK;
	busy.nack = LINK_NACK_BUSY;
	send_answer(p, &busy, SLICE(""), NULL);
}

/* reply: the body of an ACK that the table makes none for; NULL: empty. */
static void send_answer(struct producer *p, const struct outcome *o, struct slice key, const struct buf *reply)
{
	struct link_header h = {.type = LINK_ACK, .corr = o->seq, .stream = o->stream};
	unsigned nack = o->state == OUTCOME_ACK ? 0 : o->nack;
	struct buf body;

	if (!o->want_answer)
		return;
	buf_init(&body, SIZE_MAX / 2);
	if (!nack && handlers[o->type].put_ack)
		nack = handlers[o->type].put_ack(p, o, key, &body);
	else if (!nack && reply)
		buf_add_slice(&body, buf_slice(reply));
	if (nack) {
		h.type = LINK_NACK;
		h.stream = 0;
		buf_clear(&body);
		link_put_u16(&body, (uint16_t)nack);
		link_put_u32(&body, nack != LINK_NACK_BUSY ? 0
				    : p->broker->draining  ? RETRY_DRAINING_MS
							   : rnd_spread(RETRY_MS));
		link_put_bytes(&body, slice_str(link_nack_name(nack)));
	}
	if (buf_check(&body, NULL)) /* the worker asks again */
		;
	else if (!o->by_ctl)
		bus_send(p, &h, SLICE(""), buf_slice(&body));
	else if (ctl_send(o->by_ctl, &h, buf_slice(&body)) && !nack)
		ask_elsewhere(p, o);
	buf_release(&body);
}

static void settle(struct producer *p, struct outcome *o, unsigned nack, struct slice key, const struct buf *reply)
{
	o->state = nack ? OUTCOME_NACK : OUTCOME_ACK;
	o->nack = (uint16_t)nack;
	if (nack)
		stats_add(&p->broker->stats, STAT_NACK_BUSY + nack - LINK_NACK_BUSY, 1);
	send_answer(p, o, key, reply);
	if (nack == LINK_NACK_BUSY) /* it had no effect, so the next try with this sequence is not a repetition */
		*o = (struct outcome){0};
}

static void on_committed(struct store_op *op, int status)
{
	struct commit *c = TABLE_OF(op, struct commit, op);
	struct producer *p = producer_find(c->broker, c->producer);
	struct stream *s = c->stream ? stream_find(c->broker, c->stream) : NULL;
	struct outcome *o = p ? producer_find_seq(p, c->seq) : NULL;
	struct slice key = {c->key, c->key_len};

	histogram_add(&c->broker->stats.commit, now_us() - c->begun_us);
	if (c->after)
		c->after(c->broker, key, status);
	if (s && c->last >= c->first)
		stream_commit(s, c->first, c->last, status);
	if (p && c->credit)
		producer_return_credit(p, c->credit);
	if (o && o->state == OUTCOME_PENDING)
		settle(p, o, status ? LINK_NACK_BUSY : 0, key, NULL);
	mem_free(c);
}

struct commit *commit_new(struct message *m)
{
	struct commit *c = m->broker->store->is_stalled ? NULL : mem_alloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->op.done = on_committed;
	c->broker = m->broker;
	c->producer = m->producer->id;
	c->seq = m->h->seq;
	c->key_len = is_key(m->key) ? m->key.len : 0;
	if (c->key_len)
		memcpy(c->key, m->key.p, c->key_len);
	return c;
}

unsigned commit_settle(struct message *m, struct commit *c, unsigned nack)
{
	if (nack) {
		mem_free(c);
		return nack;
	}
	c->begun_us = now_us();
	m->broker->store->sync(m->broker->store, &c->op);
	producer_keep(m->producer, m->outcome);
	return LATER;
}

/* The worker spent credit for the first try, and has it back whatever became of that: when it is committed, or here.
 * Every refusal counts, or what was granted would shrink until nothing could be sent. */
static unsigned handle_new(struct message *m)
{
	const struct link_header *h = m->h;
	bool is_granted = true;
	unsigned nack;

	if (handlers[h->type].is_event && !(h->flags & LINK_RETRY))
		m->credit = h->body_len;
	if (m->credit)
		is_granted = producer_spend_credit(m->producer, m->credit);
	/* Who asked has given up by now. The loop's clock may be late by a turn, or, after a stop, by as long as that
	 * was. */
	if (h->deadline_ms && now_ms() >= h->deadline_ms)
		nack = LINK_NACK_EXPIRED;
	else
		nack = is_granted ? handlers[h->type].handle(m) : LINK_NACK_BUSY;
	if (nack != LATER && m->credit)
		producer_return_credit(m->producer, m->credit);
	return nack;
}

static bool wants_answer(const struct link_header *h)
{
	return handlers[h->type].is_answered || (h->flags & LINK_WANT_ACK);
}

/* Who says it again waits there from now on; also for the answer that is still on its way from the store (PENDING). */
static void answer_again(struct message *m, struct ctl *ctl)
{
	m->outcome->by_ctl = ctl;
	m->outcome->want_answer = wants_answer(m->h);
	if (m->outcome->state != OUTCOME_PENDING)
		send_answer(m->producer, m->outcome, m->key, NULL);
}

/* ctl: where it came; NULL: by the data channel. What comes by a caller spends no credit, and its deadline was looked
 * at. */
static void handle_in_window(struct message *m, struct ctl *ctl)
{
	struct producer *p = m->producer;
	const struct link_header *h = m->h;
	static struct log_rate rate;
	bool is_new;
	unsigned nack, dropped;

	m->outcome = producer_take_seq(p, h->seq, &is_new);
	if (!m->outcome) {
		struct outcome too_old = {.seq = h->seq, .want_answer = true, .by_ctl = ctl};

		settle(p, &too_old, h->seq ? LINK_NACK_EXPIRED : LINK_NACK_BAD, m->key, NULL);
		return;
	}
	if (!is_new && !(m->outcome->type == h->type && handlers[h->type].is_question)) {
		answer_again(m, ctl);
		return;
	}
	m->outcome->by_ctl = ctl;
	m->outcome->type = h->type;
	m->outcome->want_answer = wants_answer(h);
	buf_init(&m->reply, SIZE_MAX / 2);
	nack = ctl ? handlers[h->type].handle(m) : handle_new(m);
	if (nack == LATER)
		return;
	if (nack == LINK_NACK_BAD && log_rate_ok(&rate, 5, 10000, &dropped))
		LOG(WARN, "link.bad", "pid=%u type=%s not_logged=%u", p->pid, link_type_name(h->type), dropped);
	settle(p, m->outcome, nack, m->key, &m->reply);
	buf_release(&m->reply);
}

void handle_message(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	struct message m = {.broker = p->broker, .producer = p, .h = h, .key = key, .body = body};
	static struct log_rate rate;
	unsigned dropped;

	if (handle_has(h->type))
		handle_in_window(&m, NULL);
	else if (log_rate_ok(&rate, 5, 10000, &dropped))
		LOG(WARN, "link.misplaced", "pid=%u type=%s not_logged=%u", p->pid, link_type_name(h->type), dropped);
}

/* Who asked says it again by the data channel after the deadline that it has here, and until then not: so one that is
 * late has no effect, however long it lay there. What begins and ends calls has no place in the window, which is not
 * needed for it: a call that was begun is known by its number. */
void handle_by_ctl(struct producer *p, struct ctl *ctl, const struct link_header *h, struct slice body)
{
	bool bad = false;
	struct slice key = link_get_bytes(&body, &bad);
	struct outcome o = {
	    .seq = h->seq, .type = h->type, .want_answer = handlers[h->type].is_answered, .by_ctl = ctl};
	struct message m = {
	    .broker = p->broker, .producer = p, .h = h, .key = key, .body = body, .outcome = &o, .bad = bad};
	unsigned nack;

	if (h->deadline_ms && now_ms() >= h->deadline_ms)
		return;
	if (handlers[h->type].is_event) {
		handle_in_window(&m, ctl);
		return;
	}
	nack = handlers[h->type].handle(&m);
	/* The end of the call that has this id may lie unread in another socket, sent before the client could use the
	 * id again. By the time that this is said by the data channel it was read. */
	settle(p, &o, nack == LINK_NACK_DUPLICATE_ID ? LINK_NACK_BUSY : nack, key, NULL);
}
