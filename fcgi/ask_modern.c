#include "config.h"

#include "common/jx.h"
#include "fcgi/ask_modern.h"
#include "fcgi/call_priv.h"
#include "fcgi/result.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define PURPOSE     "state"
#define DEPTH_EXTRA 8 /* levels that a round is around what was answered */

/* MR-06: a state belongs to who asked for what. Everything that the client repeats counts. */
static void put_bound(const struct call *call, const struct rpc *rpc, struct buf *out)
{
	buf_add(out, call->principal, strlen(call->principal) + 1);
	buf_add_slice(out, rpc->method);
	json_object_object_foreach(rpc->params, key, val) {
		if (strcmp(key, "_meta") == 0 || strcmp(key, "inputResponses") == 0 || strcmp(key, "requestState") == 0)
			continue;
		buf_adds(out, ",");
		jx_write_str(out, slice_str(key));
		buf_adds(out, ":");
		jx_write(out, val);
	}
}

static size_t room(const struct call *call)
{
	return 8 * (size_t)call->cfg->body_max_bytes; /* escapes may be longer than what was read */
}

static int open_state(
    const struct call *call, const struct rpc *rpc, struct slice token, struct ask_round *round, struct err *err)
{
	json_object *val = NULL;
	struct buf bound, text;
	int ret;

	buf_init(&bound, room(call));
	buf_init(&text, room(call));
	put_bound(call, rpc, &bound);
	ret = buf_check(&bound, err);
	if (ret == 0)
		ret = seal_open(call->w->seal, PURPOSE, buf_slice(&bound), token, &text, err);
	if (ret == 0) {
		val = jx_parse(buf_slice(&text), (int)call->cfg->body_depth_max + DEPTH_EXTRA, err);
		ret = val ? ask_round_read(val, round, err) : -1;
	}
	json_object_put(val);
	buf_release(&bound);
	buf_release(&text);
	return ret ? err_wrap(err, "requestState") : 0;
}

static bool is_single_use(const struct call *call, const struct rpc *rpc)
{
	const struct tool *tool =
	    slice_is(rpc->method, "tools/call") ? toolset_find(&call->w->tools, jx_get_str(rpc->params, "name")) : NULL;

	return tool && tool->single_use;
}

/* MR-07 */
static int use_up(const struct call *call, const struct rpc *rpc, struct slice token, struct err *err)
{
	if (!is_single_use(call, rpc))
		return 0;
	token.len = SEAL_MARK_LEN;
	if (link_once(call->w->link, token, (uint32_t)call->cfg->ask_wait_s, err) == 0)
		return 0;
	return err->code == ERR_DUPLICATE ? err_set(err, ERR_PARAMS, "requestState: it was used before") : -1;
}

int ask_modern_begin(struct call *call, const struct rpc *rpc, struct ask_round *round, struct err *err)
{
	struct slice token = jx_get_str(rpc->params, "requestState");
	json_object *responses = jx_get(rpc->params, "inputResponses");

	*round = (struct ask_round){0};
	if (responses && !json_object_is_type(responses, json_type_object))
		return err_set(err, ERR_PARAMS, "inputResponses must be an object");
	if (!jx_has(rpc->params, "requestState")) {
		call->priv->offered = is_single_use(call, rpc) ? NULL : responses;
		return 0;
	}
	if (!token.p)
		return err_set(err, ERR_PARAMS, "requestState must be a string");
	if (open_state(call, rpc, token, round, err) || use_up(call, rpc, token, err))
		return -1;
	if (responses) {
		json_object_object_foreach(responses, key, val) {
			if (ask_round_answer(round, key, val, err))
				return -1;
		}
	}
	ask_round_lend(round, call);
	return 0;
}

int ask_modern_put(const struct call *call, const struct rpc *rpc, struct buf *out, struct err *err)
{
	struct buf bound, text;
	int ret = -1;

	buf_init(&bound, room(call));
	buf_init(&text, room(call));
	put_bound(call, rpc, &bound);
	rpc_put_result_head(out, rpc->id);
	buf_adds(out, "\"resultType\":\"input_required\",\"inputRequests\":");
	jx_write(out, call->priv->asks);
	buf_adds(out, ",\"requestState\":\"");
	if (buf_check(&bound, err) == 0 && ask_round_put(call, &text, err) == 0)
		ret = seal_close(call->w->seal, PURPOSE, buf_slice(&bound), (uint32_t)call->cfg->ask_wait_s,
		    buf_slice(&text), out, err);
	buf_addf(out, "\",\"_meta\":{\"" RESULT_SERVER_INFO "\":%s}}}", call->w->server_info);
	buf_release(&bound);
	buf_release(&text);
	return ret ? -1 : buf_check(out, err);
}
