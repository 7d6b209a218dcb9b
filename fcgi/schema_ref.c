/* $ref and $dynamicRef: to whom they lead, and that they come to an end. */
#include "config.h"

#include <stdlib.h>

#include "fcgi/schema_priv.h"
#include "fcgi/uri.h"
#include "common/banned.h"

/* A URI reference, resolved and without its fragment, as a string of its own. */
char *schema_resolve_uri(struct slice base, struct slice ref, struct err *err)
{
	struct buf uri;
	char *text = NULL;

	buf_init(&uri, SIZE_MAX / 2);
	uri_resolve(&uri, base, ref);
	if (buf_check(&uri, err) == 0) {
		text = mem_dup(uri.data ? uri.data : "", uri.len);
		if (!text)
			schema_no_memory(err);
	}
	buf_release(&uri);
	return text;
}

/* One token of a pointer in a URI fragment: percent-encoding first, then ~0 and ~1. Cuts it off *text. NULL: bad. */
static char *cut_token(const char **text)
{
	size_t len = strcspn(*text, "/"), used = 0;
	char *token = mem_dup(*text, len);

	for (size_t i = 0; token && i < len; i++) {
		int byte = uri_encoded_byte((struct slice){token + i, len - i});
		char c = byte < 0 ? token[i] : (char)byte;

		i += byte < 0 ? 0 : 2;
		if (used && token[used - 1] == '~' && (c == '0' || c == '1'))
			token[used - 1] = c == '0' ? '\1' : '/'; /* \1: a ~ that is done */
		else
			token[used++] = c;
	}
	if (token) {
		token[used] = '\0';
		for (char *p = token; *p; p++) {
			if (*p == '\1')
				*p = '~';
		}
	}
	*text += len;
	return token;
}

static struct node *find_compiled(struct compiler *c, json_object *doc)
{
	struct node *node = c->schema->all;

	while (node && node->doc != doc)
		node = node->next;
	return node;
}

static struct node *find_resource(struct compiler *c, struct slice base, struct slice ref, struct err *err)
{
	struct node *node = c->schema->all;
	char *id = schema_resolve_uri(base, ref, err);

	if (!id)
		return NULL;
	while (node && !(node->id && strcmp(node->id, id) == 0))
		node = node->next;
	if (!node)
		err_set(err, ERR_CONFIG, "a reference out of this schema is not supported (to %.80s)", id);
	mem_free(id);
	return node;
}

static struct node *find_anchor(struct compiler *c, const struct node *resource, const char *name, struct err *err)
{
	for (struct node *node = c->schema->all; node; node = node->next) {
		if (node->resource == resource &&
		    ((node->anchor && strcmp(node->anchor, name) == 0) ||
			(node->dynamic_anchor && strcmp(node->dynamic_anchor, name) == 0)))
			return node;
	}
	err_set(err, ERR_CONFIG, "there is no $anchor \"%.100s\"", name);
	return NULL;
}

/* The member or item that a token of a pointer names. */
static json_object *descend(json_object *at, const char **text, struct err *err)
{
	json_object *next = NULL;
	char *token, *end;

	token = cut_token(text);
	if (!token) {
		schema_no_memory(err);
		return NULL;
	}
	if (json_object_is_type(at, json_type_array)) {
		size_t index = strtoul(token, &end, 10);

		if (end != token && !*end && index < json_object_array_length(at))
			next = json_object_array_get_idx(at, index);
	} else if (json_object_is_type(at, json_type_object)) {
		json_object_object_get_ex(at, token, &next);
	}
	mem_free(token);
	if (!next)
		err_set(err, ERR_CONFIG, "it leads nowhere");
	return next;
}

/* Follows a pointer from the root of a resource; what it comes through may be the root of another one. */
static struct node *find_place(struct compiler *c, struct node *resource, const char *text, struct err *err)
{
	struct slice place = slice_str(text);
	struct node *node = resource, *from = resource;
	json_object *at = resource->doc;

	while (at && *text == '/') {
		text++;
		at = descend(at, &text, err);
		node = at ? find_compiled(c, at) : NULL;
		if (node)
			resource = node->resource;
	}
	if (!at || node)
		return at ? node : NULL;
	compiler_pop(c, 0);
	buf_adds(&c->at, from->at);
	buf_add_slice(&c->at, place);
	c->resource = resource;
	node = compile_schema(c, at, err);
	c->resource = NULL;
	return node;
}

