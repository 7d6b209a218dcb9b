#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/ask_legacy.h"
#include "fcgi/call_priv.h"
#include "common/banned.h"

#define DEPTH_EXTRA 8  /* levels that a parked call's blob is around its request and answers */
#define TOKEN_LEN   22 /* of a request id of ours: 132 random bits */
#define ID_SIZE     (TOKEN_LEN + 3)

static size_t room(const struct call *call)
{
	return 16 * (size_t)call->cfg->body_max_bytes; /* escapes may be longer than what was read */
}

/* The questions of a call on their way out. */
struct outgoing {
	struct link_ask *asks; /* owned */
	char (*ids)[ID_SIZE];  /* owned */
	size_t *ends;          /* owned; where each event ends in events */
	size_t count;
	struct buf events, blob, too_late;
};

static void outgoing_release(struct outgoing *o)
{
	mem_free(o->asks);
	mem_free(o->ids);
	mem_free(o->ends);
	buf_release(&o->events);
	buf_release(&o->blob);
	buf_release(&o->too_late);
}

static int write_events(struct outgoing *o, json_object *asks, struct err *err)
{
	char token[TOKEN_LEN + 1];
	size_t at = 0, n = 0;

	json_object_object_foreach(asks, key, ask) {
		(void)key;
		rnd_token(token, sizeof(token));
		snprintf(o->ids[n], ID_SIZE, "\"%s\"", token);
		buf_addf(&o->events, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":", o->ids[n]);
		jx_write(&o->events, jx_get(ask, "method"));
		buf_adds(&o->events, ",\"params\":");
		jx_write(&o->events, jx_get(ask, "params"));
		buf_adds(&o->events, "}");
		o->ends[n++] = o->events.len;
	}
	if (buf_check(&o->events, err))
		return -1;
	for (n = 0; n < o->count; at = o->ends[n++])
		o->asks[n] = (struct link_ask){slice_str(o->ids[n]), {o->events.data + at, o->ends[n] - at}};
	return 0;
}

/* {"request": the client's, "ids": our id -> key, "round": ...} */
static int write_blob(struct outgoing *o, const struct call *call, const struct rpc *rpc, struct err *err)
{
	size_t n = 0;

	buf_adds(&o->blob, "{\"request\":");
	jx_write(&o->blob, rpc->message);
	buf_adds(&o->blob, ",\"ids\":{");
	json_object_object_foreach(call->priv->asks, key, ask) {
		(void)ask;
		buf_addf(&o->blob, "%s%s:\"%s\"", n ? "," : "", o->ids[n], key); /* neither needs an escape */
		n++;
	}
	buf_adds(&o->blob, "},\"round\":");
	if (ask_round_put(call, &o->blob, err))
		return -1;
	buf_adds(&o->blob, "}");
	return buf_check(&o->blob, err);
}

static int write_too_late(struct outgoing *o, const struct rpc *rpc, struct err *err)
{
	struct err late = {.code = ERR_EXPIRED};

	rpc_put_error(&o->too_late, rpc->id, &late, NULL);
	return buf_check(&o->too_late, err);
}

static int write_all(struct outgoing *o, const struct call *call, const struct rpc *rpc, struct err *err)
{
	o->count = (size_t)json_object_object_length(call->priv->asks);
	o->asks = mem_alloc(o->count, sizeof(*o->asks));
	o->ids = mem_alloc(o->count, sizeof(*o->ids));
	o->ends = mem_alloc(o->count, sizeof(*o->ends));
	if (!o->asks || !o->ids || !o->ends)
		return err_set(err, ERR_NOMEM, "%zu questions", o->count);
	if (write_events(o, call->priv->asks, err) || write_blob(o, call, rpc, err))
		return -1;
	return write_too_late(o, rpc, err);
}

