/* Requests, made of a definition and arguments. */
#include "config.h"

#include "common/jx.h"
#include "fcgi/escape.h"
#include "fcgi/http_def_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define BODY_MAX_BYTES 16777216

enum place { PLACE_URL, PLACE_FIELD, PLACE_HEADER, PLACE_TEXT, PLACE_XML };

struct maker {
	const struct http_def *def;
	json_object *args;
	struct buf *why;
};

enum http_style http_style_of(json_object *field)
{
	static const char *const names[] = {"", "comma", "space", "pipe", "deep", "json"};
	struct slice name = jx_get_str(field, "style");

	for (size_t i = 1; name.p && i < COUNT_OF(names); i++) {
		if (slice_is(name, names[i]))
			return (enum http_style)i;
	}
	return HTTP_STYLE_NONE;
}

static json_object *find(json_object *obj, struct slice name)
{
	if (obj) {
		json_object_object_foreach(obj, key, val) {
			if (slice_is(name, key))
				return val;
		}
	}
	return NULL;
}

json_object *http_def_value(const struct http_def *def, json_object *args, struct slice name)
{
	json_object *val = find(def->secrets, name);

	if (!val)
		val = find(args, name);
	return val ? val : jx_get(find(def->properties, name), "default");
}

/* The value cannot be where it is to go: 1. */
static int refuse(const struct maker *m, struct slice name, const char *what)
{
	buf_add_slice(m->why, name);
	buf_addf(m->why, " %s", what);
	return 1;
}

/* Whether all that text names is there. */
static bool is_complete(const struct maker *m, const char *text)
{
	struct slice part;
	size_t at = 0;

	while (text[at]) {
		if (placeholder_next(text, &at, &part) == 1 && !http_def_value(m->def, m->args, part))
			return false;
	}
	return true;
}

/* Items with something between them; the value of a header or in a path, when it is an array. */
static int put_items(const struct maker *m, struct buf *out, enum place place, struct slice name, const char *between,
    json_object *array);

static int put_value(const struct maker *m, struct buf *out, enum place place, struct slice name, json_object *val)
{
	struct slice text = jx_str(val);
	struct buf json;
	int ret = 0;

	if ((place == PLACE_URL || place == PLACE_HEADER) && json_object_is_type(val, json_type_array) &&
	    json_object_array_length(val))
		return put_items(m, out, place, name, ",", val);
	buf_init(&json, BODY_MAX_BYTES);
	if (!text.p) {
		jx_write(&json, val);
		text = buf_slice(&json);
	}
	if (json.fault)
		out->fault = json.fault;
	else if (place == PLACE_URL && text.len == 0)
		ret = refuse(m, name, "must not be empty");
	else if (place == PLACE_HEADER && !escape_fits_header(text))
		ret = refuse(m, name, "must not hold control characters");
	else if (place == PLACE_URL || place == PLACE_FIELD)
		escape_put_percent(out, text);
	else if (place == PLACE_XML)
		escape_put_xml(out, text);
	else
		buf_add_slice(out, text);
	buf_release(&json);
	return ret;
}

static int put_items(const struct maker *m, struct buf *out, enum place place, struct slice name, const char *between,
    json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		buf_adds(out, i ? between : "");
		if (put_value(m, out, place, name, json_object_array_get_idx(array, i)))
			return 1;
	}
	return 0;
}

/* A text with its values in place. One that is missing is empty, but in a URL. */
static int put_text(const struct maker *m, struct buf *out, enum place place, const char *text)
{
	struct slice part;
	size_t at = 0;

	while (text[at]) {
		json_object *val;

		if (placeholder_next(text, &at, &part) == 0) {
			if (place == PLACE_FIELD) /* in a URL it is the author's to write what a URL holds */
				escape_put_percent(out, part);
			else
				buf_add_slice(out, part);
			continue;
		}
		val = http_def_value(m->def, m->args, part);
		if (!val && place == PLACE_URL)
			return refuse(m, part, "is missing");
		if (val && put_value(m, out, place, part, val))
			return 1;
	}
	return 0;
}

