/* Shapes are JSON Schema, compiled when they are needed: a question waits for a person or a model anyway. */
#include "config.h"

#include "common/jx.h"
#include "common/rnd.h"
#include "fcgi/ask.h"
#include "fcgi/call_priv.h"
#include "fcgi/schema.h"
#include "common/banned.h"

#define ELICITATION "elicitation/create"
#define SAMPLING    "sampling/createMessage"
#define ROOTS       "roots/list"

#define KEY_MAX 64
#define ID_LEN  32 /* of an elicitationId */

/* JSON Schema as json-c reads it for us: with ' for ". */
/* clang-format off */

/* SA-15: a flat object of primitives. */
static const char form_shape[] =
	"{'type': 'object', 'required': ['message', 'requestedSchema'], 'properties': {"
	"	'mode': {'const': 'form'},"
	"	'message': {'type': 'string'},"
	"	'requestedSchema': {'type': 'object', 'required': ['type', 'properties'], 'properties': {"
	"		'$schema': {'type': 'string'},"
	"		'type': {'const': 'object'},"
	"		'properties': {'type': 'object', 'additionalProperties': {'$ref': '#/$defs/field'}},"
	"		'required': {'$ref': '#/$defs/strings'}}}},"
	"'$defs': {"
	"	'strings': {'type': 'array', 'items': {'type': 'string'}},"
	"	'titled': {'type': 'array', 'items': {'type': 'object', 'required': ['const', 'title'],"
	"		'properties': {'const': {'type': 'string'}, 'title': {'type': 'string'}}}},"
	"	'field': {'type': 'object', 'required': ['type'], 'properties': {"
	"			'type': {'enum': ['string', 'number', 'integer', 'boolean', 'array']},"
	"			'title': {'type': 'string'}, 'description': {'type': 'string'}},"
	"		'allOf': ["
	"			{'if': {'properties': {'type': {'const': 'string'}}}, 'then': {'properties': {"
	"				'default': {'type': 'string'},"
	"				'minLength': {'type': 'integer'}, 'maxLength': {'type': 'integer'},"
	"				'format': {'enum': ['date', 'date-time', 'email', 'uri']},"
	"				'enum': {'$ref': '#/$defs/strings'}, 'enumNames': {'$ref': '#/$defs/strings'},"
	"				'oneOf': {'$ref': '#/$defs/titled'}}}},"
	"			{'if': {'properties': {'type': {'enum': ['number', 'integer']}}}, 'then': {'properties': {"
	"				'default': {'type': 'number'},"
	"				'minimum': {'type': 'number'}, 'maximum': {'type': 'number'}}}},"
	"			{'if': {'properties': {'type': {'const': 'boolean'}}}, 'then': {'properties': {"
	"				'default': {'type': 'boolean'}}}},"
	"			{'if': {'properties': {'type': {'const': 'array'}}}, 'then': {'required': ['items'], 'properties': {"
	"				'default': {'$ref': '#/$defs/strings'},"
	"				'minItems': {'type': 'integer'}, 'maxItems': {'type': 'integer'},"
	"				'items': {'type': 'object', 'properties': {"
	"					'type': {'const': 'string'},"
	"					'enum': {'$ref': '#/$defs/strings'},"
	"					'anyOf': {'$ref': '#/$defs/titled'}},"
	"					'anyOf': [{'required': ['type', 'enum']}, {'required': ['anyOf']}]}}}}]}}}";

static const char url_shape[] =
	"{'type': 'object', 'required': ['mode', 'message', 'url'], 'properties': {"
	"	'mode': {'const': 'url'},"
	"	'message': {'type': 'string'},"
	"	'url': {'type': 'string', 'pattern': '^[A-Za-z][A-Za-z0-9+.-]*:.'},"
	"	'elicitationId': {'type': 'string'}}}";

