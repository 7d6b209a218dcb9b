/* Resources and prompts that need no program: their texts stand in the configuration.
 *
 *   resources   {"text": "..."} or {"base64": "..."}. The text of a URI template has {variables}; where its
 *               mime_type is JSON they are escaped, so that they stay inside their strings. The text of one URI is
 *               taken as it is.
 *   prompts     {"text": "Hello {name}"}, one message that the user says, or {"messages": [{"role", "content"}]},
 *               with {arguments} in any string. An optional argument that is missing is empty.
 *
 * Three providers, for three members of a definition choose them. */
#include "config.h"

#include "common/base64.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/content.h"
#include "fcgi/placeholder.h"
#include "fcgi/provider.h"
#include "fcgi/result.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

#define VALUES_GROWTH 16 /* times that a text of the configuration may name its longest value: a ceiling, not a goal   \
			  */

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "template");
}

/* All placeholders of a text. */
static int check_text(const char *text, bool (*is_known)(const void *arg, struct slice name), const void *arg,
    struct cfg *cfg, const char *pointer, const char *member)
{
	struct slice part;
	size_t at = 0;

	while (text[at]) {
		int kind = placeholder_next(text, &at, &part);

		if (kind == -1)
			return cfg_complain_at(cfg, pointer, member, "%s", PLACEHOLDER_SYNTAX);
		if (kind == 1 && !is_known(arg, part))
			return cfg_complain_at(cfg, pointer, member, "there is no {%.*s} to put in here",
			    part.len > 100 ? 100 : (int)part.len, part.p);
	}
	return 0;
}

/* A string member without NULs, or a complaint. */
static const char *read_string(json_object *def, const char *member, struct cfg *cfg, const char *pointer)
{
	struct slice text = jx_get_str(def, member);

	if (text.p && strlen(text.p) == text.len)
		return text.p;
	cfg_complain_at(cfg, pointer, member, "%s must be a string", member);
	return NULL;
}

/* What values can make of a text. */
static size_t expanded_max(const char *text, const struct call *call)
{
	return strlen(text) + VALUES_GROWTH * (size_t)call->cfg->body_max_bytes;
}

/* Resources: priv is the text, borrowed from the configuration. */

static bool is_variable(const void *arg, struct slice name)
{
	return uri_template_has_variable(((const struct resource *)arg)->template, name);
}

static int set_default_type(struct resource *resource, const char *type, struct err *err)
{
	if (!resource->mime_type)
		resource->mime_type = mem_dup(type, strlen(type));
	return resource->mime_type ? 0 : out_of_memory(err);
}

static int text_init(struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *text = read_string(def, "text", cfg, pointer);

	if (!text || set_default_type(resource, "text/plain", err))
		return -1;
	if (resource->template && check_text(text, is_variable, resource, cfg, pointer, "text"))
		return -1;
	if (!resource->template)
		resource->size_bytes = (int64_t)strlen(text);
	resource->ttl_ms = cfg->cache_ttl_ms;
	resource->priv = (void *)(uintptr_t)text;
	return 0;
}

static int base64_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *text = read_string(def, "base64", cfg, pointer);
	struct buf bytes;
	int ret = 0;

	if (!text || set_default_type(resource, "application/octet-stream", err))
		return -1;
	buf_init(&bytes, strlen(text) + 1);
	if (!base64_decode(&bytes, BASE64_PADDED, slice_str(text)))
		ret =
		    cfg_complain_at(cfg, pointer, "base64", "base64 must be that encoding of something, with padding");
	else
		ret = buf_check(&bytes, err);
	resource->size_bytes = (int64_t)bytes.len;
	resource->ttl_ms = cfg->cache_ttl_ms;
	resource->priv = (void *)(uintptr_t)text;
	buf_release(&bytes);
	return ret;
}

static void nothing_to_release(struct resource *resource)
{
	resource->priv = NULL;
}

/* Appends one object with text as its member. */
static int add_contents(json_object *contents, const char *member, struct slice text, struct err *err)
{
	json_object *object = json_object_new_object();
	int bad = jx_add(object, member, jx_new_str(text), err);

	return jx_append(contents, object, err) | bad;
}

static int text_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	const char *text = resource->priv;
	struct buf out;
	int ret;

	(void)uri;
	if (!resource->template)
		return add_contents(contents, "text", slice_str(text), err);
	buf_init(&out, expanded_max(text, call));
	placeholder_expand(&out, text, vars, content_is_json(slice_str(resource->mime_type)));
	ret = buf_check(&out, err);
	if (ret == 0)
		ret = add_contents(contents, "text", buf_slice(&out), err);
	buf_release(&out);
	return ret;
}

static int base64_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err)
{
	(void)call, (void)uri, (void)vars;
	return add_contents(contents, "blob", slice_str(resource->priv), err);
}

/* Prompts: priv is the text, or the array of messages, borrowed from the configuration. */

