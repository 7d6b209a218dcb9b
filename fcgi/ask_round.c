#include "config.h"

#include "common/jx.h"
#include "fcgi/ask.h"
#include "fcgi/ask_round.h"
#include "fcgi/call_priv.h"
#include "common/banned.h"

void ask_round_lend(const struct ask_round *round, struct call *call)
{
	call->answers = round->answers;
	call->kept = round->kept;
	call->priv->round = round->number;
	if (call->era == ERA_LEGACY) {
		call->priv->progress_started = round->has_progress;
		call->priv->progress_last = round->progress;
	}
}

/* What an answer to ask has to be. */
static void put_expectation(json_object *ask, struct buf *out)
{
	json_object *params = jx_get(ask, "params");

	buf_adds(out, "{\"method\":");
	jx_write(out, jx_get(ask, "method"));
	if (jx_has(params, "requestedSchema")) {
		buf_adds(out, ",\"schema\":");
		jx_write(out, jx_get(params, "requestedSchema"));
	}
	buf_adds(out, "}");
}

int ask_round_put(const struct call *call, struct buf *out, struct err *err)
{
	const char *comma = "";

	if (call->priv->round >= call->cfg->ask_rounds_max)
		return err_set(err, ERR_LIMIT, "it asks more than %d times", call->priv->round);
	buf_addf(out, "{\"number\":%d,\"answers\":", call->priv->round + 1);
	jx_write(out, call->answers);
	if (call->priv->progress_started)
		buf_addf(out, ",\"progress\":%.17g", call->priv->progress_last);
	buf_adds(out, ",\"kept\":");
	jx_write(out, call->priv->keep);
	buf_adds(out, ",\"pending\":{");
	json_object_object_foreach(call->priv->asks, key, ask) {
		buf_adds(out, comma);
		comma = ",";
		jx_write_str(out, slice_str(key));
		buf_adds(out, ":");
		put_expectation(ask, out);
	}
	buf_adds(out, "}}");
	return buf_check(out, err);
}

int ask_round_read(json_object *val, struct ask_round *round, struct err *err)
{
	json_object *number = jx_get(val, "number"), *progress = jx_get(val, "progress");

	*round = (struct ask_round){
	    .number = json_object_is_type(number, json_type_int) ? json_object_get_int(number) : 0,
	    .answers = json_object_get(jx_get_object(val, "answers")),
	    .kept = json_object_get(jx_get(val, "kept")),
	    .pending = json_object_get(jx_get_object(val, "pending")),
	    .progress = json_object_get_double(progress),
	    .has_progress = progress != NULL,
	};
	if (round->number < 1 || !round->pending)
		return err_set(err, ERR_PARAMS, "not a round of ours");
	return 0;
}

static int keep_answer(struct ask_round *round, const char *key, json_object *val, struct err *err)
{
	if (!round->answers)
		round->answers = json_object_new_object();
	return jx_add(round->answers, key, val, err);
}

int ask_round_answer(struct ask_round *round, const char *key, json_object *val, struct err *err)
{
	json_object *expected = jx_get(round->pending, key);
	int ret = expected ? ask_is_answer(jx_get_str(expected, "method"), jx_get(expected, "schema"), val, err) : 0;

	return ret == 1 ? keep_answer(round, key, json_object_get(val), err) : ret;
}

int ask_round_fail(struct ask_round *round, const char *key, json_object *error, struct err *err)
{
	json_object *val;

	if (!jx_has(round->pending, key))
		return 0;
	val = json_object_new_object();
	if (jx_add(val, "error", json_object_get(error), err)) {
		json_object_put(val);
		return -1;
	}
	return keep_answer(round, key, val, err);
}

void ask_round_release(struct ask_round *round)
{
	json_object_put(round->answers);
	json_object_put(round->kept);
	json_object_put(round->pending);
	*round = (struct ask_round){0};
}
