/* The keywords that look at a value as a whole, and those that apply other schemas to it. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "fcgi/schema_priv.h"
#include "common/banned.h"

static bool check_type(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	unsigned is = value_types(val);
	size_t mark, count = 0;

	if (!node->types || (node->types & is))
		return true;
	if (run_is_quiet(run))
		return false;
	mark = problem_begin(run, path, NULL);
	buf_adds(run->why, "must be ");
	for (size_t i = 0; i < COUNT_OF(schema_types); i++) {
		if (node->types & schema_types[i].bit)
			buf_addf(run->why, "%s%s", count++ ? " or " : "", schema_types[i].words);
	}
	for (size_t i = 0; i < COUNT_OF(schema_types); i++) {
		if (is & schema_types[i].bit) { /* integer stands before number */
			buf_addf(run->why, ", not %s", schema_types[i].words);
			break;
		}
	}
	return problem_end(run, mark);
}

static bool check_constants(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = true;

	if (node->constant.is_set && !value_equal(run, node->constant.value, val)) {
		PROBLEM(run, path, "must be %s", node->constant.text);
		ok = false;
	}
	if (node->enumeration.is_set) {
		size_t count = json_object_array_length(node->enumeration.value), i = 0;

		while (i < count && !value_equal(run, json_object_array_get_idx(node->enumeration.value, i), val))
			i++;
		if (i == count) {
			PROBLEM(run, path, "must be one of %s", node->enumeration.text);
			ok = false;
		}
	}
	return ok;
}

static const char *number_text(char *text, size_t size, long double number)
{
	if (fabsl(number) < 1e18L && truncl(number) == number)
		snprintf(text, size, "%.0Lf", number);
	else
		snprintf(text, size, "%.15Lg", number);
	return text;
}

/* Binary fractions are rarely what their decimal text says (0.0075 / 0.0001 is not 75), so a quotient that misses a
 * whole number by no more than its own rounding counts as whole. */
static bool is_nearly_whole(long double number)
{
	return fabsl(number) < 9007199254740992.0L &&
	       fabsl(number - roundl(number)) <= fabsl(number) * 2 * (long double)DBL_EPSILON;
}

static bool is_multiple(long double number, long double of)
{
	if (fmodl(number, of) == 0 || is_nearly_whole(number / of))
		return true;
	return of < 1 && truncl(number) == number &&
	       is_nearly_whole(1 / of); /* 12391239123 of 1e-8: all whole ones are */
}

static bool check_number(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	long double number = value_number(val);
	const struct {
		const struct bound *bound;
		bool ok;
		const char *words;
	} rows[] = {
	    {&node->minimum, number >= node->minimum.value, "at least"},
	    {&node->maximum, number <= node->maximum.value, "at most"},
	    {&node->exclusive_minimum, number > node->exclusive_minimum.value, "more than"},
	    {&node->exclusive_maximum, number < node->exclusive_maximum.value, "less than"},
	    {&node->multiple_of, !node->multiple_of.is_set || is_multiple(number, node->multiple_of.value),
		"a multiple of"},
	};
	char text[64];
	bool ok = true;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (!rows[i].bound->is_set || rows[i].ok)
			continue;
		PROBLEM(
		    run, path, "must be %s %s", rows[i].words, number_text(text, sizeof(text), rows[i].bound->value));
		ok = false;
	}
	return ok;
}

bool run_check_limits(struct run *run, const struct limit *min, const struct limit *max, uint64_t count,
    const char *what, const struct path *path)
{
	if (min->is_set && count < min->value)
		PROBLEM(run, path, "must have at least %llu %s", (unsigned long long)min->value, what);
	else if (max->is_set && count > max->value)
		PROBLEM(run, path, "must have at most %llu %s", (unsigned long long)max->value, what);
	else
		return true;
	return false;
}

