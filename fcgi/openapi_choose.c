/* Which operations become tools, and what these are called: a definition is checked, and what it says of operations
 * kept to. */
#include "config.h"

#include <fnmatch.h>
#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "fcgi/definition.h"
#include "fcgi/openapi_priv.h"
#include "common/banned.h"

const char *const openapi_members[] = {"file", "server", "variables", "prefix", "tags", "paths", "methods",
    "operations", "secrets", "timeout_s", "retries", "cache", "output_max_bytes", NULL};

/* ---- the definition ---- */

bool openapi_is_text(json_object *val)
{
	return jx_str(val).p && strlen(jx_str(val).p) == jx_str(val).len;
}

static bool is_texts(json_object *val)
{
	if (!json_object_is_type(val, json_type_array))
		return openapi_is_text(val);
	for (size_t i = 0; i < json_object_array_length(val); i++) {
		if (!openapi_is_text(json_object_array_get_idx(val, i)))
			return false;
	}
	return true;
}

static bool has_texts(json_object *val)
{
	if (!json_object_is_type(val, json_type_object))
		return false;
	json_object_object_foreach(val, name, text) {
		(void)name;
		if (!openapi_is_text(text))
			return false;
	}
	return true;
}

static bool is_prefix(json_object *val)
{
	struct slice prefix = jx_str(val);

	if (!prefix.p || prefix.len > OPENAPI_NAME_MAX / 2)
		return false;
	for (size_t i = 0; i < prefix.len; i++) {
		if (!ascii_is_letter(prefix.p[i]) && !ascii_is_digit(prefix.p[i]) && !ascii_is_among(prefix.p[i], "_-"))
			return false;
	}
	return true;
}

static bool is_server(json_object *val)
{
	const char *url = jx_str(val).p;

	return openapi_is_text(val) && (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0) &&
	       !strpbrk(url, "?# \\{}\t\r\n");
}

static bool is_object(json_object *val)
{
	return json_object_is_type(val, json_type_object);
}

int openapi_check_members(const struct openapi *api)
{
	static const struct {
		const char *name;
		bool (*is_fine)(json_object *val);
		const char *words;
	} rows[] = {
	    {"server", is_server, "server must be a URL as in \"https://api.example/v1\""},
	    {"variables", has_texts, "variables must be an object of strings"},
	    {"prefix", is_prefix, "prefix is at most 32 of A-Z a-z 0-9 _ -"},
	    {"tags", is_texts, "tags must be a string or an array of strings"},
	    {"paths", is_texts, "paths must be a string or an array of strings"},
	    {"methods", is_texts, "methods must be a string or an array of strings"},
	    {"operations", is_texts, "operations must be a string or an array of strings"},
	    {"secrets", is_object, "secrets must be an object: security scheme -> file"},
	};
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (jx_has(api->def, rows[i].name) && !rows[i].is_fine(jx_get(api->def, rows[i].name))) {
			api->listener->wrong_member(api->listener->arg, rows[i].name, rows[i].words);
			bad = -1;
		}
	}
	return bad;
}

/* Whether value fits one of patterns; is_refusal: those that begin with '!' */
static bool fits_one(json_object *patterns, struct slice value, bool is_refusal, bool *is_any)
{
	size_t count = json_object_is_type(patterns, json_type_array) ? json_object_array_length(patterns) : 1;
	bool fits = false;

	*is_any = false;
	for (size_t i = 0; i < count; i++) {
		json_object *item = count == 1 && !json_object_is_type(patterns, json_type_array)
					? patterns
					: json_object_array_get_idx(patterns, i);
		const char *pattern = jx_str(item).p;

		if ((pattern[0] == '!') != is_refusal)
			continue;
		*is_any = true;
		fits = fits || (value.p && fnmatch(pattern + is_refusal, value.p, FNM_CASEFOLD) == 0);
	}
	return fits;
}