static const char sampling_shape[] =
	"{'type': 'object', 'required': ['messages', 'maxTokens'], 'properties': {"
	"	'messages': {'type': 'array', 'minItems': 1, 'items': {"
	"		'type': 'object', 'required': ['role', 'content'], 'properties': {"
	"			'role': {'enum': ['user', 'assistant']},"
	"			'content': {'if': {'type': 'array'}, 'then': {'items': {'$ref': '#/$defs/block'}},"
	"				'else': {'$ref': '#/$defs/block'}}}}},"
	"	'maxTokens': {'type': 'integer'},"
	"	'systemPrompt': {'type': 'string'},"
	"	'temperature': {'type': 'number'},"
	"	'stopSequences': {'type': 'array', 'items': {'type': 'string'}},"
	"	'includeContext': {'enum': ['none', 'thisServer', 'allServers']},"
	"	'modelPreferences': {'type': 'object'},"
	"	'metadata': {'type': 'object'},"
	"	'toolChoice': {'type': 'object'},"
	"	'tools': {'type': 'array', 'items': {'type': 'object', 'required': ['name', 'inputSchema'], 'properties': {"
	"		'name': {'type': 'string'}, 'inputSchema': {'type': 'object'}}}}},"
	"'$defs': {'block': {'type': 'object', 'required': ['type'], 'properties': {"
	"		'type': {'enum': ['text', 'image', 'audio', 'tool_use', 'tool_result']}},"
	"	'allOf': ["
	"		{'if': {'properties': {'type': {'const': 'text'}}}, 'then': {"
	"			'required': ['text'], 'properties': {'text': {'type': 'string'}}}},"
	"		{'if': {'properties': {'type': {'enum': ['image', 'audio']}}}, 'then': {"
	"			'required': ['data', 'mimeType'],"
	"			'properties': {'data': {'type': 'string'}, 'mimeType': {'type': 'string'}}}},"
	"		{'if': {'properties': {'type': {'const': 'tool_use'}}}, 'then': {"
	"			'required': ['id', 'name', 'input'], 'properties': {"
	"				'id': {'type': 'string'}, 'name': {'type': 'string'}, 'input': {'type': 'object'}}}},"
	"		{'if': {'properties': {'type': {'const': 'tool_result'}}}, 'then': {"
	"			'required': ['toolUseId', 'content'],"
	"			'properties': {'toolUseId': {'type': 'string'}, 'content': {'type': 'array'}}}}]}}}";

static const char roots_shape[] = "{'type': 'object'}";

/* Answers. */
static const char action_shape[] =
	"{'type': 'object', 'required': ['action'], 'properties': {"
	"	'action': {'enum': ['accept', 'decline', 'cancel']}, 'content': {'type': 'object'}}}";
static const char message_shape[] =
	"{'type': 'object', 'required': ['role', 'content', 'model'], 'properties': {"
	"	'role': {'enum': ['user', 'assistant']}, 'content': {'type': ['object', 'array']}, 'model': {'type': 'string'}}}";
static const char roots_result_shape[] =
	"{'type': 'object', 'required': ['roots'], 'properties': {"
	"	'roots': {'type': 'array', 'items': {'type': 'object', 'required': ['uri'], 'properties': {"
	"		'uri': {'type': 'string'}}}}}}";

/* clang-format on */

bool ask_is_key(const char *key)
{
	size_t len = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	return len > 0 && len <= KEY_MAX && key[len] == '\0';
}

bool ask_is_method(struct slice method)
{
	return slice_is(method, ELICITATION) || slice_is(method, SAMPLING) || slice_is(method, ROOTS);
}

/* ERR_PARAMS: val does not fit schema_doc, and err says where. */
static int check_schema(json_object *schema_doc, json_object *val, struct err *err)
{
	struct schema *schema = schema_new(schema_doc, NULL, err);
	struct buf why;
	int ret;

	if (!schema) {
		if (err->code == ERR_CONFIG)
			err->code = ERR_PARAMS;
		return -1;
	}
	buf_init(&why, sizeof(err->msg));
	ret = schema_check(schema, val, &why, err);
	if (ret && err->code == ERR_PARAMS)
		err_set(err, ERR_PARAMS, "%s", why.data ? why.data : "it does not fit");
	buf_release(&why);
	schema_free(&schema);
	return ret;
}

static int check_shape(const char *shape, json_object *val, struct err *err)
{
	json_object *doc = json_tokener_parse(shape);
	int ret = doc ? check_schema(doc, val, err) : err_set(err, ERR_NOMEM, "shape of a question");

	json_object_put(doc);
	return ret;
}

static bool is_url_mode(json_object *params)
{
	return slice_is(jx_get_str(params, "mode"), "url");
}

/* Blocks of a message's content, which may be one or an array of them. */
static size_t count_blocks(json_object *content)
{
	return json_object_is_type(content, json_type_array) ? json_object_array_length(content) : 1;
}

static json_object *block_at(json_object *content, size_t i)
{
	return json_object_is_type(content, json_type_array) ? json_object_array_get_idx(content, i) : content;
}

static size_t count_type(json_object *content, const char *type)
{
	size_t count = 0;

	for (size_t i = 0; i < count_blocks(content); i++)
		count += slice_is(jx_get_str(block_at(content, i), "type"), type);
	return count;
}

static bool has_result_for(json_object *content, struct slice id)
{
	for (size_t i = 0; i < count_blocks(content); i++) {
		if (slice_eq(jx_get_str(block_at(content, i), "toolUseId"), id))
			return true;
	}
	return false;
}

