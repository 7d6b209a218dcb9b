#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/content.h"
#include "fcgi/definition.h"
#include "fcgi/module.h"
#include "fcgi/resourceset.h"
#include "fcgi/uri.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

static const char *const own_members[] = {"name", "mime_type", "size", "annotations", "variables", NULL};
static const char *const variable_members[] = {"values", NULL};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "resources");
}

static int read_uri(struct resource *resource, const struct definition *d, struct slice uri, struct err *err)
{
	struct err why;

	resource->uri = mem_dup(uri.p, uri.len);
	if (!resource->uri)
		return out_of_memory(err);
	if (!strchr(resource->uri, '{'))
		return uri_is_valid(uri) ? 0
					   : definition_complain(d, NULL, NULL,
						 "a resource is named by its URI, as in \"notes://today\"");
	resource->template = uri_template_new(uri, &why);
	if (resource->template)
		return 0;
	if (why.code == ERR_NOMEM)
		return out_of_memory(err);
	return definition_complain(d, NULL, NULL, "%s", why.msg);
}

static int read_own(struct resource *resource, const struct definition *d, struct err *err)
{
	struct slice type = jx_get_str(d->def, "mime_type");
	json_object *size = jx_get(d->def, "size");
	int bad = 0;

	if (jx_has(d->def, "name") && jx_get_str(d->def, "name").len == 0)
		bad = definition_complain(d, "name", NULL, "name must be a string, and not empty");
	if (jx_has(d->def, "mime_type") && !(type.p && content_is_mime_type(type)))
		bad = definition_complain(d, "mime_type", NULL, "mime_type must be as in \"text/markdown\"");
	if (type.p && !bad) {
		resource->mime_type = mem_dup(type.p, type.len);
		if (!resource->mime_type)
			return out_of_memory(err);
	}
	if (jx_has(d->def, "size") && (resource->template || !jx_is_integer(size) || json_object_get_int64(size) < 0))
		bad = definition_complain(
		    d, "size", NULL, "size must be a whole number of bytes, and only one URI has a size");
	return bad;
}

/* The last segment of a URI, but for one that says nothing. */
static const char *default_name(const char *uri)
{
	const char *slash = strrchr(uri, '/');

	return slash && slash[1] && !strchr(slash, '{') ? slash + 1 : uri;
}

/* What is said of the template's variables. */
static int read_variables(struct resource *resource, const struct definition *d, struct err *err)
{
	if (arguments_read(&resource->variables, d, "variables", variable_members, err))
		return -1;
	for (size_t i = 0; i < resource->variables.count; i++) {
		const char *name = resource->variables.items[i].name;

		if (!resource->template || !uri_template_has_variable(resource->template, slice_str(name)))
			return definition_complain(d, "variables", NULL, "the URI has no {%s}", name);
	}
	return 0;
}

static int make_listing(struct resource *resource, const struct definition *d, struct err *err)
{
	json_object *entry = json_object_new_object();
	struct slice name = jx_get_str(d->def, "name");
	int bad = jx_add_str(entry, resource->template ? "uriTemplate" : "uri", resource->uri, err);

	bad |= jx_add_str(entry, "name", name.p ? name.p : default_name(resource->uri), err);
	bad |= definition_copy(d, "title", entry, "title", err);
	bad |= definition_copy(d, "description", entry, "description", err);
	if (resource->mime_type)
		bad |= jx_add_str(entry, "mimeType", resource->mime_type, err);
	if (jx_has(d->def, "size"))
		bad |= definition_copy(d, "size", entry, "size", err);
	else if (resource->size_bytes >= 0 && !resource->template)
		bad |= jx_add(entry, "size", json_object_new_int64(resource->size_bytes), err);
	bad |= definition_copy(d, "annotations", entry, "annotations", err);
	bad |= definition_copy(d, "icons", entry, "icons", err);
	bad |= definition_copy(d, "_meta", entry, "_meta", err);
	if (!bad)
		bad = definition_make_listing(d, SHAPE_RESOURCE, entry, resource->listing, err);
	json_object_put(entry);
	return bad;
}

static int read_definition(struct resource *resource, const struct definition *d, struct slice uri, struct err *err)
{
	bool bad = false;
	struct err why;

	if (!json_object_is_type(d->def, json_type_object))
		return definition_complain(
		    d, NULL, NULL, "a resource is described by an object, as in {\"text\": \"...\"}");
	resource->provider = definition_provider(d, DEFINITION_RESOURCE, own_members, &bad);
	if (!resource->provider || read_uri(resource, d, uri, err) || definition_check_common(d))
		return -1;
	if (content_check_annotations(jx_get(d->def, "annotations"), "resource", &why))
		bad = definition_complain(d, "annotations", NULL, "%s", why.msg) != 0;
	bad |= definition_read_timeout(d, &resource->timeout_s) != 0;
	bad |= read_own(resource, d, err) != 0;
	bad |= read_variables(resource, d, err) != 0;
	bad |= resource->provider->resource_init(resource, d->def, d->cfg, d->pointer, err) != 0;
	return bad ? -1 : make_listing(resource, d, err);
}