/* ---- URL ---- */

/* Segments that a server, or who stands before it, would take for a step up. */
static bool has_dot_segment(struct slice url)
{
	const char *path = memchr(url.p + strlen("https://"), '/', url.len - strlen("https://"));
	const char *end = path ? path + strcspn(path, "?") : NULL;

	while (path && path < end) {
		size_t len = strcspn(path + 1, "/?");

		if ((len == 1 && path[1] == '.') || (len == 2 && path[1] == '.' && path[2] == '.'))
			return true;
		path += len + 1;
	}
	return false;
}

/* NAME=VALUE, with what stands before it. */
static int put_field(const struct maker *m, struct buf *out, const char **separator, const char *name, struct slice arg,
    json_object *val)
{
	buf_adds(out, *separator);
	*separator = "&";
	escape_put_percent(out, slice_str(name));
	buf_adds(out, "=");
	if (json_object_is_type(val, json_type_string) && !arg.p)
		return put_text(m, out, PLACE_FIELD, jx_str(val).p);
	return put_value(m, out, PLACE_FIELD, arg, val);
}

/* NAME[MEMBER]=VALUE for all that is in val. */
static int put_deep(const struct maker *m, struct buf *out, const char **separator, struct buf *name, struct slice arg,
    json_object *val)
{
	size_t mark = name->len, count = 0;
	int ret = 0;

	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, key, member) {
			buf_addf(name, "[%s]", key);
			ret = ret ? ret : put_deep(m, out, separator, name, arg, member);
			name->len = mark;
		}
		return ret;
	}
	if (!json_object_is_type(val, json_type_array)) {
		if (name->fault)
			out->fault = name->fault;
		return name->fault ? 0 : put_field(m, out, separator, name->data, arg, val);
	}
	for (; count < json_object_array_length(val) && ret == 0; count++) {
		buf_addf(name, "[%zu]", count);
		ret = put_deep(m, out, separator, name, arg, json_object_array_get_idx(val, count));
		name->len = mark;
	}
	return ret;
}

static void put_json_field(struct buf *out, json_object *val)
{
	struct buf json;

	buf_init(&json, BODY_MAX_BYTES);
	jx_write(&json, val);
	if (json.fault)
		out->fault = json.fault;
	else
		escape_put_percent(out, buf_slice(&json));
	buf_release(&json);
}

static int put_styled(const struct maker *m, struct buf *out, const char **separator, const char *name,
    enum http_style style, struct slice arg, json_object *val)
{
	static const char *const between[] = {"", ",", "%20", "%7C", "", ""};
	struct buf at;
	int ret;

	if (style == HTTP_STYLE_DEEP) {
		buf_init(&at, BODY_MAX_BYTES);
		buf_adds(&at, name);
		ret = put_deep(m, out, separator, &at, arg, val);
		buf_release(&at);
		return ret;
	}
	if (style != HTTP_STYLE_JSON && !json_object_is_type(val, json_type_array))
		return put_field(m, out, separator, name, arg, val);
	buf_adds(out, *separator);
	*separator = "&";
	escape_put_percent(out, slice_str(name));
	buf_adds(out, "=");
	if (style != HTTP_STYLE_JSON)
		return put_items(m, out, PLACE_FIELD, arg, between[style], val);
	put_json_field(out, val);
	return 0;
}

