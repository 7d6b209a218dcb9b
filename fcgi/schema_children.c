/* The keywords that look into arrays and objects. */
#include "config.h"

#include <stdlib.h>

#include "fcgi/schema_priv.h"
#include "common/banned.h"

struct hashed {
	uint64_t hash;
	size_t index;
};

static int by_hash(const void *a, const void *b)
{
	const struct hashed *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

static bool check_unique(struct run *run, json_object *val, const struct path *path)
{
	size_t count = json_object_array_length(val);
	struct hashed *items = mem_alloc(count ? count : 1, sizeof(*items));
	bool ok = true;

	if (!items)
		return run_no_memory(run);
	for (size_t i = 0; i < count; i++)
		items[i] = (struct hashed){value_hash(run, json_object_array_get_idx(val, i)), i};
	qsort(items, count, sizeof(*items), by_hash);
	for (size_t i = 0; ok && i < count; i++) {
		for (size_t j = i + 1; ok && j < count && items[j].hash == items[i].hash; j++) {
			if (!value_equal(run, json_object_array_get_idx(val, items[i].index),
				json_object_array_get_idx(val, items[j].index)))
				continue;
			PROBLEM(run, path, "must have no item twice (%zu and %zu are the same)", items[i].index,
			    items[j].index);
			ok = false;
		}
	}
	mem_free(items);
	return ok && !run->failed;
}

static bool check_contains(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct limit min = node->min_contains.is_set ? node->min_contains : (struct limit){true, 1};
	uint64_t found = 0;

	for (size_t i = 0; i < json_object_array_length(val); i++) {
		struct path leaf = {path, NULL, i};

		if (run_check_child_quietly(run, node->contains, json_object_array_get_idx(val, i), &leaf)) {
			run_mark_seen(run, i);
			found++;
		}
	}
	return run_check_limits(
	    run, &min, &node->max_contains, found, "item(s) of the kind that it must contain", path);
}

bool run_check_array(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t count = json_object_array_length(val);
	bool ok = run_check_limits(run, &node->min_items, &node->max_items, count, "item(s)", path);

	for (size_t i = 0; i < count && (ok || !run_is_quiet(run)); i++) {
		const struct node *item = i < node->prefix_items.count ? node->prefix_items.nodes[i] : node->items;
		struct path leaf = {path, NULL, i};

		if (!item)
			break;
		run_mark_seen(run, i);
		ok = run_check_child(run, item, json_object_array_get_idx(val, i), &leaf) && ok;
	}
	if (node->unique_items && (ok || !run_is_quiet(run)))
		ok = check_unique(run, val, path) && ok;
	if (node->contains && (ok || !run_is_quiet(run)))
		ok = check_contains(run, node, val, path) && ok;
	return ok;
}

static const struct property *property_find(const struct property_list *list, const char *name)
{
	struct property key = {.name = (char *)(uintptr_t)name};

	return list->count ? bsearch(&key, list->items, list->count, sizeof(key), property_by_name) : NULL;
}

static bool check_required(
    struct run *run, const struct names *names, json_object *val, const struct path *path, const char *because)
{
	bool ok = true;

	for (size_t i = 0; i < names->count; i++) {
		if (json_object_object_get_ex(val, names->names[i], NULL))
			continue;
		ok = false;
		if (because)
			PROBLEM_AT(run, path, names->names[i], "is required with \"%.*s\"", TEXT_MAX_LEN, because);
		else
			PROBLEM_AT(run, path, names->names[i], "is required");
	}
	return ok;
}

static bool check_unknown_member(
    struct run *run, const struct node *node, const char *name, json_object *val, const struct path *path)
{
	struct path leaf = {path, name, 0};
	size_t mark;

	if (!node->additional_properties->is_false)
		return run_check_child(run, node->additional_properties, val, &leaf);
	if (run_is_quiet(run))
		return false;
	mark = problem_begin(run, path, name);
	buf_adds(run->why, "is not known");
	for (size_t i = 0; i < node->properties.count; i++) {
		if (run->why->len - mark > 2 * TEXT_MAX_LEN) {
			buf_adds(run->why, ", ...");
			break;
		}
		buf_adds(run->why, i ? ", " : " (known: ");
		problem_add_name(run->why, node->properties.items[i].name);
	}
	if (node->properties.count)
		buf_adds(run->why, ")");
	return problem_end(run, mark);
}

/* The name as a value of its own, for propertyNames. */
static bool check_name(struct run *run, const struct node *names, const char *name, const struct path *path)
{
	struct path leaf = {path, name, 0};
	json_object *val = json_object_new_string(name);
	bool ok;

	if (!val)
		return run_no_memory(run);
	ok = run_check_child_quietly(run, names, val, &leaf);
	json_object_put(val);
	if (!ok)
		PROBLEM_AT(run, path, name, "is not an allowed name");
	return ok;
}

static bool check_member(
    struct run *run, const struct node *node, const char *name, json_object *val, size_t index, const struct path *path)
{
	const struct property *property = property_find(&node->properties, name);
	struct path leaf = {path, name, 0};
	bool ok = true, is_known = property;

	if (property)
		ok = run_check_child(run, property->node, val, &leaf);
	for (size_t i = 0; i < node->pattern_properties.count; i++) {
		const struct pattern *pattern = &node->pattern_properties.items[i];

		if (!pattern_matches(run, pattern, slice_str(name)))
			continue;
		is_known = true;
		ok = run_check_child(run, pattern->node, val, &leaf) && ok;
	}
	if (!is_known && node->additional_properties && !run->failed) {
		is_known = true;
		ok = check_unknown_member(run, node, name, val, path) && ok;
	}
	if (is_known)
		run_mark_seen(run, index);
	return ok;
}

static bool check_members(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	size_t index = 0;
	bool ok = true;

	json_object_object_foreach(val, name, member) {
		ok = check_member(run, node, name, member, index++, path) && ok;
		if (node->property_names)
			ok = check_name(run, node->property_names, name, path) && ok;
		if (run->failed || (!ok && run_is_quiet(run)))
			return false;
	}
	return ok;
}

bool run_check_object(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	bool ok = run_check_limits(run, &node->min_properties, &node->max_properties,
	    (uint64_t)json_object_object_length(val), "member(s)", path);

	ok = check_required(run, &node->required, val, path, NULL) && ok;
	for (size_t i = 0; i < node->dependent_required.count; i++) {
		const struct property *dependent = &node->dependent_required.items[i];

		if (json_object_object_get_ex(val, dependent->name, NULL))
			ok = check_required(run, &dependent->required, val, path, dependent->name) && ok;
	}
	if (!ok && run_is_quiet(run))
		return false;
	if (node->properties.count || node->pattern_properties.count || node->additional_properties ||
	    node->property_names)
		ok = check_members(run, node, val, path) && ok;
	for (size_t i = 0; i < node->dependent_schemas.count; i++) {
		const struct property *dependent = &node->dependent_schemas.items[i];

		if (json_object_object_get_ex(val, dependent->name, NULL))
			ok = run_check(run, dependent->node, val, path) && ok;
	}
	return ok;
}