static bool is_argument(const void *arg, struct slice name)
{
	return arguments_find(&((const struct prompt *)arg)->arguments, name) != NULL;
}

static int prompt_text_init(
    struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *text = read_string(def, "text", cfg, pointer);

	(void)err;
	if (!text || check_text(text, is_argument, prompt, cfg, pointer, "text"))
		return -1;
	prompt->priv = (void *)(uintptr_t)text;
	return 0;
}

/* Every string in val. *has_any: one has a placeholder. */
static int check_strings(
    const struct prompt *prompt, json_object *val, bool *has_any, struct cfg *cfg, const char *pointer)
{
	struct slice text = jx_str(val);
	int bad = 0;

	if (text.p) {
		*has_any = *has_any || strchr(text.p, '{');
		if (strlen(text.p) != text.len)
			return cfg_complain_at(cfg, pointer, "messages", "a string holds a NUL");
		return check_text(text.p, is_argument, prompt, cfg, pointer, "messages");
	}
	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, member) {
			(void)name;
			bad |= check_strings(prompt, member, has_any, cfg, pointer);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++)
			bad |= check_strings(prompt, json_object_array_get_idx(val, i), has_any, cfg, pointer);
	} else if (!val) {
		bad = cfg_complain_at(cfg, pointer, "messages", "messages hold no null");
	}
	return bad;
}

static int messages_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	json_object *messages = jx_get(def, "messages");
	bool has_any = false;
	struct err why;

	(void)err;
	if (check_strings(prompt, messages, &has_any, cfg, pointer))
		return -1;
	if (result_check_messages(messages, has_any, &why))
		return cfg_complain_at(cfg, pointer, "messages", "%s", why.msg);
	prompt->priv = messages;
	return 0;
}

static void no_prompt_to_release(struct prompt *prompt)
{
	prompt->priv = NULL;
}

static int prompt_text_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	struct buf out;

	buf_init(&out, expanded_max(prompt->priv, call));
	placeholder_expand(&out, prompt->priv, args, false);
	*result = buf_check(&out, err) ? NULL : result_new_prompt(buf_slice(&out), err);
	buf_release(&out);
	return *result ? 0 : -1;
}

/* A copy of val with arguments in its strings. NULL: no memory, or too big. val is other threads' too: it is only
 * read. */
static json_object *expand(struct call *call, json_object *val, json_object *args, struct err *err)
{
	struct slice text = jx_str(val);
	json_object *copy = NULL;
	struct buf out;
	int bad = 0;

	if (json_object_is_type(val, json_type_object)) {
		copy = json_object_new_object();
		json_object_object_foreach(val, name, member) {
			bad |= jx_add(copy, name, expand(call, member, args, err), err);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		copy = json_object_new_array();
		for (size_t i = 0; i < json_object_array_length(val); i++)
			bad |= jx_append(copy, expand(call, json_object_array_get_idx(val, i), args, err), err);
	} else {
		buf_init(&out, text.p ? expanded_max(text.p, call) : expanded_max("", call));
		if (text.p)
			placeholder_expand(&out, text.p, args, false);
		else
			jx_write(&out, val);
		bad = buf_check(&out, err);
		if (bad == 0 && text.p)
			copy = jx_new_str(buf_slice(&out));
		else if (bad == 0)
			copy = jx_parse(buf_slice(&out), 1, err);
		buf_release(&out);
	}
	if (!bad)
		return copy;
	json_object_put(copy);
	return NULL;
}

static int messages_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err)
{
	json_object *messages = expand(call, prompt->priv, args, err);
	struct err why;

	*result = NULL;
	if (!messages)
		return -1;
	/* Checked when the configuration was read, but for what the arguments have become. */
	if (result_check_messages(messages, false, &why)) {
		json_object_put(messages);
		return err_set(err, ERR_PARAMS, "arguments of %s don't fit: %s", prompt->name, why.msg);
	}
	*result = json_object_new_object();
	if (jx_add(*result, "messages", messages, err) == 0)
		return 0;
	json_object_put(*result);
	*result = NULL;
	return -1;
}

static const char *const members[] = {NULL};

const struct provider provider_text = {
    .name = "text",
    .resource_members = members,
    .resource_init = text_init,
    .resource_release = nothing_to_release,
    .read = text_read,
    .prompt_members = members,
    .prompt_init = prompt_text_init,
    .prompt_release = no_prompt_to_release,
    .get = prompt_text_get,
};

const struct provider provider_base64 = {
    .name = "base64",
    .resource_members = members,
    .resource_init = base64_init,
    .resource_release = nothing_to_release,
    .read = base64_read,
};

const struct provider provider_messages = {
    .name = "messages",
    .prompt_members = members,
    .prompt_init = messages_init,
    .prompt_release = no_prompt_to_release,
    .get = messages_get,
};