/* name=value&name=value, but for the names in except. NULL objects are empty. */
static int put_fields(
    const struct maker *m, struct buf *out, const char **separator, json_object *fields, json_object *except)
{
	if (!fields)
		return 0;
	json_object_object_foreach(fields, name, template) {
		enum http_style style = http_style_of(template);
		struct slice text = style ? jx_get_str(template, "value") : jx_str(template), arg = {NULL, 0};
		json_object *val;
		int ret = 0;

		if (jx_has(except, name) || (text.p && !is_complete(m, text.p)))
			continue;
		val = text.p && http_is_placeholder(text.p, &arg) ? http_def_value(m->def, m->args, arg) : NULL;
		if (style) {
			ret = put_styled(m, out, separator, name, style, arg, val);
		} else if (!json_object_is_type(val, json_type_array)) {
			ret = put_field(m, out, separator, name, (struct slice){NULL, 0}, template);
		} else {
			for (size_t i = 0; i < json_object_array_length(val) && ret == 0; i++)
				ret = put_field(m, out, separator, name, arg, json_object_array_get_idx(val, i));
		}
		if (ret)
			return ret;
	}
	return 0;
}

/* What all definitions of the API have, as if it was a definition of its own. def is NULL: there is none. */
static struct maker base_of(const struct maker *m)
{
	return (struct maker){m->def->base ? m->def->base->def : NULL, NULL, m->why};
}

static int make_url(const struct maker *m, struct buf *url)
{
	const char *query = strchr(m->def->url, '?'), *separator = !query ? "?" : query[1] ? "&" : "";
	const struct maker base = base_of(m);

	if (base.def && put_text(&base, url, PLACE_URL, base.def->url))
		return 1;
	if (base.def && url->len && url->data[url->len - 1] == '/' && m->def->url[0] == '/')
		url->len--;
	if (put_text(m, url, PLACE_URL, m->def->url))
		return 1;
	if (base.def && put_fields(&base, url, &separator, base.def->query, m->def->query))
		return 1;
	if (put_fields(m, url, &separator, m->def->query, NULL))
		return 1;
	if (!url->fault && has_dot_segment(buf_slice(url))) {
		buf_adds(m->why, "an argument must not be \".\" or \"..\"");
		return 1;
	}
	return 0;
}

/* ---- headers and body ---- */

static int put_header(const struct maker *m, struct buf *out, const char *name, json_object *template)
{
	struct slice text = jx_str(template);

	if (text.p && !is_complete(m, text.p))
		return 0;
	buf_addf(out, "%s:%s", name, text.p && text.len == 0 ? "" : " ");
	if (!text.p)
		jx_write(out, template);
	else if (put_text(m, out, PLACE_HEADER, text.p))
		return 1;
	buf_add(out, "", 1);
	return 0;
}

static bool has_header(json_object *headers, const char *wanted)
{
	if (headers) {
		json_object_object_foreach(headers, name, template) {
			(void)template;
			if (strcasecmp(name, wanted) == 0)
				return true;
		}
	}
	return false;
}

/* All of def's but those in except, and what there is no body to say of. */
static int put_headers(const struct maker *m, struct buf *out, json_object *except, bool is_sent)
{
	if (!m->def || !m->def->headers)
		return 0;
	json_object_object_foreach(m->def->headers, name, template) {
		bool is_idle = m->def->has_json && !is_sent && strcasecmp(name, "Content-Type") == 0;

		if (!is_idle && !has_header(except, name) && put_header(m, out, name, template))
			return 1;
	}
	return 0;
}

/* is_sent: there is a body. */
static int make_headers(const struct maker *m, bool is_sent, struct buf *out)
{
	const struct maker base = base_of(m);
	const char *type = !is_sent           ? NULL
			   : m->def->has_json ? "application/json"
			   : m->def->form     ? "application/x-www-form-urlencoded"
			   : m->def->body     ? "text/plain; charset=utf-8"
					      : NULL;

	if (put_headers(&base, out, m->def->headers, is_sent) || put_headers(m, out, NULL, is_sent))
		return 1;
	if (type && !has_header(m->def->headers, "Content-Type") &&
	    !(base.def && has_header(base.def->headers, "Content-Type"))) {
		buf_addf(out, "Content-Type: %s", type);
		buf_add(out, "", 1);
	}
	return 0;
}