static void resource_release(struct resource *resource)
{
	if (resource->provider)
		resource->provider->resource_release(resource);
	for (int i = 0; i < REV__COUNT; i++)
		mem_free(resource->listing[i]);
	uri_template_free(&resource->template);
	arguments_release(&resource->variables);
	mem_free(resource->mime_type);
	mem_free(resource->uri);
}

/* Moves resource to the end of an array. */
static int append(struct resource **array, size_t *count, const struct resource *resource, struct err *err)
{
	struct resource *more = mem_realloc(*array, (*count + 1) * sizeof(*more));

	if (!more)
		return out_of_memory(err);
	*array = more;
	more[(*count)++] = *resource;
	return 0;
}

static bool has_uri(const struct resourceset *set, struct slice uri)
{
	for (size_t i = 0; i < set->fixed_count; i++) {
		if (slice_is(uri, set->fixed[i].uri))
			return true;
	}
	return resourceset_find_template(set, uri) != NULL;
}

static int add_resource(void *arg, const struct definition *d, struct slice uri, struct err *err)
{
	struct resource resource = {.size_bytes = -1};
	struct resourceset *set = arg;
	int ret;

	err_set(err, ERR_CONFIG, "bad resource");
	if (has_uri(set, uri))
		return definition_complain(d, NULL, NULL, "there is a resource of this URI already");
	ret = read_definition(&resource, d, uri, err);
	if (ret == 0 && resource.template)
		ret = append(&set->templates, &set->templates_count, &resource, err);
	else if (ret == 0)
		ret = append(&set->fixed, &set->fixed_count, &resource, err);
	if (ret)
		resource_release(&resource);
	return ret;
}

static int by_uri(const void *a, const void *b)
{
	return strcmp(((const struct resource *)a)->uri, ((const struct resource *)b)->uri);
}

static void digest(struct resourceset *set)
{
	uint64_t hash = DEFINITION_HASH_SEED;

	for (size_t i = 0; i < set->fixed_count; i++)
		hash = definition_hash(hash, set->fixed[i].listing[REV_2026_07]);
	for (size_t i = 0; i < set->templates_count; i++)
		hash = definition_hash(hash, set->templates[i].listing[REV_2026_07]);
	snprintf(set->digest, sizeof(set->digest), "%016llx", (unsigned long long)hash);
}

int resourceset_init(struct resourceset *set, struct cfg *cfg, struct err *err)
{
	int complaints = cfg->complaint_count;

	*set = (struct resourceset){0};
	if (definition_each(cfg, cfg->resources, "/resources", add_resource, set, err) ||
	    module_each(cfg, DEFINITION_RESOURCE, add_resource, set, err))
		goto fail;
	if (cfg->complaint_count != complaints) {
		err_set(
		    err, ERR_CONFIG, "mistakes in the definitions of resources: %d", cfg->complaint_count - complaints);
		goto fail;
	}
	if (set->fixed_count)
		qsort(set->fixed, set->fixed_count, sizeof(*set->fixed), by_uri);
	digest(set);
	return 0;
fail:
	resourceset_release(set);
	return -1;
}

void resourceset_release(struct resourceset *set)
{
	for (size_t i = 0; i < set->fixed_count; i++)
		resource_release(&set->fixed[i]);
	for (size_t i = 0; i < set->templates_count; i++)
		resource_release(&set->templates[i]);
	mem_free(set->fixed);
	mem_free(set->templates);
	*set = (struct resourceset){0};
}

static int by_key(const void *key, const void *resource)
{
	return definition_order(*(const struct slice *)key, ((const struct resource *)resource)->uri);
}

const struct resource *resourceset_find(
    const struct resourceset *set, struct slice uri, json_object **vars, struct err *err)
{
	const struct resource *found = NULL;

	*vars = json_object_new_object();
	if (*vars && set->fixed_count)
		found = bsearch(&uri, set->fixed, set->fixed_count, sizeof(*set->fixed), by_key);
	for (size_t i = 0; *vars && !found && i < set->templates_count; i++) {
		if (uri_template_match(set->templates[i].template, uri, *vars, err) == 0) {
			found = &set->templates[i];
		} else {
			json_object_put(*vars); /* some may have been found */
			*vars = err->code == ERR_NOT_FOUND ? json_object_new_object() : NULL;
		}
	}
	if (found)
		return found;
	if (*vars)
		err_set(err, ERR_NOT_FOUND, "no resource has this URI");
	else
		out_of_memory(err);
	json_object_put(*vars);
	*vars = NULL;
	return NULL;
}

const struct resource *resourceset_find_template(const struct resourceset *set, struct slice text)
{
	for (size_t i = 0; i < set->templates_count; i++) {
		if (slice_is(text, set->templates[i].uri))
			return &set->templates[i];
	}
	return NULL;
}

static bool is_watched(const struct resource *resource)
{
	return resource->provider->resource_watch && resource->provider->resource_watch(resource);
}

bool resourceset_is_watched(const struct resourceset *set, const struct resource *resource)
{
	bool found = resource && is_watched(resource);

	for (size_t i = 0; !resource && !found && i < set->fixed_count; i++)
		found = is_watched(&set->fixed[i]);
	for (size_t i = 0; !resource && !found && i < set->templates_count; i++)
		found = is_watched(&set->templates[i]);
	return found;
}