static struct node *ref_target(struct compiler *c, const struct node *from, const char *text, struct err *err)
{
	size_t len = strcspn(text, "#");
	const char *fragment = text + len + (text[len] == '#');
	struct node *resource = from->resource;

	if (len)
		resource = find_resource(c, slice_str(resource->id), (struct slice){text, len}, err);
	if (!resource || !*fragment)
		return resource;
	return *fragment == '/' ? find_place(c, resource, fragment, err) : find_anchor(c, resource, fragment, err);
}

/* A reference of a node, under the keyword's name. */
static struct node *resolve_ref(
    struct compiler *c, const struct node *node, const char *keyword, const char *text, struct err *err)
{
	struct node *target;

	compiler_pop(c, 0);
	buf_adds(&c->at, node->at);
	compiler_push(c, keyword);
	target = ref_target(c, node, text, err);
	if (!target)
		err_wrap(err, "%s \"%.100s\"", keyword, text);
	return target;
}

static int resolve_dynamic_ref(struct compiler *c, struct node *node, const char *text, struct err *err)
{
	const char *fragment = strchr(text, '#');

	node->dynamic_ref = resolve_ref(c, node, "$dynamicRef", text, err);
	if (!node->dynamic_ref)
		return -1;
	if (fragment && node->dynamic_ref->dynamic_anchor &&
	    strcmp(fragment + 1, node->dynamic_ref->dynamic_anchor) == 0)
		node->dynamic_name = node->dynamic_ref->dynamic_anchor;
	return 0;
}

/* New nodes come to the front of the list, so it is read again from there until nothing is left to resolve. */
int schema_resolve_refs(struct compiler *c, struct err *err)
{
	struct node *node = c->schema->all;

	while (node) {
		const char *text = node->ref_text, *dynamic_text = node->dynamic_text;

		if (!text && !dynamic_text) {
			node = node->next;
			continue;
		}
		node->ref_text = node->dynamic_text = NULL;
		if (text) {
			node->ref = resolve_ref(c, node, "$ref", text, err);
			if (!node->ref)
				return -1;
		}
		if (dynamic_text && resolve_dynamic_ref(c, node, dynamic_text, err))
			return -1;
		node = c->schema->all;
	}
	return 0;
}

static int find_cycle_list(const struct node_list *list, int depth, struct err *err)
{
	for (size_t i = 0; i < list->count; i++) {
		if (schema_find_cycle(list->nodes[i], depth, err))
			return -1;
	}
	return 0;
}

/* Follows what looks at the same instance. */
static int find_cycle_below(struct node *node, int depth, struct err *err)
{
	struct node *dynamic = node->dynamic_name ? NULL : node->dynamic_ref;
	struct node *const same[] = {node->ref, dynamic, node->not, node->if_, node->then, node->else_};

	for (size_t i = 0; i < COUNT_OF(same); i++) {
		if (same[i] && schema_find_cycle(same[i], depth, err))
			return -1;
	}
	for (size_t i = 0; i < node->dependent_schemas.count; i++) {
		if (schema_find_cycle(node->dependent_schemas.items[i].node, depth, err))
			return -1;
	}
	if (find_cycle_list(&node->all_of, depth, err) || find_cycle_list(&node->any_of, depth, err) ||
	    find_cycle_list(&node->one_of, depth, err))
		return -1;
	return 0;
}

int schema_find_cycle(struct node *node, int depth, struct err *err)
{
	if (node->mark == MARK_DONE)
		return 0;
	if (node->mark == MARK_OPEN)
		return err_set(err, ERR_CONFIG, "a $ref leads back to itself without looking deeper into the value");
	if (depth >= SCHEMA_FRAMES_MAX)
		return err_set(err, ERR_CONFIG, "a chain of more than %d references", SCHEMA_FRAMES_MAX);
	node->mark = MARK_OPEN;
	if (find_cycle_below(node, depth + 1, err))
		return -1;
	node->mark = MARK_DONE;
	return 0;
}