/* False: val is a text that names what is missing; nothing was appended. */
static bool put_json(const struct maker *m, struct buf *out, json_object *val)
{
	const char *comma = "";
	struct slice text = jx_str(val), name;

	if (text.p && !is_complete(m, text.p))
		return false;
	if (text.p && http_is_placeholder(text.p, &name)) {
		jx_write(out, http_def_value(m->def, m->args, name));
	} else if (text.p) {
		struct buf plain;

		buf_init(&plain, BODY_MAX_BYTES);
		put_text(m, &plain, PLACE_TEXT, text.p);
		if (plain.fault)
			out->fault = plain.fault;
		jx_write_str(out, buf_slice(&plain));
		buf_release(&plain);
	} else if (json_object_is_type(val, json_type_object)) {
		buf_adds(out, "{");
		json_object_object_foreach(val, key, member) {
			size_t mark = out->len;

			buf_adds(out, comma);
			jx_write_str(out, slice_str(key));
			buf_adds(out, ":");
			if (put_json(m, out, member))
				comma = ",";
			else if (!out->fault)
				out->len = mark;
		}
		buf_adds(out, "}");
	} else if (json_object_is_type(val, json_type_array)) {
		buf_adds(out, "[");
		for (size_t i = 0; i < json_object_array_length(val); i++) {
			size_t mark = out->len;

			buf_adds(out, comma);
			if (put_json(m, out, json_object_array_get_idx(val, i)))
				comma = ",";
			else if (!out->fault)
				out->len = mark;
		}
		buf_adds(out, "]");
	} else {
		jx_write(out, val);
	}
	return true;
}

/* JSON that is one argument, which is missing, is not sent. */
static bool has_body(const struct maker *m)
{
	const char *text = jx_str(m->def->json).p;

	return m->def->form || m->def->body || (m->def->has_json && (!text || is_complete(m, text)));
}

static int make_body(const struct maker *m, struct http_request *request)
{
	const struct http_def *def = m->def;
	const char *separator = "";

	buf_init(&request->body, BODY_MAX_BYTES);
	if (def->form)
		return put_fields(m, &request->body, &separator, def->form, NULL);
	if (def->body)
		return put_text(m, &request->body, def->is_xml ? PLACE_XML : PLACE_TEXT, def->body);
	if (request->has_body)
		put_json(m, &request->body, def->json);
	return 0;
}

int http_def_make(
    const struct http_def *def, json_object *args, struct http_request *request, struct buf *why, struct err *err)
{
	const struct maker m = {def, args, why};
	const struct buf *parts[] = {&request->url, &request->headers, &request->body};

	request->method = def->method;
	request->has_body = has_body(&m);
	if (def->base && address_nets_copy(&request->allowed, &def->base->allowed, err))
		return -1;
	if (make_url(&m, &request->url) || make_headers(&m, request->has_body, &request->headers) ||
	    make_body(&m, request))
		return buf_check(why, err) ? -1 : 1;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (parts[i]->fault == ERR_TOO_BIG) {
			buf_adds(why, "the arguments are too long");
			return 1;
		}
		if (buf_check(parts[i], err))
			return -1;
	}
	return 0;
}

/* Where the first secret stands in text, the longest if several begin there, unless *found is before it. */
static void find_secret(const struct http_def *def, struct slice text, struct slice *found)
{
	json_object_object_foreach(def->secrets, name, val) {
		struct slice secret = jx_str(val);
		const char *at = memmem(text.p, text.len, secret.p, secret.len);

		(void)name;
		if (at && (!found->p || at < found->p || (at == found->p && secret.len > found->len)))
			*found = (struct slice){at, secret.len};
	}
}

void http_def_put_clean(const struct http_def *def, struct buf *out, struct slice text)
{
	while (text.len) {
		struct slice secret = {NULL, 0};
		size_t len = text.len;

		find_secret(def, text, &secret);
		if (def->base)
			find_secret(def->base->def, text, &secret);
		if (secret.p)
			len = (size_t)(secret.p - text.p);
		buf_add(out, text.p, len);
		if (!secret.p)
			return;
		buf_adds(out, "[secret]");
		text.p += len + secret.len;
		text.len -= len + secret.len;
	}
}