static bool check_pattern(struct run *run, const struct node *node, struct slice text, const struct path *path)
{
	size_t mark;

	if (!node->pattern.code || pattern_matches(run, &node->pattern, text))
		return true;
	if (run->failed || run_is_quiet(run))
		return false;
	mark = problem_begin(run, path, NULL);
	buf_adds(run->why, "must match the pattern ");
	problem_add_name(run->why, node->pattern.text);
	return problem_end(run, mark);
}

static bool check_string(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct slice text = jx_str(val);
	uint64_t chars = 0;
	bool ok = check_pattern(run, node, text, path);

	if (!node->min_length.is_set && !node->max_length.is_set)
		return ok;
	for (size_t i = 0; i < text.len; i++)
		chars += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return run_check_limits(run, &node->min_length, &node->max_length, chars, "character(s)", path) && ok;
}

/* Quietly, and what it has evaluated counts only if it fits. */
static bool try_same(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen own, *seen = run->seen;
	bool ok;

	if (!seen)
		return run_check_quietly(run, node, val, path);
	if (!run_seen_init(run, &own, val))
		return false;
	run->seen = &own;
	ok = run_check_quietly(run, node, val, path);
	run->seen = seen;
	if (ok)
		run_seen_merge(seen, &own);
	mem_free(own.bytes);
	return ok;
}

/* Why no alternative fits, unless that would be an explanation within an explanation. */
static void tell_alternatives(struct run *run, const struct node_list *list, json_object *val, const struct path *path)
{
	size_t mark;

	if (run_is_quiet(run))
		return;
	mark = problem_begin(run, path, NULL);
	buf_addf(run->why, "fits none of %zu alternatives", list->count);
	if (!run->tells_alternatives) {
		run->tells_alternatives = true;
		for (size_t i = 0; i < list->count && !run->why_is_full; i++) {
			buf_addf(run->why, "%s%zu) ", i ? ", " : ": ", i + 1);
			run_check(run, list->nodes[i], val, path);
		}
		run->tells_alternatives = false;
	}
	problem_end(run, mark);
}

static bool check_alternatives(
    struct run *run, const struct node_list *list, size_t max, json_object *val, const struct path *path)
{
	size_t fits = 0;

	if (list->count == 0)
		return true;
	for (size_t i = 0; i < list->count && fits <= max && !run->failed; i++) {
		fits += try_same(run, list->nodes[i], val, path);
		if (fits && max == SIZE_MAX && !run->seen)
			return true;
	}
	if (run->failed)
		return false;
	if (fits == 0)
		tell_alternatives(run, list, val, path);
	else if (fits > max)
		PROBLEM(run, path, "fits more than one of %zu alternatives, must fit exactly one", list->count);
	return fits > 0 && fits <= max;
}

/* Whom a $dynamicRef means: the node of that name in the outermost resource that has one. */
static const struct node *dynamic_target(struct run *run, const struct node *node)
{
	const struct node *target = node->dynamic_ref;

	if (!node->dynamic_name)
		return target;
	for (const struct scope *scope = run->scope; scope; scope = scope->outer) {
		for (const struct node *at = scope->resource; at && run_step(run); at = at->next_dynamic) {
			if (at->dynamic_anchor && strcmp(at->dynamic_anchor, node->dynamic_name) == 0) {
				target = at;
				break;
			}
		}
	}
	return target;
}

/* The keywords that apply other schemas to the same value. */
static bool check_same(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = !node->ref || run_check(run, node->ref, val, path);

	if (node->dynamic_ref && (ok || !run_is_quiet(run)))
		ok = run_check(run, dynamic_target(run, node), val, path) && ok;
	for (size_t i = 0; i < node->all_of.count && (ok || !run_is_quiet(run)); i++)
		ok = run_check(run, node->all_of.nodes[i], val, path) && ok;
	ok = check_alternatives(run, &node->any_of, SIZE_MAX, val, path) && ok;
	ok = check_alternatives(run, &node->one_of, 1, val, path) && ok;
	if (node->not &&run_check_child_quietly(run, node->not, val, path)) {
		PROBLEM(run, path, "must not be of the form that its schema excludes");
		ok = false;
	}
	if (node->if_ && (node->then || node->else_ || run->seen)) {
		const struct node *next = try_same(run, node->if_, val, path) ? node->then : node->else_;

		ok = (!next || run_check(run, next, val, path)) && ok;
	}
	return ok;
}

