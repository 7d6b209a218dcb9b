#include "config.h"

#include <stdio.h>

#include "common/ascii.h"
#include "common/base64.h"
#include "common/jx.h"
#include "fcgi/content.h"
#include "fcgi/uri.h"
#include "common/banned.h"

static size_t token_len(struct slice text, size_t from)
{
	size_t i = from;

	while (i < text.len &&
	       (ascii_is_letter(text.p[i]) || ascii_is_digit(text.p[i]) || ascii_is_among(text.p[i], "!#$&^_.+-")))
		i++;
	return i - from;
}

bool content_is_mime_type(struct slice text)
{
	size_t type = token_len(text, 0), subtype;

	if (type == 0 || type == text.len || text.p[type] != '/')
		return false;
	subtype = token_len(text, type + 1);
	return subtype > 0 && (type + 1 + subtype == text.len || ascii_is_among(text.p[type + 1 + subtype], "; "));
}

bool content_is_json(struct slice mime_type)
{
	size_t len = 0;

	while (len < mime_type.len && !ascii_is_among(mime_type.p[len], "; "))
		len++;
	mime_type.len = len;
	return slice_is(mime_type, "application/json") || (len > 5 && memcmp(mime_type.p + len - 5, "+json", 5) == 0);
}

static bool is_base64(struct slice text)
{
	struct buf bytes;
	bool is_good;

	buf_init(&bytes, text.len + 1);
	is_good = base64_decode(&bytes, BASE64_PADDED, text);
	buf_release(&bytes);
	return is_good;
}

/* Strings by name, and what each has to be. */
static int check_strings(json_object *obj, const char *const *names, const char *where, bool is_draft, struct err *err)
{
	for (; *names; names++) {
		struct slice text = jx_get_str(obj, *names);

		if (!text.p)
			return err_set(err, ERR_INVALID, "%s.%s must be a string", where, *names);
		if (is_draft)
			continue;
		if (strcmp(*names, "uri") == 0 && !uri_is_valid(text))
			return err_set(err, ERR_INVALID, "%s.uri must be a URI, as in \"notes://today\"", where);
		if (strcmp(*names, "mimeType") == 0 && !content_is_mime_type(text))
			return err_set(err, ERR_INVALID, "%s.mimeType must be a MIME type, as in \"image/png\"", where);
		if ((strcmp(*names, "data") == 0 || strcmp(*names, "blob") == 0) && !is_base64(text))
			return err_set(err, ERR_INVALID, "%s.%s must be base64 with padding", where, *names);
	}
	return 0;
}

/* The same for members that may be missing. */
static int check_optional(json_object *obj, const char *const *names, const char *where, bool is_draft, struct err *err)
{
	for (; *names; names++) {
		const char *const one[] = {*names, NULL};

		if (jx_has(obj, *names) && check_strings(obj, one, where, is_draft, err))
			return -1;
	}
	return 0;
}

static int check_meta(json_object *obj, const char *where, struct err *err)
{
	if (jx_has(obj, "_meta") && !jx_get_object(obj, "_meta"))
		return err_set(err, ERR_INVALID, "%s._meta must be an object", where);
	return 0;
}

static int check_audience(json_object *audience, const char *where, struct err *err)
{
	for (size_t i = 0; audience && i < json_object_array_length(audience); i++) {
		struct slice role = jx_str(json_object_array_get_idx(audience, i));

		if (!role.p || !(slice_is(role, "user") || slice_is(role, "assistant")))
			audience = NULL;
	}
	return audience ? 0
			: err_set(err, ERR_INVALID,
			      "%s.annotations.audience must be an array of \"user\" and \"assistant\"", where);
}

int content_check_annotations(json_object *annotations, const char *where, struct err *err)
{
	json_object *priority = jx_get(annotations, "priority");
	double weight = json_object_get_double(priority);

	if (!annotations)
		return 0;
	if (!json_object_is_type(annotations, json_type_object))
		return err_set(err, ERR_INVALID, "%s.annotations must be an object", where);
	if (jx_has(annotations, "audience") && check_audience(jx_get_array(annotations, "audience"), where, err))
		return -1;
	if (jx_has(annotations, "priority") &&
	    !(jx_is_number(priority) && weight >= 0 && weight <= 1))
		return err_set(err, ERR_INVALID, "%s.annotations.priority must be a number, 0 to 1", where);
	if (jx_has(annotations, "lastModified") && !jx_get_str(annotations, "lastModified").p)
		return err_set(err, ERR_INVALID,
		    "%s.annotations.lastModified must be a time as in \"2025-01-12T15:00:58Z\"", where);
	return 0;
}

