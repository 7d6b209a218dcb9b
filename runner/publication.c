#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/level.h"
#include "fcgi/topic.h"
#include "runner/publication.h"
#include "runner/reporter.h"
#include "common/banned.h"

#define DEPTH_MAX   64
#define MEMBERS_MAX (1u << 20) /* bytes of a notification's params */

struct publication {
	const struct worker *w; /* borrowed */
	json_object *root;      /* owned */
	struct topic_to to;
	struct publication_outcome outcome;
};

/* ERR_PARAMS: "WHERE: no such WHAT "NAME"; did you mean "NEAR"?" names end with NULL. */
static int refuse_name(const char *where, const char *what, const char *name, const char *const *names, struct err *err)
{
	const char *near = cfg_nearest(name, names);

	return err_set(err, ERR_PARAMS, "%s: no such %s \"%.100s\"%s%.100s%s", where, what, name,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int check_members(json_object *obj, const char *where, const char *const *known, struct err *err)
{
	json_object_object_foreach(obj, name, val) {
		size_t i = 0;

		(void)val;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (!known[i])
			return refuse_name(where, "member", name, known, err);
	}
	return 0;
}

/* --- a resource --- */

static int refuse_resource(const struct resourceset *set, struct slice uri, struct err *err)
{
	const char **uris = mem_alloc(set->fixed_count + set->templates_count + 1, sizeof(*uris));
	size_t n = 0;

	if (!uris)
		return err_set(err, ERR_NOMEM, "names of resources");
	for (size_t i = 0; i < set->fixed_count; i++)
		uris[n++] = set->fixed[i].uri;
	for (size_t i = 0; i < set->templates_count; i++)
		uris[n++] = set->templates[i].uri;
	refuse_name("resource", "resource of this site", uri.p, uris, err);
	mem_free(uris);
	return -1;
}

static int send_resource(struct publication *p, json_object *val, struct err *err)
{
	struct slice uri = jx_str(val);
	json_object *vars = NULL;
	const struct resource *resource;

	if (uri.len == 0)
		return err_set(err, ERR_PARAMS, "resource must be the URI of one, as a string");
	resource = resourceset_find(&p->w->resources, uri, &vars, err);
	json_object_put(vars);
	if (!resource)
		return err->code == ERR_NOT_FOUND ? refuse_resource(&p->w->resources, uri, err) : -1;
	return topic_publish_resource(p->w->link, uri, &p->to, &p->outcome.reached, err);
}

/* --- lists --- */

/* -1: *err, about the member of that number. */
static int find_list(const struct publication *p, json_object *val, size_t number, struct err *err)
{
	const char *names[TOPIC_LIST__COUNT + 1] = {0};
	struct slice name = jx_str(val);
	char where[32];

	snprintf(where, sizeof(where), "lists[%zu]", number);
	if (!name.p)
		return err_set(err, ERR_PARAMS, "%s must be a string: tools, prompts or resources", where);
	for (int i = 0; i < TOPIC_LIST__COUNT; i++) {
		enum topic_list list = (enum topic_list)i;

		names[i] = topic_list_name(list).p;
		if (!slice_is(name, names[i]))
			continue;
		if (topic_list_offered(p->w, list))
			return i;
		return err_set(
		    err, ERR_PARAMS, "%s: this site has no %s, so no client has a list of them", where, names[i]);
	}
	return refuse_name(where, "list", name.p, names, err);
}

static int send_lists(struct publication *p, json_object *val, struct err *err)
{
	bool is_named[TOPIC_LIST__COUNT] = {0};
	uint64_t reached = 0;
	size_t count;

	if (!json_object_is_type(val, json_type_array) || json_object_array_length(val) == 0)
		return err_set(err, ERR_PARAMS, "lists must be an array of names: tools, prompts, resources");
	count = json_object_array_length(val);
	for (size_t i = 0; i < count; i++) {
		int list = find_list(p, json_object_array_get_idx(val, i), i, err);

		if (list < 0)
			return -1;
		is_named[list] = true;
	}
	for (int i = 0; i < TOPIC_LIST__COUNT; i++) {
		if (is_named[i] && topic_publish_list(p->w->link, (enum topic_list)i, &p->to, &reached, err))
			return -1;
		p->outcome.reached += is_named[i] ? reached : 0;
	}
	return 0;
}

/* --- a log line --- */

static void put_member(struct buf *out, const char *name, json_object *val)
{
	buf_addf(out, "%s\"%s\":", out->len ? "," : "", name);
	jx_write(out, val);
}

static int send_log(struct publication *p, json_object *val, struct err *err)
{
	static const char *const known[] = {"level", "logger", "data", NULL};
	static const char levels[] = "debug, info, notice, warning, error, critical, alert or emergency";
	struct slice name = jx_get_str(val, "level");
	int level = level_find(name), ret;
	struct buf members;

	if (!json_object_is_type(val, json_type_object))
		return err_set(err, ERR_PARAMS, "log must be an object: {\"level\": \"info\", \"data\": ...}");
	if (check_members(val, "log", known, err))
		return -1;
	if (level < 0)
		return err_set(err, ERR_PARAMS, "log.level must be %s, not \"%.20s\"", levels, name.p ? name.p : "");
	if (!jx_has(val, "data"))
		return err_set(err, ERR_PARAMS, "log.data is missing: what there is to say, of any type");
	if (jx_has(val, "logger") && !jx_get_str(val, "logger").p)
		return err_set(err, ERR_PARAMS, "log.logger must be a string");
	buf_init(&members, MEMBERS_MAX);
	put_member(&members, "level", jx_get(val, "level"));
	if (jx_has(val, "logger"))
		put_member(&members, "logger", jx_get(val, "logger"));
	put_member(&members, "data", jx_get(val, "data"));
	ret = buf_check(&members, err);
	if (ret == 0)
		ret = topic_publish_line(
		    p->w->link, (enum mcp_level)level, buf_slice(&members), &p->to, &p->outcome.reached, err);
	buf_release(&members);
	return ret;
}

/* --- progress of a call --- */

static int check_progress(const struct publication *p, json_object *val, struct err *err)
{
	static const char *const known[] = {"call", "progress", "total", "message", NULL};

	if (!json_object_is_type(val, json_type_object))
		return err_set(err, ERR_PARAMS,
		    "progress must be an object: {\"call\": what is in MCP_CALL, \"progress\": 1, \"total\": 3}");
	if (check_members(val, "progress", known, err))
		return -1;
	if (p->to.session.len || p->to.principal.len)
		return err_set(
		    err, ERR_PARAMS, "progress is for the client of its call: session and principal say nothing");
	if (!jx_get_str(val, "call").p)
		return err_set(err, ERR_PARAMS, "progress.call is missing: what the tool finds in MCP_CALL");
	if (!jx_is_number(jx_get(val, "progress")))
		return err_set(err, ERR_PARAMS, "progress.progress must be a number");
	if (jx_has(val, "total") && !jx_is_number(jx_get(val, "total")))
		return err_set(err, ERR_PARAMS, "progress.total must be a number");
	if (jx_has(val, "message") && !jx_get_str(val, "message").p)
		return err_set(err, ERR_PARAMS, "progress.message must be a string");
	return 0;
}

static void put_params(struct buf *out, json_object *val)
{
	static const char *const names[] = {"progress", "total", "message"};
	struct buf members;

	buf_init(&members, out->max);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (jx_has(val, names[i]))
			put_member(&members, names[i], jx_get(val, names[i]));
	}
	buf_adds(out, "{");
	buf_add_slice(out, buf_slice(&members));
	buf_adds(out, "}");
	if (members.fault)
		out->fault = members.fault;
	buf_release(&members);
}

static void take_fate(struct publication_outcome *outcome, enum report_fate fate)
{
	outcome->reached = fate == REPORT_SENT;
	if (fate == REPORT_UNASKED)
		outcome->why = "the client of this call asked for no progress";
	else if (fate == REPORT_NOT_MORE)
		outcome->why = "progress has to grow, and this is not more than before";
	else if (fate == REPORT_UNHEARD)
		outcome->why = "the client of this call gets one JSON object, and nothing before it";
}

static int send_progress(struct publication *p, json_object *val, struct err *err)
{
	enum report_fate fate;
	struct buf params;
	int ret;

	if (check_progress(p, val, err))
		return -1;
	buf_init(&params, REPORT_MAX_BYTES);
	put_params(&params, val);
	if (params.fault == ERR_TOO_BIG)
		ret = err_set(err, ERR_TOO_BIG, "progress: more than %d bytes", REPORT_MAX_BYTES);
	else
		ret = buf_check(&params, err);
	if (ret == 0)
		ret = reporter_send(&p->w->cfg, jx_get_str(val, "call"), buf_slice(&params), &fate, err);
	if (ret == 0)
		take_fate(&p->outcome, fate);
	buf_release(&params);
	return ret;
}

/* --- whom it is for --- */

static int read_session(struct publication *p, struct err *err)
{
	struct slice id = jx_get_str(p->root, "session");

	if (!jx_has(p->root, "session"))
		return 0;
	if (id.len < TOPIC_SESSION_MIN || id.len > LINK_KEY_MAX)
		return err_set(err, ERR_PARAMS,
		    "session must be a session's id, or its first characters, %d or more: \"mcpctl sessions\" lists "
		    "them",
		    TOPIC_SESSION_MIN);
	p->to.session = id;
	return 0;
}

static int refuse_principal(const struct keys *keys, struct slice name, struct err *err)
{
	const char **names = mem_alloc(keys->count + 1, sizeof(*names));

	if (!names)
		return err_set(err, ERR_NOMEM, "names of principals");
	for (size_t i = 0; i < keys->count; i++)
		names[i] = keys_principal(keys, i);
	refuse_name("principal", "principal", name.p, names, err);
	mem_free(names);
	return -1;
}

static int read_principal(struct publication *p, struct err *err)
{
	struct slice name = jx_get_str(p->root, "principal");
	const struct keys *keys = &p->w->keys;

	if (!jx_has(p->root, "principal"))
		return 0;
	if (name.len == 0)
		return err_set(err, ERR_PARAMS, "principal must be the name of a key's holder, as a string");
	if (keys->count == 0)
		return err_set(err, ERR_PARAMS,
		    "principal: this site asks for no keys (auth_api_keys_file), so its clients have no names");
	for (size_t i = 0; i < keys->count; i++) {
		if (slice_is(name, keys_principal(keys, i))) {
			p->to.principal = name;
			return 0;
		}
	}
	return refuse_principal(keys, name, err);
}

/* --- all of it --- */

static const struct {
	const char *member;
	int (*send)(struct publication *p, json_object *val, struct err *err);
} kinds[] = {
    {"resource", send_resource},
    {"lists", send_lists},
    {"log", send_log},
    {"progress", send_progress},
};

static int send_kind(struct publication *p, struct err *err)
{
	static const char *const known[] = {"resource", "lists", "log", "progress", "session", "principal", NULL};
	size_t found = COUNT_OF(kinds);

	if (check_members(p->root, "body", known, err))
		return -1;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (!jx_has(p->root, kinds[i].member))
			continue;
		if (found < COUNT_OF(kinds))
			return err_set(err, ERR_PARAMS, "%s and %s in one body: they are two publications",
			    kinds[found].member, kinds[i].member);
		found = i;
	}
	if (found == COUNT_OF(kinds))
		return err_set(err, ERR_PARAMS, "nothing to publish: resource, lists, log or progress is needed");
	if (read_session(p, err) || read_principal(p, err))
		return -1;
	return kinds[found].send(p, jx_get(p->root, kinds[found].member), err);
}

int publication_send(const struct worker *w, struct slice text, struct publication_outcome *outcome, struct err *err)
{
	struct publication p = {.w = w, .root = jx_parse(text, DEPTH_MAX, err)};
	int ret = -1;

	if (p.root && json_object_is_type(p.root, json_type_object))
		ret = send_kind(&p, err);
	else if (p.root)
		err_set(err, ERR_PARAMS, "body must be a JSON object");
	json_object_put(p.root);
	*outcome = p.outcome;
	return ret;
}