static bool check_unevaluated(struct run *run, const struct node *node, json_object *val, const struct path *leaf)
{
	if (!node->is_false)
		return run_check_child(run, node, val, leaf);
	PROBLEM(run, leaf, "is not known to any part of the schema that applies here");
	return false;
}

static bool check_unevaluated_items(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = true;

	for (size_t i = 0; i < run->seen->count && (ok || !run_is_quiet(run)); i++) {
		struct path leaf = {path, NULL, i};

		if (run->seen->bytes[i])
			continue;
		run_mark_seen(run, i);
		ok = check_unevaluated(run, node->unevaluated_items, json_object_array_get_idx(val, i), &leaf) && ok;
	}
	return ok;
}

static bool check_unevaluated_members(
    struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t index = 0;
	bool ok = true;

	json_object_object_foreach(val, name, member) {
		struct path leaf = {path, name, 0};
		size_t i = index++;

		if (run->seen->bytes[i] || (!ok && run_is_quiet(run)))
			continue;
		run_mark_seen(run, i);
		ok = check_unevaluated(run, node->unevaluated_properties, member, &leaf) && ok;
	}
	return ok;
}

static bool check_keywords(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok;

	if (node->is_false) {
		PROBLEM(run, path, "is not allowed");
		return false;
	}
	ok = check_type(run, node, val, path);
	if (!ok) /* what else it is not would only distract */
		return false;
	ok = check_constants(run, node, val, path);
	if (!ok && run_is_quiet(run))
		return false;
	if (jx_is_number(val))
		ok = check_number(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_string))
		ok = check_string(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_array))
		ok = run_check_array(run, node, val, path) && ok;
	else if (json_object_is_type(val, json_type_object))
		ok = run_check_object(run, node, val, path) && ok;
	if (!ok && run_is_quiet(run))
		return false;
	return check_same(run, node, val, path) && ok;
}

static bool check_node(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool is_array = node->unevaluated_items && json_object_is_type(val, json_type_array);
	bool is_object = node->unevaluated_properties && json_object_is_type(val, json_type_object);
	struct seen own, *seen = run->seen;
	bool ok;

	if (!is_array && !is_object)
		return check_keywords(run, node, val, path);
	if (!run_seen_init(run, &own, val))
		return false;
	run->seen = &own;
	ok = check_keywords(run, node, val, path);
	if (ok) /* else what a failed part knows would be called unknown */
		ok = is_array ? check_unevaluated_items(run, node, val, path)
			      : check_unevaluated_members(run, node, val, path);
	run->seen = seen;
	if (seen)
		run_seen_merge(seen, &own);
	mem_free(own.bytes);
	return ok;
}

bool run_check(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct scope scope = {run->scope, node->resource};
	bool ok;

	if (run->failed || !run_step(run))
		return false;
	if (run->frames >= SCHEMA_FRAMES_MAX)
		return run_fail(run, "the value is nested too deep for its schema");
	run->frames++;
	if (!scope.outer || scope.outer->resource != scope.resource)
		run->scope = &scope;
	ok = check_node(run, node, val, path);
	run->scope = scope.outer;
	run->frames--;
	return ok && !run->failed;
}

int schema_check(const struct schema *schema, json_object *instance, struct buf *why, struct err *err)
{
	static const char more[] = "; ...";
	struct run run = {.why = why, .err = err};
	size_t room = why->max > sizeof(more) ? sizeof(more) : 0;
	bool ok;

	why->max -= room;
	ok = run_check(&run, schema->root, instance, NULL);
	matcher_release(&run.matcher);
	why->max += room;
	if (run.why_is_full && room)
		buf_adds(why, why->len ? more : "...");
	if (run.failed)
		return -1;
	return ok ? 0 : err_set(err, ERR_PARAMS, "%s", why->data ? why->data : "the value is not valid");
}
