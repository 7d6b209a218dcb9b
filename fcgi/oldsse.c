#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/rnd.h"
#include "common/sse.h"
#include "fcgi/ask_legacy.h"
#include "fcgi/legacy.h"
#include "fcgi/modern.h"
#include "fcgi/oldsse.h"
#include "fcgi/post.h"
#include "fcgi/revision.h"
#include "common/banned.h"

#define QUERY_NAME "sessionId"

void oldsse_get(struct exchange *x)
{
	struct slice mount = x->route.mount;
	uint64_t stream, cursor;
	struct err err = {0};
	struct buf head, where;

	x->era = ERA_LEGACY;
	rnd_token(x->session, SESSION_ID_LEN + 1);
	while (mount.len > 1 && mount.p[0] == '/' && mount.p[1] == '/') /* "//host/..." would name another origin */
		mount.p++, mount.len--;
	buf_init(&head, 16384);
	buf_init(&where, 8192);
	buf_add_slice(&where, mount);
	buf_addf(&where, "/messages?" QUERY_NAME "=%s", x->session);
	exchange_stream_head(x, &head);
	sse_add_event(&head, SLICE(""), "endpoint", buf_slice(&where));
	if (buf_check(&where, &err) == 0 && buf_check(&head, &err) == 0 && exchange_await_broker(x, true, &err) == 0 &&
	    link_session_put(x->w->link, slice_str(x->session), x->principal, x->owner, 0, LINK_SESSION_ENDS_WITH_CONN,
		SLICE("{}"), NULL, &err) == 0) {
		if (link_attach(x->w->link, slice_str(x->session), x->principal, SLICE(""), &stream, &cursor, &err) ||
		    exchange_hand_over(x, stream, cursor, buf_slice(&head), &err)) {
			struct err ignored;

			link_session_del(x->w->link, slice_str(x->session), x->principal, &ignored);
		} else {
			worker_watch(x->w, NULL);
		}
	}
	buf_release(&where);
	buf_release(&head);
	if (x->phase == EXCHANGE_OPEN)
		legacy_refuse(x, "", &err);
}

/* initialize: the session that the stream made learns who its client is. */
static void run_initialize(struct exchange *x, const struct rpc *rpc, struct session *old)
{
	const char *ids[1] = {rpc->id};
	struct session session = {0};
	struct err err = {0};
	struct buf answer;
	struct slice message;

	x->ids = ids;
	x->ids_count = 1;
	buf_init(&answer, 1 << 20);
	if (old->initialized)
		err_set(&err, ERR_INVALID, "this session is initialized already");
	else if (legacy_read_initialize(rpc, &session, &err) == 0)
		legacy_store_session(x, &session, &err);
	if (err.code == ERR_NONE)
		legacy_put_initialize_result(x->w, rpc, &session, &answer);
	else
		rpc_put_error(&answer, rpc->id, &err, NULL);
	message = exchange_message(&answer);
	exchange_finish(x, &message, 1);
	exchange_count(x, "initialize", err.code ? LINK_OUTCOME_ERROR : LINK_OUTCOME_OK);
	x->ids = NULL;
	buf_release(&answer);
	session_release(&session);
}

static void run(struct exchange *x, struct legacy_batch *batch)
{
	struct ask_legacy_taken taken = {0};
	struct session session = {0};
	struct err err = {0};

	if (exchange_await_broker(x, batch->requests > 0, &err) ||
	    legacy_begin(x, batch, LINK_CALL_ON_SESSION_STREAM, &session, &err)) {
		legacy_refuse(x, "", &err);
		return;
	}
	if (x->is_batch && session.initialized && session.revision >= REV_2025_06) { /* DT-121 */
		err_set(&err, ERR_INVALID, "revision %s knows no batches", revision_name(session.revision));
		legacy_refuse(x, "", &err);
	} else if (legacy_take_notifications(x, batch, &err) || ask_legacy_answer(x, batch, &taken, &err)) {
		legacy_refuse(x, "", &err);
	} else {
		exchange_reply(x, 202, NULL, NULL, SLICE(""));
	}
	if (err.code == ERR_NONE && batch->requests) { /* now answers are owed on the stream */
		x->phase = EXCHANGE_ACCEPTED;
		x->stream = x->lcall->session_stream;
		exchange_set_aside(x);
		if (batch->has_initialize)
			run_initialize(x, &batch->items[0], &session);
		else
			legacy_run(x, batch, &session, NULL);
	} else if (batch->requests) { /* refused here, so the will is void: it must not answer on the stream too */
		link_finish(x->w->link, x->lcall, x->lcall->session_stream, NULL, 0, &err);
	}
	ask_legacy_run(x, &session, &taken);
	link_call_end(x->w->link, &x->lcall);
	session_release(&session);
}

void oldsse_post(struct exchange *x)
{
	const char *version = req_env(x->req, "HTTP_MCP_PROTOCOL_VERSION");
	json_object *json = post_read(x);
	struct legacy_batch batch = {0};
	struct rpc rpc;
	struct err err = {0};
	bool is_array;

	if (!json)
		return;
	x->era = ERA_LEGACY;
	is_array = json_object_is_type(json, json_type_array);
	x->is_batch = is_array;
	if (!route_query(x->req, QUERY_NAME, x->session, sizeof(x->session)))
		err_set(&err, ERR_INVALID, "the query has no " QUERY_NAME); /* DT-114 */
	else if (legacy_check_version(version, &err) == 0) {
		if (version && strcmp(version, revision_name(REV_2026_07)) == 0) /* DT-117 */
			err_set(&err, ERR_INVALID, "2026-07-28 is not served at this address");
		else if (is_array ? modern_claim_inside(json)
				  : modern_has_claim(jx_get_object(jx_get_object(json, "params"), "_meta")))
			err_set(&err, ERR_INVALID, "2026-07-28 is not served at this address");
		else if (is_array || rpc_read(json, &rpc, &err) == 0)
			legacy_batch_read(&batch, json, is_array ? NULL : &rpc, (size_t)x->w->cfg.batch_max, &err);
	}
	if (err.code == ERR_NONE)
		run(x, &batch);
	else
		legacy_refuse(x, "", &err);
	legacy_batch_release(&batch);
	json_object_put(json);
}