/* SA-06: each use of a tool has its result in the message right behind, which holds nothing else. */
static int check_tool_uses(json_object *messages, struct err *err)
{
	size_t count = json_object_array_length(messages);
	json_object *before = NULL; /* the message's content */

	for (size_t m = 0; m <= count; m++) {
		json_object *message = m < count ? json_object_array_get_idx(messages, m) : NULL;
		json_object *content = jx_get(message, "content");
		size_t results = content ? count_type(content, "tool_result") : 0;
		size_t uses = before ? count_type(before, "tool_use") : 0;

		if (results && results < count_blocks(content))
			return err_set(err, ERR_PARAMS, "/messages/%zu: beside a tool_result stands nothing else", m);
		if (results != uses)
			return err_set(
			    err, ERR_PARAMS, "/messages/%zu: %zu tool_result after %zu tool_use", m, results, uses);
		for (size_t i = 0; before && i < count_blocks(before); i++) {
			json_object *block = block_at(before, i);

			if (slice_is(jx_get_str(block, "type"), "tool_use") &&
			    !has_result_for(content, jx_get_str(block, "id")))
				return err_set(err, ERR_PARAMS, "/messages/%zu: a tool_use without its tool_result", m);
		}
		before = content;
	}
	return 0;
}

int ask_check(const char *method, json_object *params, struct err *err)
{
	if (strcmp(method, ELICITATION) == 0)
		return check_shape(is_url_mode(params) ? url_shape : form_shape, params, err);
	if (strcmp(method, SAMPLING) == 0)
		return check_shape(sampling_shape, params, err) ? -1 : check_tool_uses(jx_get(params, "messages"), err);
	if (strcmp(method, ROOTS) == 0)
		return params ? check_shape(roots_shape, params, err) : 0;
	return err_set(err, ERR_PARAMS, "a client can be asked " ELICITATION ", " SAMPLING " and " ROOTS);
}

/* What a client can. */

enum ability {
	ABILITY_FORM,
	ABILITY_URL,
	ABILITY_SAMPLING,
	ABILITY_SAMPLING_TOOLS,
	ABILITY_SAMPLING_CONTEXT,
	ABILITY_ROOTS,
	ABILITY__COUNT
};

static const struct {
	const char *word, *member, *below; /* below NULL: the member alone says it */
} abilities[] = {
    [ABILITY_FORM] = {"elicitation", "elicitation", NULL},
    [ABILITY_URL] = {"elicitation.url", "elicitation", "url"},
    [ABILITY_SAMPLING] = {"sampling", "sampling", NULL},
    [ABILITY_SAMPLING_TOOLS] = {"sampling.tools", "sampling", "tools"},
    [ABILITY_SAMPLING_CONTEXT] = {"sampling.context", "sampling", "context"},
    [ABILITY_ROOTS] = {"roots", "roots", NULL},
};

static bool has_ability(const struct call *call, enum ability a)
{
	json_object *member = jx_get_object(call->capabilities, abilities[a].member);

	if (!call->priv->may_ask || !member)
		return false;
	if (a == ABILITY_FORM) /* SA-11: {} means form; so does a revision without modes */
		return call->revision == REV_2025_06 ||
		       (call->revision > REV_2025_06 && (jx_has(member, "form") || !jx_has(member, "url")));
	if (a == ABILITY_SAMPLING_CONTEXT && call->revision < REV_2025_11)
		return true; /* nobody had to declare it */
	return !abilities[a].below || (call->revision >= REV_2025_11 && jx_get_object(member, abilities[a].below));
}

void ask_put_abilities(const struct call *call, struct buf *out)
{
	const char *blank = "";

	for (int a = 0; a < ABILITY__COUNT; a++) {
		if (!has_ability(call, (enum ability)a))
			continue;
		buf_addf(out, "%s%s", blank, abilities[a].word);
		blank = " ";
	}
}

static int need(const struct call *call, enum ability a, json_object **required, struct err *err)
{
	json_object *inner;

	if (has_ability(call, a))
		return 0;
	inner = json_object_new_object();
	if (abilities[a].below && jx_add(inner, abilities[a].below, json_object_new_object(), err)) {
		json_object_put(inner);
		return -1;
	}
	*required = json_object_new_object();
	if (jx_add(*required, abilities[a].member, inner, err))
		return -1;
	return err_set(err, ERR_CAPABILITY,
	    call->priv->may_ask ? "this client can't be asked: %s" : "no client can be asked here: %s",
	    abilities[a].word);
}

/* [{"const": C, "title": T}] as the enum and enumNames of older revisions. */
static int untitle(json_object *field, struct err *err)
{
	json_object *titled = jx_get_array(field, "oneOf"), *values, *names;
	int bad = 0;

	if (!titled)
		return 0;
	values = json_object_new_array();
	names = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(titled); i++) {
		json_object *item = json_object_array_get_idx(titled, i);

		bad |= jx_append(values, json_object_get(jx_get(item, "const")), err);
		bad |= jx_append(names, json_object_get(jx_get(item, "title")), err);
	}
	bad |= jx_add(field, "enum", values, err);
	bad |= jx_add(field, "enumNames", names, err);
	json_object_object_del(field, "oneOf");
	return bad;
}