int ask_legacy_park(struct exchange *x, const struct call *call, const struct rpc *rpc, struct err *err)
{
	struct link_late late = {
	    /* I-07 */
	    .head = SLICE("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":"),
	    .tail = SLICE(",\"reason\":\"no answer in time\"}}"),
	};
	struct outgoing o = {0};
	int ret;

	buf_init(&o.events, room(call));
	buf_init(&o.blob, room(call));
	buf_init(&o.too_late, 4096 + RPC_ID_MAX);
	ret = write_all(&o, call, rpc, err);
	late.event = buf_slice(&o.too_late);
	if (ret == 0 && x->phase == EXCHANGE_OPEN)
		ret = exchange_stream(x, err);
	if (ret == 0)
		ret = link_park(x->w->link, &x->lcall, x->stream, (uint32_t)(call->cfg->ask_wait_s * 1000), &late,
		    buf_slice(&o.blob), o.asks, o.count, err);
	if (ret == 0)
		x->phase = EXCHANGE_ANSWERED;
	outgoing_release(&o);
	return ret;
}

int ask_legacy_answer(
    struct exchange *x, const struct legacy_batch *batch, struct ask_legacy_taken *taken, struct err *err)
{
	*taken = (struct ask_legacy_taken){0};
	if (batch->responses == 0)
		return 0;
	taken->items = mem_alloc(batch->responses, sizeof(*taken->items));
	if (!taken->items)
		return err_set(err, ERR_NOMEM, "%zu responses", batch->responses);
	for (size_t i = 0; i < batch->count; i++) {
		const struct rpc *rpc = &batch->items[i];
		struct link_taken *item = &taken->items[taken->count];
		struct buf text;
		int ret;

		if (rpc->kind != RPC_RESPONSE || !rpc->id[0])
			continue;
		buf_init(&text, 8 * (size_t)x->w->cfg.body_max_bytes);
		jx_write(&text, rpc->message);
		ret = buf_check(&text, err);
		if (ret == 0)
			ret = link_answer(x->w->link, slice_str(x->session), x->principal, slice_str(rpc->id),
			    buf_slice(&text), item, err);
		buf_release(&text);
		if (ret)
			return -1;
		if (item->state == LINK_ANSWER_TAKEN)
			taken->count++;
		else
			link_taken_release(x->w->link, item);
	}
	return 0;
}

/* The answers that the broker collected into the round they are for. */
static int read_answers(
    const struct cfg *cfg, const struct link_taken *item, json_object *ids, struct ask_round *round, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; i < item->answers_count && ret == 0; i++) {
		struct slice id = item->answers[i].id;
		char token[ID_SIZE];
		struct slice key;
		json_object *message;

		if (id.len != ID_SIZE - 1)
			continue;
		snprintf(token, sizeof(token), "%.*s", TOKEN_LEN, id.p + 1); /* less its quotes */
		key = jx_get_str(ids, token);
		message = jx_parse(item->answers[i].text, (int)cfg->body_depth_max + DEPTH_EXTRA, err);
		if (!message)
			return -1;
		if (key.p && jx_has(message, "error"))
			ret = ask_round_fail(round, key.p, jx_get(message, "error"), err);
		else if (key.p)
			ret = ask_round_answer(round, key.p, jx_get(message, "result"), err);
		json_object_put(message);
	}
	return ret;
}

/* Runs one call again, with its client's answers. Takes item. */
static void run_again(struct exchange *x, struct session *session, struct link_taken *item)
{
	struct exchange again = {
	    .w = x->w,
	    .phase = item->call_flags & LINK_CALL_ON_SESSION_STREAM ? EXCHANGE_ACCEPTED : EXCHANGE_STREAM,
	    .era = ERA_LEGACY,
	    .revision = session->revision,
	    .principal = x->principal,
	    .lcall = item->call,
	    .stream = item->stream,
	    .started_ms = now_ms(),
	    .started_us = now_us(),
	};
	struct ask_round round = {0};
	struct legacy_batch batch = {0};
	json_object *blob;
	struct rpc rpc;
	struct err err = {0};

	memcpy(again.session, x->session, sizeof(again.session));
	item->call = NULL; /* it is the exchange's now */
	blob = jx_parse(item->blob, (int)x->w->cfg.body_depth_max + DEPTH_EXTRA, &err);
	if (blob && ask_round_read(jx_get(blob, "round"), &round, &err) == 0 &&
	    read_answers(&x->w->cfg, item, jx_get(blob, "ids"), &round, &err) == 0 &&
	    rpc_read(jx_get(blob, "request"), &rpc, &err) == 0 && legacy_batch_read(&batch, NULL, &rpc, 1, &err) == 0) {
		legacy_run(&again, &batch, session, &round);
	} else {
		LOG(WARN, "ask.lost", "session=%.8s why=\"%s\"", x->session, err.msg);
		link_call_end(x->w->link, &again.lcall); /* its will answers */
	}
	legacy_batch_release(&batch);
	ask_round_release(&round);
	json_object_put(blob);
	link_taken_release(x->w->link, item);
}

void ask_legacy_run(struct exchange *x, struct session *session, struct ask_legacy_taken *taken)
{
	if (taken->count)
		exchange_set_aside(x);
	for (size_t i = 0; i < taken->count; i++)
		run_again(x, session, &taken->items[i]);
	mem_free(taken->items);
	*taken = (struct ask_legacy_taken){0};
}
