#include "config.h"

#include "common/jx.h"
#include "common/log.h"
#include "fcgi/capabilities.h"
#include "fcgi/level.h"
#include "fcgi/method_completion.h"
#include "fcgi/method_prompts.h"
#include "fcgi/method_resources.h"
#include "fcgi/method_tasks.h"
#include "fcgi/method_tools.h"
#include "fcgi/result.h"
#include "fcgi/revision.h"
#include "fcgi/worker.h"
#include "common/banned.h"

typedef int handler(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err);

/* What a modern result needs beside the handler's members. */
enum needs {
	NEEDS_META,
	NEEDS_HINTS,   /* _meta, and ttlMs and cacheScope (CA-01) */
	NEEDS_NOTHING, /* the handler writes them itself, because its result may have some */
};

struct method {
	const char *name;
	unsigned eras; /* bit per enum era */
	enum capability capability;
	enum needs needs;
	bool may_ask;  /* MR-01 */
	bool may_last; /* programs may run for it */
	handler *handle;
};

static int ping(struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	(void)call, (void)rpc, (void)session, (void)out, (void)err;
	return 0;
}

static int discover(struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	(void)rpc, (void)session, (void)err;
	buf_adds(out, "\"supportedVersions\":" REVISION_LIST_JSON ",\"capabilities\":");
	capabilities_put(out, call->w, REV_2026_07);
	if (call->cfg->server_instructions[0]) {
		buf_adds(out, ",\"instructions\":");
		jx_write_str(out, slice_str(call->cfg->server_instructions));
	}
	return 0;
}

/* The level is part of the session: the caller stores it when it changed. */
static int set_level(
    struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	int level = level_find(jx_get_str(rpc->params, "level"));

	(void)call, (void)out;
	if (level < 0)
		return err_set(err, ERR_PARAMS,
		    "level must be one of debug, info, notice, warning, error, critical, alert, emergency");
	session->log_level = level;
	return 0;
}

#define BOTH   (1u << ERA_LEGACY | 1u << ERA_MODERN)
#define LEGACY (1u << ERA_LEGACY)
#define MODERN (1u << ERA_MODERN)

static const struct method methods[] = {
    {"tools/call", BOTH, CAPABILITY_TOOLS, NEEDS_NOTHING, true, true, method_tools_call},
    {"tools/list", BOTH, CAPABILITY_TOOLS, NEEDS_HINTS, false, false, method_tools_list},
    {"resources/read", BOTH, CAPABILITY_RESOURCES, NEEDS_NOTHING, true, true, method_resources_read},
    {"resources/list", BOTH, CAPABILITY_RESOURCES, NEEDS_HINTS, false, false, method_resources_list},
    {"resources/templates/list", BOTH, CAPABILITY_RESOURCES, NEEDS_HINTS, false, false, method_resources_templates},
    {"resources/subscribe", LEGACY, CAPABILITY_RESOURCES, NEEDS_META, false, false, method_resources_subscribe},
    {"resources/unsubscribe", LEGACY, CAPABILITY_RESOURCES, NEEDS_META, false, false, method_resources_unsubscribe},
    {"prompts/get", BOTH, CAPABILITY_PROMPTS, NEEDS_NOTHING, true, true, method_prompts_get},
    {"prompts/list", BOTH, CAPABILITY_PROMPTS, NEEDS_HINTS, false, false, method_prompts_list},
    {"completion/complete", BOTH, CAPABILITY_COMPLETIONS, NEEDS_META, false, true, method_complete},
    {"tasks/get", BOTH, CAPABILITY_TASKS, NEEDS_META, false, false, method_tasks_get},
    {"tasks/cancel", BOTH, CAPABILITY_TASKS, NEEDS_META, false, false, method_tasks_cancel},
    {"tasks/result", LEGACY, CAPABILITY_TASKS, NEEDS_META, true, true, method_tasks_result},
    {"tasks/list", LEGACY, CAPABILITY_TASKS, NEEDS_META, false, false, method_tasks_list},
    {"tasks/update", MODERN, CAPABILITY_TASKS, NEEDS_META, false, false, method_tasks_update},
    {"server/discover", MODERN, CAPABILITY_CORE, NEEDS_HINTS, false, false, discover},
    {"ping", LEGACY, CAPABILITY_CORE, NEEDS_META, false, false, ping},
    {"logging/setLevel", LEGACY, CAPABILITY_LOGGING, NEEDS_META, false, false, set_level},
};