int content_check_hints(json_object *annotations, const char *where, struct err *err)
{
	static const char *const hints[] = {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"};

	if (jx_has(annotations, "title") && !jx_get_str(annotations, "title").p)
		return err_set(err, ERR_INVALID, "%s.title must be a string", where);
	for (size_t i = 0; i < COUNT_OF(hints); i++) {
		if (jx_has(annotations, hints[i]) &&
		    !json_object_is_type(jx_get(annotations, hints[i]), json_type_boolean))
			return err_set(err, ERR_INVALID, "%s.%s must be true or false", where, hints[i]);
	}
	return 0;
}

static bool is_strings(json_object *array)
{
	for (size_t i = 0; array && i < json_object_array_length(array); i++) {
		if (!json_object_is_type(json_object_array_get_idx(array, i), json_type_string))
			return false;
	}
	return array != NULL;
}

static bool starts_with(struct slice s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len > len && memcmp(s.p, prefix, len) == 0;
}

static int check_icon(json_object *icon, const char *where, size_t i, struct err *err)
{
	struct slice src = jx_get_str(icon, "src"), theme = jx_get_str(icon, "theme");

	if (!src.p || !(starts_with(src, "https://") || starts_with(src, "http://") || starts_with(src, "data:")))
		return err_set(err, ERR_INVALID, "%s[%zu].src must be an http, https or data URL", where, i);
	if (jx_has(icon, "mimeType") && !content_is_mime_type(jx_get_str(icon, "mimeType")))
		return err_set(err, ERR_INVALID, "%s[%zu].mimeType must be a MIME type, as in \"image/png\"", where, i);
	if (jx_has(icon, "sizes") && !is_strings(jx_get_array(icon, "sizes")))
		return err_set(
		    err, ERR_INVALID, "%s[%zu].sizes must be an array of strings, as in [\"48x48\"]", where, i);
	if (jx_has(icon, "theme") && !(theme.p && (slice_is(theme, "light") || slice_is(theme, "dark"))))
		return err_set(err, ERR_INVALID, "%s[%zu].theme must be \"light\" or \"dark\"", where, i);
	return 0;
}

int content_check_icons(json_object *icons, const char *where, struct err *err)
{
	if (icons && !json_object_is_type(icons, json_type_array))
		return err_set(err, ERR_INVALID, "%s must be an array", where);
	for (size_t i = 0; icons && i < json_object_array_length(icons); i++) {
		json_object *icon = json_object_array_get_idx(icons, i);

		if (!json_object_is_type(icon, json_type_object))
			return err_set(err, ERR_INVALID, "%s[%zu] must be an object", where, i);
		if (check_icon(icon, where, i, err))
			return -1;
	}
	return 0;
}

int content_check_resource(json_object *resource, const char *where, bool is_draft, struct err *err)
{
	static const char *const needed[] = {"uri", NULL}, *const optional[] = {"mimeType", "text", "blob", NULL};

	if (!json_object_is_type(resource, json_type_object))
		return err_set(err, ERR_INVALID, "%s must be an object", where);
	if (jx_has(resource, "text") == jx_has(resource, "blob"))
		return err_set(err, ERR_INVALID, "%s must have either text or blob", where);
	if (check_strings(resource, needed, where, is_draft, err) ||
	    check_optional(resource, optional, where, is_draft, err))
		return -1;
	return check_meta(resource, where, err);
}

/* Of a resource_link: what only that has. */
static int check_link(json_object *link, const char *where, struct err *err)
{
	char icons[96];

	if (jx_has(link, "size") && !jx_is_integer(jx_get(link, "size")))
		return err_set(err, ERR_INVALID, "%s.size must be a whole number of bytes", where);
	snprintf(icons, sizeof(icons), "%s.icons", where);
	return content_check_icons(jx_get(link, "icons"), icons, err);
}

int content_check_block(json_object *block, const char *where, bool is_draft, struct err *err)
{
	static const struct {
		const char *type, *needed[3], *optional[4];
	} kinds[] = {
	    {"text", {"text"}, {NULL}},
	    {"image", {"data", "mimeType"}, {NULL}},
	    {"audio", {"data", "mimeType"}, {NULL}},
	    {"resource_link", {"uri", "name"}, {"mimeType", "title", "description"}},
	    {"resource", {NULL}, {NULL}},
	};
	struct slice type = jx_get_str(block, "type");
	char resource[96];
	size_t i;

	if (!json_object_is_type(block, json_type_object))
		return err_set(err, ERR_INVALID, "%s must be an object", where);
	for (i = 0; i < COUNT_OF(kinds) && !(type.p && slice_is(type, kinds[i].type)); i++)
		;
	if (i == COUNT_OF(kinds))
		return err_set(
		    err, ERR_INVALID, "%s.type must be text, image, audio, resource_link or resource", where);
	if (check_strings(block, kinds[i].needed, where, is_draft, err) ||
	    check_optional(block, kinds[i].optional, where, is_draft, err) || check_meta(block, where, err) ||
	    content_check_annotations(jx_get(block, "annotations"), where, err))
		return -1;
	snprintf(resource, sizeof(resource), "%s.resource", where);
	if (slice_is(type, "resource"))
		return content_check_resource(jx_get(block, "resource"), resource, is_draft, err);
	return slice_is(type, "resource_link") ? check_link(block, where, err) : 0;
}