static int fit_elicitation(const struct call *call, json_object *params, json_object **required, struct err *err)
{
	json_object *fields = jx_get_object(jx_get_object(params, "requestedSchema"), "properties");

	if (is_url_mode(params)) {
		char id[ID_LEN + 1];

		if (need(call, ABILITY_URL, required, err))
			return -1;
		if (call->revision == REV_2025_11 && !jx_has(params, "elicitationId")) {
			rnd_token(id, sizeof(id));
			return jx_add_str(params, "elicitationId", id, err);
		}
		if (call->revision > REV_2025_11)
			json_object_object_del(params, "elicitationId");
		return 0;
	}
	if (need(call, ABILITY_FORM, required, err))
		return -1;
	if (call->revision > REV_2025_06)
		return 0;
	json_object_object_del(params, "mode");
	json_object_object_foreach(fields, name, field) {
		if (slice_is(jx_get_str(field, "type"), "array"))
			return err_set(
			    err, ERR_CAPABILITY, "field %.100s: this client's revision knows no multiple choice", name);
		if (untitle(field, err))
			return -1;
	}
	return 0;
}

/* SA-24: one block a message, and no audio in the first revision. */
static int fit_messages(const struct call *call, json_object *messages, struct err *err)
{
	for (size_t i = 0; call->revision < REV_2025_11 && i < json_object_array_length(messages); i++) {
		json_object *message = json_object_array_get_idx(messages, i), *content = jx_get(message, "content");

		if (count_blocks(content) != 1)
			return err_set(
			    err, ERR_CAPABILITY, "this client's revision takes one block of content a message");
		if (call->revision == REV_2024_11 && count_type(content, "audio"))
			return err_set(err, ERR_CAPABILITY, "this client's revision knows no audio");
		if (json_object_is_type(content, json_type_array) &&
		    jx_add(message, "content", json_object_get(block_at(content, 0)), err))
			return -1;
	}
	return 0;
}

static int fit_sampling(const struct call *call, json_object *params, json_object **required, struct err *err)
{
	struct slice context = jx_get_str(params, "includeContext");

	if (need(call, ABILITY_SAMPLING, required, err))
		return -1;
	if ((jx_has(params, "tools") || jx_has(params, "toolChoice")) &&
	    need(call, ABILITY_SAMPLING_TOOLS, required, err))
		return -1;
	if (context.p && !slice_is(context, "none") && need(call, ABILITY_SAMPLING_CONTEXT, required, err))
		return -1;
	return fit_messages(call, jx_get(params, "messages"), err);
}

int ask_prepare(const struct call *call, const char *method, json_object *params, json_object **out,
    json_object **required, struct err *err)
{
	int ret;

	*out = *required = NULL;
	if (ask_check(method, params, err))
		return -1;
	if (params ? json_object_deep_copy(params, out, NULL) : !(*out = json_object_new_object())) {
		*out = NULL;
		return err_set(err, ERR_NOMEM, "question");
	}
	if (strcmp(method, ELICITATION) == 0)
		ret = fit_elicitation(call, *out, required, err);
	else if (strcmp(method, SAMPLING) == 0)
		ret = fit_sampling(call, *out, required, err);
	else
		ret = need(call, ABILITY_ROOTS, required, err);
	if (ret) {
		json_object_put(*out);
		*out = NULL;
	}
	return ret;
}

/* ERR_PARAMS: val is no answer. */
static int check_answer(struct slice method, json_object *schema, json_object *val, struct err *err)
{
	json_object *content, *none = NULL;
	int ret;

	if (slice_is(method, SAMPLING))
		return check_shape(message_shape, val, err);
	if (slice_is(method, ROOTS))
		return check_shape(roots_result_shape, val, err);
	ret = check_shape(action_shape, val, err);
	if (ret || !schema || !slice_is(jx_get_str(val, "action"), "accept"))
		return ret;
	content = jx_get(val, "content"); /* SA-16 */
	if (!content)
		content = none = json_object_new_object();
	ret = content ? check_schema(schema, content, err) : err_set(err, ERR_NOMEM, "answer");
	json_object_put(none);
	return ret;
}

int ask_is_answer(struct slice method, json_object *schema, json_object *val, struct err *err)
{
	struct err why = {0};

	if (check_answer(method, schema, val, &why) == 0)
		return 1;
	if (why.code == ERR_PARAMS || why.code == ERR_LIMIT)
		return 0;
	*err = why;
	return -1;
}