const struct method *method_find(const struct worker *w, enum era era, struct slice name)
{
	for (size_t i = 0; i < COUNT_OF(methods); i++) {
		if (methods[i].eras & 1u << era && slice_is(name, methods[i].name))
			return capabilities_offered(w, methods[i].capability) ? &methods[i] : NULL;
	}
	return NULL;
}

int method_read_call(const struct rpc *rpc, struct slice *name, json_object **args, struct err *err)
{
	json_object *given = jx_get(rpc->params, "arguments");

	*name = jx_get_str(rpc->params, "name");
	if (!name->p)
		return err_set(err, ERR_PARAMS, "params.name must be a string");
	if (given ? !json_object_is_type(given, json_type_object) : jx_has(rpc->params, "arguments"))
		return err_set(err, ERR_PARAMS, "params.arguments must be an object");
	*args = given ? json_object_get(given) : json_object_new_object();
	return *args ? 0 : err_set(err, ERR_NOMEM, "no memory for arguments");
}

bool method_may_ask(const struct method *m)
{
	return m->may_ask;
}

/* CA-03: "public" would let anybody have what only holders of a key may see. No list depends on who asks. */
void method_put_cache_hints(struct buf *out, const struct call *call, int64_t ttl_ms)
{
	buf_addf(out, "\"ttlMs\":%lld,\"cacheScope\":\"%s\",", (long long)ttl_ms,
	    call->w->keys.count ? "private" : "public");
}

/* What the era puts before the handler's members. */
static void put_era_members(const struct method *m, const struct call *call, struct buf *out)
{
	if (call->era == ERA_LEGACY)
		return;
	if (m->needs == NEEDS_HINTS)
		method_put_cache_hints(out, call, call->cfg->cache_ttl_ms);
	buf_adds(out, call->priv->is_task ? "\"resultType\":\"task\"" : "\"resultType\":\"complete\"");
	if (m->needs != NEEDS_NOTHING)
		buf_addf(out, ",\"_meta\":{\"" RESULT_SERVER_INFO "\":%s}", call->w->server_info);
}

void method_put_error(const struct call *call, const struct rpc *rpc, const struct err *err, struct buf *out)
{
	struct buf data;

	buf_init(&data, METHOD_ANSWER_MAX);
	if (call->priv->error_data)
		jx_write(&data, call->priv->error_data);
	rpc_put_error(out, rpc->id, err, data.len && !data.fault ? data.data : NULL);
	buf_release(&data);
}

static int run(const struct method *m, struct call *call, const struct rpc *rpc, struct session *session,
    struct buf *out, struct err *err)
{
	struct buf members;
	int ret;

	buf_init(&members, METHOD_ANSWER_MAX);
	call->priv->may_ask = call->priv->may_ask && m->may_ask;
	ret = m->may_last ? worker_check_calls(call->w, call->owner, err) : 0;
	if (ret == 0)
		ret = m->handle(call, rpc, session, &members, err);
	if (ret == 0 && call_is_asking(call)) {
		ret = 1;
	} else if (ret == 0) {
		rpc_put_result_head(out, rpc->id);
		put_era_members(m, call, out);
		buf_adds(out, call->era == ERA_MODERN && members.len ? "," : "");
		buf_add_slice(out, buf_slice(&members));
		buf_adds(out, "}}");
		ret = buf_check(&members, err) || buf_check(out, err) ? -1 : 0;
	}
	buf_release(&members);
	if (ret != -1) {
		*err = (struct err){0}; /* what failed on the way was dealt with */
		return ret;
	}
	if (err->code == ERR_CANCELLED)
		return -1;
	if (err->code >= ERR_CONFIG)
		LOG(WARN, "call.failed", "method=%s why=\"%s\"", m->name, err->msg);
	buf_clear(out);
	method_put_error(call, rpc, err, out);
	return 0;
}

int method_run(const struct method *m, struct call *call, const struct rpc *rpc, struct session *session,
    struct buf *out, struct err *err)
{
	uint64_t begun_us = now_us();
	int ret = run(m, call, rpc, session, out, err);
	enum link_outcome outcome = ret == 1    ? LINK_OUTCOME_ASKED
				    : ret == -1 ? LINK_OUTCOME_CANCELLED
				    : err->code ? LINK_OUTCOME_ERROR
						: LINK_OUTCOME_OK;

	link_count(call->w->link, m->name, outcome, now_us() - begun_us);
	return ret;
}
