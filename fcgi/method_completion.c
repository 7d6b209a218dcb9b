/* What is suggested: candidates that begin with what was typed, then those that begin with it when case does not count,
 * then those that hold it, then those that hold its letters in this order (CM-03); among equals as their author wrote
 * them. */
#include "config.h"

#include <stdlib.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/method_completion.h"
#include "fcgi/uri_template.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define VALUES_MAX 100 /* CM-02 */

enum match { MATCH_PREFIX, MATCH_PREFIX_ANY_CASE, MATCH_INSIDE, MATCH_LETTERS, MATCH_NONE };

struct candidate {
	struct slice value; /* borrowed */
	enum match match;
	size_t index;
};

static bool begins_any_case(struct slice s, size_t from, struct slice with)
{
	if (s.len - from < with.len)
		return false;
	for (size_t i = 0; i < with.len; i++) {
		if (ascii_lower(s.p[from + i]) != ascii_lower(with.p[i]))
			return false;
	}
	return true;
}

static enum match match_of(struct slice candidate, struct slice typed)
{
	size_t found = 0;

	if (typed.len == 0 || (candidate.len >= typed.len && memcmp(candidate.p, typed.p, typed.len) == 0))
		return MATCH_PREFIX;
	for (size_t from = 0; from < candidate.len; from++) {
		if (begins_any_case(candidate, from, typed))
			return from ? MATCH_INSIDE : MATCH_PREFIX_ANY_CASE;
		found += found < typed.len && ascii_lower(candidate.p[from]) == ascii_lower(typed.p[found]);
	}
	return found == typed.len ? MATCH_LETTERS : MATCH_NONE;
}

static int by_match(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->match != y->match)
		return x->match < y->match ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* Writes the best of values, an array of strings. */
static int put_completion(struct buf *out, json_object *values, struct slice typed, struct err *err)
{
	size_t count = json_object_array_length(values), total = 0;
	struct candidate *candidates;

	count = count > COMPLETION_CANDIDATES_MAX ? COMPLETION_CANDIDATES_MAX : count;
	candidates = mem_alloc(count + 1, sizeof(*candidates));
	if (!candidates)
		return err_set(err, ERR_NOMEM, "no memory for suggestions");
	for (size_t i = 0; i < count; i++) {
		struct slice value = jx_str(json_object_array_get_idx(values, i));
		enum match match = value.p ? match_of(value, typed) : MATCH_NONE;

		if (match != MATCH_NONE)
			candidates[total++] = (struct candidate){value, match, i};
	}
	qsort(candidates, total, sizeof(*candidates), by_match);
	buf_adds(out, "\"completion\":{\"values\":[");
	for (size_t i = 0; i < total && i < VALUES_MAX; i++) {
		buf_adds(out, i ? "," : "");
		jx_write_str(out, candidates[i].value);
	}
	buf_addf(out, "],\"total\":%zu,\"hasMore\":%s}", total, total > VALUES_MAX ? "true" : "false");
	mem_free(candidates);
	return 0;
}

/* What is asked about: an argument of ref, of which typed is known so far. */
struct question {
	struct call *call;
	json_object *ref, *others;
	struct slice name, typed;
};

static int add_known(const struct arguments *arguments, struct slice name, json_object *values, struct err *err)
{
	const struct argument *argument = arguments_find(arguments, name);
	int bad = 0;

	for (size_t i = 0; argument && i < argument->values_count && !bad; i++)
		bad = jx_append(values, jx_new_str(slice_str(argument->values[i])), err);
	return bad;
}

static int of_prompt(const struct question *q, json_object *values, struct err *err)
{
	struct slice name = jx_get_str(q->ref, "name");
	const struct prompt *prompt = name.p ? promptset_find(&q->call->w->prompts, name) : NULL;

	if (!prompt)
		return err_set(err, ERR_PARAMS, "params.ref names no prompt");
	if (!arguments_find(&prompt->arguments, q->name))
		return err_set(err, ERR_PARAMS, "prompt %s has no such argument", prompt->name);
	if (add_known(&prompt->arguments, q->name, values, err))
		return -1;
	if (!prompt->provider->prompt_complete)
		return 0;
	return prompt->provider->prompt_complete(q->call, prompt, q->name, q->typed, q->others, values, err);
}

static int of_resource(const struct question *q, json_object *values, struct err *err)
{
	struct slice uri = jx_get_str(q->ref, "uri");
	const struct resource *resource = uri.p ? resourceset_find_template(&q->call->w->resources, uri) : NULL;

	if (!resource)
		return err_set(err, ERR_PARAMS, "params.ref.uri is no resource template");
	if (!uri_template_has_variable(resource->template, q->name))
		return err_set(err, ERR_PARAMS, "template %.150s has no such variable", resource->uri);
	if (add_known(&resource->variables, q->name, values, err))
		return -1;
	if (!resource->provider->resource_complete)
		return 0;
	return resource->provider->resource_complete(q->call, resource, q->name, q->typed, q->others, values, err);
}

/* The other arguments, from 2025-06-18 on (W-66): an object of strings. */
static int read_context(const struct call *call, json_object *params, json_object **others, struct err *err)
{
	json_object *context = jx_get_object(params, "context");

	*others = NULL;
	if (call->revision < REV_2025_06 || !jx_has(context, "arguments"))
		return 0;
	*others = jx_get_object(context, "arguments");
	if (!*others)
		return err_set(err, ERR_PARAMS, "params.context.arguments must be an object of strings");
	json_object_object_foreach(*others, name, value) {
		(void)name;
		if (!json_object_is_type(value, json_type_string))
			return err_set(err, ERR_PARAMS, "params.context.arguments must be an object of strings");
	}
	return 0;
}

int method_complete(struct call *call, const struct rpc *rpc, struct session *session, struct buf *out, struct err *err)
{
	json_object *argument = jx_get_object(rpc->params, "argument"), *values;
	struct question q = {
	    .call = call,
	    .ref = jx_get_object(rpc->params, "ref"),
	    .name = jx_get_str(argument, "name"),
	    .typed = jx_get_str(argument, "value"),
	};
	struct slice type = jx_get_str(q.ref, "type");
	int ret = -1;

	(void)session;
	if (!q.name.p || !q.typed.p)
		return err_set(err, ERR_PARAMS, "params.argument must be an object with the strings name and value");
	if (read_context(call, rpc->params, &q.others, err))
		return -1;
	values = json_object_new_array();
	if (!values)
		return err_set(err, ERR_NOMEM, "no memory for suggestions");
	if (type.p && slice_is(type, "ref/prompt"))
		ret = of_prompt(&q, values, err);
	else if (type.p && slice_is(type, "ref/resource"))
		ret = of_resource(&q, values, err);
	else
		err_set(err, ERR_PARAMS, "params.ref.type must be \"ref/prompt\" or \"ref/resource\"");
	if (ret == 0)
		ret = put_completion(out, values, q.typed, err);
	json_object_put(values);
	return ret;
}