static bool fits(const struct openapi *api, const char *member, const struct slice *values, size_t count)
{
	json_object *patterns = jx_get(api->def, member);
	bool is_any = false, is_wanted = false;

	if (!patterns)
		return true;
	for (size_t i = 0; i < count; i++) {
		bool ignored;

		if (fits_one(patterns, values[i], true, &ignored))
			return false;
		is_wanted = fits_one(patterns, values[i], false, &is_any) || is_wanted;
	}
	if (count == 0)
		fits_one(patterns, (struct slice){NULL, 0}, false, &is_any);
	return is_wanted || !is_any;
}

bool openapi_is_chosen(const struct openapi *api, const struct openapi_entry *e)
{
	const struct slice path = slice_str(e->path), key = slice_str(e->key);
	const struct slice names[] = {slice_str(e->name), jx_get_str(e->op, "operationId")};
	json_object *list = jx_get_array(e->op, "tags");
	struct slice tags[32];
	size_t count = 0;

	for (size_t i = 0; list && i < json_object_array_length(list) && count < COUNT_OF(tags); i++)
		tags[count++] = jx_str(json_object_array_get_idx(list, i));
	return fits(api, "paths", &path, 1) && fits(api, "methods", &key, 1) && fits(api, "operations", names, 2) &&
	       fits(api, "tags", tags, count);
}

/* ---- names ---- */

/* Appends what of text can be in a name; '_' stands for the rest. */
static void put_name(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (ascii_is_letter(*text) || ascii_is_digit(*text) || *text == '-')
			buf_add(out, text, 1);
		else if (out->len && out->data[out->len - 1] != '_')
			buf_adds(out, "_");
	}
	while (out->len && out->data[out->len - 1] == '_')
		out->data[--out->len] = '\0';
}

/* e->name is what it has, or too long: its beginning and a hash. */
static void end_with_hash(struct openapi_entry *e, const char *name)
{
	uint64_t hash = definition_hash(definition_hash(DEFINITION_HASH_SEED, e->key), e->path);

	snprintf(e->name, sizeof(e->name), "%.*s_%08x", OPENAPI_NAME_MAX - 9, name, (unsigned)(hash ^ (hash >> 32)));
}

int openapi_name(const struct openapi *api, struct openapi_entry *e, struct err *err)
{
	struct slice id = jx_get_str(e->op, "operationId"), prefix = jx_get_str(api->def, "prefix");
	struct buf name;
	int ret;

	buf_init(&name, OPENAPI_FILE_MAX_BYTES);
	if (id.p)
		put_name(&name, id.p);
	if (!name.len) {
		buf_adds(&name, e->key);
		buf_adds(&name, "_");
		put_name(&name, e->path);
	}
	ret = buf_check(&name, err);
	if (ret == 0 && prefix.len + name.len <= OPENAPI_NAME_MAX) {
		snprintf(e->name, sizeof(e->name), "%.*s%s", (int)prefix.len, prefix.p ? prefix.p : "", name.data);
	} else if (ret == 0) {
		struct buf whole;

		buf_init(&whole, OPENAPI_FILE_MAX_BYTES + OPENAPI_NAME_MAX);
		buf_add_slice(&whole, prefix);
		buf_add_slice(&whole, buf_slice(&name));
		ret = buf_check(&whole, err);
		if (ret == 0)
			end_with_hash(e, whole.data);
		buf_release(&whole);
	}
	buf_release(&name);
	return ret;
}

/* Names that several have. */
int openapi_tell_apart(struct openapi_entries *all, struct err *err)
{
	json_object *uses = json_object_new_object();
	int bad = uses ? 0 : err_set(err, ERR_NOMEM, "openapi");

	for (size_t i = 0; !bad && i < all->count; i++) {
		const char *name = all->items[i].name;

		bad = jx_add(uses, name, json_object_new_int(json_object_get_int(jx_get(uses, name)) + 1), err);
	}
	for (size_t i = 0; !bad && i < all->count; i++) {
		struct openapi_entry *e = &all->items[i];
		char name[OPENAPI_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%s", e->name);
		if (json_object_get_int(jx_get(uses, name)) > 1)
			end_with_hash(e, name);
	}
	json_object_put(uses);
	return bad;
}
