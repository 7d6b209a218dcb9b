/* A schema becomes a graph of nodes, one for each subschema: keywords are fields, references are pointers, so that
 * checking follows no names and touches nothing of json-c that counts. Constants are private copies, only ever read.
 *
 * Compiling walks the document by the table of keywords (schema_keywords.c). References are resolved after that walk,
 * when every $id and anchor is known; a target that no keyword led to (a pointer may lead anywhere) is compiled then. A
 * cycle of references that never goes deeper into the instance is refused, or checking would not end; where only the
 * instance decides ($dynamicRef), the bounds of a check end it.
 *
 * A subschema with an $id, and the root, is a resource: the base of the references in it, and the room in which an
 * anchor has a meaning. What $dynamicRef means is decided by the resources through which the check came, outermost
 * first.
 *
 * unevaluated* needs to know which members and items other keywords looked at. Only below such a keyword this is
 * recorded, in a map of one byte for each member or item of the value at hand. What fails leaves no record; where a
 * failure of a part is a failure of the whole (allOf, $ref), both write to the same map.
 *
 * A hostile string could keep a pattern busy for years. PCRE2's own limits count neither the places where a match is
 * tried nor the characters that a repeat runs over, so patterns are compiled with callouts, which count both as steps.
 *
 * Checking reports into why only what its caller asserts: below not and if, and while alternatives are tried, it is
 * quiet. When all alternatives fail, those of the outermost anyOf or oneOf are run once more to tell why. */
#include "config.h"

#include "fcgi/schema_priv.h"
#include "common/banned.h"

int schema_no_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "schema");
}

static int compile_all(struct compiler *c, struct err *err)
{
	c->schema->root = compile_schema(c, c->doc, err);
	if (!c->schema->root || schema_resolve_refs(c, err))
		return -1;
	for (struct node *node = c->schema->all; node; node = node->next) {
		if (schema_find_cycle(node, 0, err))
			return -1;
	}
	for (struct node *node = c->schema->all; node; node = node->next) {
		node->doc = NULL; /* the caller's: not ours from here on */
		node->anchor = NULL;
		if (node->dynamic_anchor && node->resource != node) {
			node->next_dynamic = node->resource->next_dynamic;
			node->resource->next_dynamic = node;
		}
	}
	return 0;
}

struct schema *schema_new(json_object *doc, struct buf *where, struct err *err)
{
	struct compiler c = {.doc = doc};

	buf_init(&c.at, SIZE_MAX / 2); /* bounded by the depth and the document's own names */
	c.memory = pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
	c.dialect = pcre2_compile_context_create(c.memory);
	c.schema = mem_alloc(1, sizeof(*c.schema));
	if (c.dialect) {
		pcre2_set_newline(c.dialect, PCRE2_NEWLINE_ANYCRLF);
		pcre2_set_compile_extra_options(c.dialect, PCRE2_EXTRA_ALT_BSUX);
	}
	if (!c.schema || !c.memory || !c.dialect) {
		schema_free(&c.schema);
		schema_no_memory(err);
	}
	if (c.schema && compile_all(&c, err))
		schema_free(&c.schema);
	if (!c.schema && where) {
		buf_add_slice(where, buf_slice(&c.at));
		if (c.at.fault)
			where->fault = c.at.fault;
	}
	pcre2_compile_context_free(c.dialect);
	pcre2_general_context_free(c.memory);
	buf_release(&c.at);
	return c.schema;
}

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		mem_free(names->names[i]);
	mem_free(names->names);
}

static void properties_release(struct property_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		names_release(&list->items[i].required);
		mem_free(list->items[i].name);
	}
	mem_free(list->items);
}

static void constant_release(struct constant *constant)
{
	json_object_put(constant->value);
	mem_free(constant->text);
}

static void node_free(struct node *node)
{
	properties_release(&node->properties);
	properties_release(&node->dependent_schemas);
	properties_release(&node->dependent_required);
	properties_release(&node->defs);
	names_release(&node->required);
	pattern_release(&node->pattern);
	for (size_t i = 0; i < node->pattern_properties.count; i++)
		pattern_release(&node->pattern_properties.items[i]);
	mem_free(node->pattern_properties.items);
	mem_free(node->id);
	mem_free(node->dynamic_anchor);
	mem_free(node->at);
	constant_release(&node->constant);
	constant_release(&node->enumeration);
	mem_free(node->prefix_items.nodes);
	mem_free(node->all_of.nodes);
	mem_free(node->any_of.nodes);
	mem_free(node->one_of.nodes);
	mem_free(node);
}

void schema_free(struct schema **schemap)
{
	struct schema *schema = *schemap;
	struct node *node, *next;

	if (!schema)
		return;
	*schemap = NULL;
	for (node = schema->all; node; node = next) {
		next = node->next;
		node_free(node);
	}
	mem_free(schema);
}

bool schema_allows_member(const struct schema *schema, struct slice name)
{
	const struct node *root = schema->root;
	struct err err;
	struct run run = {.err = &err};
	bool allows = false;

	if (!root->additional_properties || !root->additional_properties->is_false)
		return true;
	for (size_t i = 0; i < root->properties.count; i++) {
		if (slice_is(name, root->properties.items[i].name))
			return true;
	}
	for (size_t i = 0; i < root->pattern_properties.count && !allows; i++)
		allows = pattern_matches(&run, &root->pattern_properties.items[i], name) || run.failed;
	matcher_release(&run.matcher);
	return allows;
}

bool schema_requires_member(const struct schema *schema, struct slice name)
{
	for (size_t i = 0; i < schema->root->required.count; i++) {
		if (slice_is(name, schema->root->required.names[i]))
			return true;
	}
	return false;
}
