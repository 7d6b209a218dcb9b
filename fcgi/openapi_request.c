/* Parameters and bodies: each becomes an argument of the tool, and a place in its request. */
#include "config.h"

#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "fcgi/escape.h"
#include "fcgi/openapi_priv.h"
#include "common/banned.h"

#define TEXT_MAX        65536
#define DESCRIPTION_MAX 1024
#define HEADER_NAME_MAX 256
#define FORM_DEPTH_MAX  8

enum place { PLACE_PATH, PLACE_QUERY, PLACE_HEADER, PLACE_COOKIE, PLACE__COUNT };
static const char *const place_names[] = {"path", "query", "header", "cookie"};
static const char *const default_styles[] = {"simple", "form", "simple", "form"};

struct param {
	json_object *obj;    /* borrowed, as schema */
	json_object *schema; /* NULL: any value */
	struct slice name;
	enum place place;
	bool is_required, is_json, explodes;
	struct slice style;
	unsigned types;
};

void openapi_put_plain(struct buf *out, struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		buf_add(out, text.p[i] == '{' ? "{{" : text.p + i, text.p[i] == '{' ? 2 : 1);
}

/* In small letters. */
static const char *make_small(const char *name, char small[HEADER_NAME_MAX + 1])
{
	size_t len = 0;

	for (; name[len] && len < HEADER_NAME_MAX; len++)
		small[len] = ascii_lower(name[len]);
	small[len] = '\0';
	return small;
}

bool openapi_has_header(const struct operation *o, const char *name)
{
	char small[HEADER_NAME_MAX + 1];

	return jx_has(o->header_names, make_small(name, small));
}

int openapi_add_header(struct operation *o, const char *name, json_object *template, struct err *err)
{
	char small[HEADER_NAME_MAX + 1];

	if (jx_add(o->header_names, make_small(name, small), json_object_new_boolean(true), err)) {
		json_object_put(template);
		return -1;
	}
	return jx_add(o->headers, name, template, err);
}

bool openapi_is_header(const char *name)
{
	static const char *const fixed[] = {"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host",
	    "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade"};

	for (size_t i = 0; i < COUNT_OF(fixed); i++) {
		if (strcasecmp(name, fixed[i]) == 0)
			return false;
	}
	if (strlen(name) > HEADER_NAME_MAX)
		return false;
	for (const char *p = name; *p; p++) {
		if (!ascii_is_letter(*p) && !ascii_is_digit(*p) && !ascii_is_among(*p, "!#$%&'*+-.^_`|~"))
			return false;
	}
	return *name;
}

/* ---- arguments ---- */

/* What an argument is called: of A-Z a-z 0-9 _ - . alone, so that it is no placeholder but its own; not yet taken. */
static int name_argument(struct operation *o, struct slice wanted, char name[OPENAPI_NAME_MAX + 1], struct err *err)
{
	size_t len = 0, mark;

	for (size_t i = 0; i < wanted.len && len < OPENAPI_NAME_MAX - 8; i++) {
		char c = wanted.p[i];
		bool is_fine = ascii_is_letter(c) || ascii_is_digit(c) || ascii_is_among(c, "_-.");

		if (is_fine || (len && name[len - 1] != '_'))
			name[len++] = is_fine ? c : '_';
	}
	while (len > 1 && name[len - 1] == '_' && wanted.p[wanted.len - 1] != '_')
		len--;
	if (len == 0)
		name[len++] = '_';
	name[len] = '\0';
	mark = len;
	for (unsigned n = 2; jx_has(o->properties, name); n++) {
		if (openapi_step(o, err))
			return -1;
		snprintf(name + mark, OPENAPI_NAME_MAX + 1 - mark, "_%u", n);
	}
	return 0;
}

/* A default would be sent when the argument is missing, which the API does itself: it is told instead. */
static int describe(json_object *schema, struct slice said, struct err *err)
{
	json_object *value = jx_get(schema, "default");
	struct slice text = said.p && said.len ? said : jx_get_str(schema, "description");
	struct buf out;
	int ret = 0;

	if (!json_object_is_type(schema, json_type_object))
		return 0;
	buf_init(&out, TEXT_MAX);
	buf_add(&out, text.p, openapi_cut(text, DESCRIPTION_MAX));
	if (value) {
		buf_adds(&out, out.len ? " (default: " : "(default: ");
		jx_write(&out, value);
		buf_adds(&out, ")");
	}
	json_object_object_del(schema, "default");
	if (out.fault == ERR_NOMEM)
		ret = buf_check(&out, err);
	else if (out.len)
		ret = jx_add(schema, "description", jx_new_str(buf_slice(&out)), err);
	buf_release(&out);
	return ret;
}

/* schema: of the description, NULL: any value. name gets what the argument is called. */
static int add_argument(struct operation *o, struct slice wanted, json_object *schema, struct slice description,
    bool is_required, char name[OPENAPI_NAME_MAX + 1], struct err *err)
{
	json_object *made = schema ? openapi_schema(o, schema, err) : json_object_new_object();

	if (!made && schema)
		return -1;
	if (json_object_is_type(made, json_type_boolean)) { /* it may be shared, and "true" needs no words */
		json_object_put(made);
		made = json_object_new_object();
	}
	if (name_argument(o, wanted, name, err) || describe(made, description, err)) {
		json_object_put(made);
		return -1;
	}
	if (jx_add(o->properties, name, made, err))
		return -1;
	return is_required ? jx_append(o->required, json_object_new_string(name), err) : 0;
}

/* before{name} */
static json_object *new_template(struct slice before, const char *name)
{
	json_object *made;
	struct buf out;

	buf_init(&out, TEXT_MAX);
	openapi_put_plain(&out, before);
	buf_addf(&out, "{%s}", name);
	made = out.fault ? NULL : jx_new_str(buf_slice(&out));
	buf_release(&out);
	return made;
}

/* A value of a query or form: "{name}", or how it is to be written when that differs. */
static json_object *new_field(const char *name, const char *style, struct err *err)
{
	json_object *field = new_template(SLICE(""), name), *made;
	int bad;

	if (!style)
		return field;
	made = json_object_new_object();
	bad = jx_add(made, "value", field, err);
	bad |= jx_add_str(made, "style", style, err);
	if (!bad)
		return made;
	json_object_put(made);
	return NULL;
}

/* ---- parameters ---- */

static int read_param(struct operation *o, json_object *obj, struct param *p, struct err *err)
{
	struct slice in = jx_get_str(obj, "in");
	json_object *content = jx_get_object(obj, "content");

	*p = (struct param){.obj = obj, .name = jx_get_str(obj, "name"), .schema = jx_get(obj, "schema")};
	if (!p->name.p || !p->name.len || strlen(p->name.p) != p->name.len)
		return openapi_refuse(err, "a parameter needs a name");
	while (p->place < PLACE__COUNT && !(in.p && slice_is(in, place_names[p->place])))
		p->place++;
	if (p->place == PLACE__COUNT)
		return openapi_refuse(
		    err, "parameter %.80s: only path, query, header and cookie have parameters", p->name.p);
	p->is_required = p->place == PLACE_PATH || json_object_get_boolean(jx_get(obj, "required"));
	p->style = jx_get_str(obj, "style");
	if (!p->style.p)
		p->style = slice_str(default_styles[p->place]);
	p->explodes =
	    jx_has(obj, "explode") ? json_object_get_boolean(jx_get(obj, "explode")) : slice_is(p->style, "form");
	if (content) {
		json_object_object_foreach(content, type, media) {
			p->is_json = strcasestr(type, "json");
			p->schema = jx_get(media, "schema");
			break;
		}
		p->style = slice_str(p->is_json ? "json" : "content");
	}
	p->types = openapi_types(o, p->schema);
	return 0;
}

/* How a query or a form writes it: *style for http definitions, NULL: as it does anyway. Returns why it can't; NULL: it
 * can. */
static const char *plan_field(const struct param *p, const char **style)
{
	bool joins = !p->explodes && (!p->types || (p->types & OPENAPI_ARRAY));

	*style = NULL;
	if (slice_is(p->style, "json"))
		*style = "json";
	else if (slice_is(p->style, "deepObject"))
		*style = "deep";
	else if (p->types & OPENAPI_OBJECT)
		return "an object can only be written as deepObject or JSON";
	else if (slice_is(p->style, "form"))
		*style = joins ? "comma" : NULL;
	else if (slice_is(p->style, "spaceDelimited"))
		*style = joins ? "space" : NULL;
	else if (slice_is(p->style, "pipeDelimited"))
		*style = joins ? "pipe" : NULL;
	else
		return "its style or media type is not known";
	return NULL;
}

/* What stands before a value in the path. Returns as plan_field(). */
static const char *plan_path(const struct param *p, struct buf *before)
{
	bool is_compound = p->types & (OPENAPI_ARRAY | OPENAPI_OBJECT);

	if (slice_is(p->style, "simple"))
		return p->types & OPENAPI_OBJECT ? "an object can't be written in a path" : NULL;
	if (slice_is(p->style, "label"))
		buf_adds(before, ".");
	else if (slice_is(p->style, "matrix"))
		buf_addf(before, ";%s=", p->name.p);
	else
		return "its style or media type is not known";
	return is_compound ? "only single values can be written in this style" : NULL;
}

static const char *plan_header(const struct operation *o, const struct param *p)
{
	if (!slice_is(p->style, "simple"))
		return "its style or media type is not known";
	if (p->types & OPENAPI_OBJECT)
		return "an object can't be written in a header";
	if (!openapi_is_header(p->name.p))
		return "such a header can't be set";
	return openapi_has_header(o, p->name.p) ? "the header is there already" : NULL;
}

/* A parameter that can't be sent: without one that is required there is no request. */
static int miss(const struct operation *o, const struct param *p, const char *why, struct err *err)
{
	if (p->is_required)
		return openapi_refuse(err, "parameter %.80s: %s", p->name.p, why);
	openapi_warn(o, "parameter %.80s is left out: %s", p->name.p, why);
	return 0;
}

/* OpenAPI has other places for these. */
static bool is_ignored(const struct param *p)
{
	return p->place == PLACE_HEADER &&
	       (strcasecmp(p->name.p, "Accept") == 0 || strcasecmp(p->name.p, "Content-Type") == 0 ||
		   strcasecmp(p->name.p, "Authorization") == 0);
}

static int put_param(struct operation *o, const struct param *p, json_object *paths, const struct buf *before,
    const char *style, struct err *err)
{
	char name[OPENAPI_NAME_MAX + 1];
	size_t mark = openapi_enter(o, "schema");

	if (add_argument(o, p->name, p->schema, jx_get_str(p->obj, "description"), p->is_required, name, err))
		return -1;
	openapi_leave(o, mark);
	if (p->place == PLACE_QUERY)
		return jx_add(o->query, p->name.p, new_field(name, style, err), err);
	if (p->place == PLACE_PATH)
		return jx_add(paths, p->name.p, new_template(buf_slice(before), name), err);
	return openapi_add_header(o, p->name.p, new_template(buf_slice(before), name), err);
}

/* paths: name -> template of what stands in the path for it. */
static int add_param(struct operation *o, json_object *obj, json_object *paths, struct err *err)
{
	const char *why = NULL, *style = NULL;
	struct buf before;
	struct param p;
	int ret;

	if (openapi_resolve(o->api, &obj, err) || read_param(o, obj, &p, err))
		return -1;
	if (is_ignored(&p))
		return 0;
	buf_init(&before, TEXT_MAX);
	if (p.place == PLACE_COOKIE)
		why = "cookies are not sent";
	else if (p.place == PLACE_QUERY)
		why = jx_has(o->query, p.name.p) ? "it is what the secret is sent in" : plan_field(&p, &style);
	else
		why = p.place == PLACE_PATH ? plan_path(&p, &before) : plan_header(o, &p);
	ret = why                                     ? miss(o, &p, why, err)
	      : openapi_check(&before, "a name", err) ? -1
						      : put_param(o, &p, paths, &before, style, err);
	buf_release(&before);
	return ret;
}

static bool is_same_param(const struct openapi *api, json_object *a, json_object *b)
{
	struct err err;

	return openapi_resolve(api, &a, &err) == 0 && openapi_resolve(api, &b, &err) == 0 &&
	       slice_eq(jx_get_str(a, "name"), jx_get_str(b, "name")) &&
	       slice_eq(jx_get_str(a, "in"), jx_get_str(b, "in"));
}

/* Whether an operation has a parameter like this, of the path that it is at: 1 or 0. */
static int is_replaced(struct operation *o, json_object *obj, struct err *err)
{
	json_object *own = jx_get_array(o->op, "parameters");

	for (size_t i = 0; own && i < json_object_array_length(own); i++) {
		if (openapi_step(o, err))
			return -1;
		if (is_same_param(o->api, obj, json_object_array_get_idx(own, i)))
			return 1;
	}
	return 0;
}

static int add_params(struct operation *o, json_object *from, json_object *paths, struct err *err)
{
	json_object *list = jx_get_array(from, "parameters");
	size_t mark = openapi_enter(o, "parameters");

	if (jx_has(from, "parameters") && !list)
		return openapi_refuse(err, "parameters must be an array");
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		json_object *obj = json_object_array_get_idx(list, i);
		size_t inner = openapi_enter_index(o, i);
		int is_hidden = from == o->item ? is_replaced(o, obj, err) : 0;

		if (is_hidden == -1 || (!is_hidden && add_param(o, obj, paths, err)))
			return -1;
		openapi_leave(o, inner);
	}
	openapi_leave(o, mark);
	return 0;
}

/* ---- the path ---- */

/* What tells operations of one path apart behind a # is never sent. */
static int put_path(const struct operation *o, struct buf *url, json_object *paths, struct err *err)
{
	for (const char *p = o->path; *p && *p != '#';) {
		size_t len = *p == '{' ? strcspn(p, "}") : 1;
		char name[256];

		if (*p != '{') {
			if (strchr(" \\", *p) || !escape_fits_header((struct slice){p, 1}))
				return openapi_refuse(err, "its path holds a space, \\ or control character");
			buf_add(url, p, 1);
			p++;
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)(len - 1), p + 1);
		if (!p[len] || !jx_get_str(paths, name).p)
			return openapi_refuse(err, "its path has {%.80s}, which is no parameter in the path", name);
		buf_add_slice(url, jx_get_str(paths, name));
		p += len + 1;
	}
	return 0;
}

/* ---- bodies ---- */

static bool is_type(const char *type, const char *wanted)
{
	size_t len = strlen(wanted);

	return strncasecmp(type, wanted, len) == 0 && (!type[len] || type[len] == ';' || type[len] == ' ');
}

enum { BODY_NONE, BODY_TEXT, BODY_FORM, BODY_ANY, BODY_JSON_PATCH, BODY_JSON_LIKE, BODY_JSON }; /* the best one last */

static int body_kind(const char *type)
{
	return is_type(type, "application/json")                        ? BODY_JSON
	       : is_type(type, "application/json-patch+json")           ? BODY_JSON_PATCH
	       : strcasestr(type, "+json")                              ? BODY_JSON_LIKE
	       : is_type(type, "*/*") || is_type(type, "application/*") ? BODY_ANY
	       : is_type(type, "application/x-www-form-urlencoded")     ? BODY_FORM
	       : is_type(type, "text/plain")                            ? BODY_TEXT
									: BODY_NONE;
}

static int set_type(struct operation *o, const char *type, struct err *err)
{
	struct buf out;
	int ret;

	if (!escape_fits_header(slice_str(type)))
		return openapi_refuse(err, "a media type with control characters");
	buf_init(&out, TEXT_MAX);
	openapi_put_plain(&out, slice_str(type));
	ret = openapi_check(&out, "a media type", err);
	if (ret == 0)
		ret = openapi_add_header(o, "Content-Type", jx_new_str(buf_slice(&out)), err);
	buf_release(&out);
	return ret;
}

/* A body that is one argument: JSON, or a text. */
static int add_whole_body(
    struct operation *o, json_object *body, json_object *media, json_object **sent, struct err *err)
{
	struct slice description = jx_get_str(body, "description");
	char name[OPENAPI_NAME_MAX + 1];
	size_t mark = openapi_enter(o, "schema");

	if (add_argument(o, SLICE("body"), jx_get(media, "schema"), description,
		json_object_get_boolean(jx_get(body, "required")), name, err))
		return -1;
	openapi_leave(o, mark);
	*sent = new_template(SLICE(""), name);
	return *sent ? 0 : err_set(err, ERR_NOMEM, "openapi");
}

/* Whether "required" of the schema has this property. */
static bool is_in_list(json_object *list, const char *name)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct slice item = jx_str(json_object_array_get_idx(list, i));

		if (item.p && slice_is(item, name))
			return true;
	}
	return false;
}

static int add_field(
    struct operation *o, const char *key, json_object *schema, json_object *encoding, bool is_required, struct err *err)
{
	struct slice type = jx_get_str(encoding, "contentType"), style = jx_get_str(encoding, "style");
	struct param p = {.name = slice_str(key), .schema = schema, .is_required = is_required, .style = SLICE("form")};
	char name[OPENAPI_NAME_MAX + 1];
	const char *as, *why;

	p.types = openapi_types(o, schema);
	p.explodes = !jx_has(encoding, "explode") || json_object_get_boolean(jx_get(encoding, "explode"));
	if (style.p)
		p.style = style;
	else if (type.p ? strcasestr(type.p, "json") != NULL : p.types == OPENAPI_OBJECT)
		p.style = SLICE("json"); /* of an object that nothing is said of, too */
	why = plan_field(&p, &as);
	if (why)
		return miss(o, &p, why, err);
	if (jx_has(o->form, key))
		return 0; /* of another part of an allOf */
	if (add_argument(o, p.name, schema, (struct slice){NULL, 0}, is_required, name, err))
		return -1;
	return jx_add(o->form, key, new_field(name, as, err), err);
}

/* The properties of a form, those of what is allOf it too. */
static int add_fields(
    struct operation *o, json_object *schema, json_object *encodings, bool is_required, int depth, struct err *err)
{
	json_object *all, *properties, *required;

	if (openapi_step(o, err) || openapi_resolve(o->api, &schema, err))
		return -1;
	all = jx_get_array(schema, "allOf");
	properties = jx_get_object(schema, "properties");
	required = jx_get_array(schema, "required");
	if (depth > FORM_DEPTH_MAX || jx_has(schema, "anyOf") || jx_has(schema, "oneOf"))
		return openapi_refuse(err, "a form that is one of several can't be made fields of");
	for (size_t i = 0; all && i < json_object_array_length(all); i++) {
		if (add_fields(o, json_object_array_get_idx(all, i), encodings, is_required, depth + 1, err))
			return -1;
	}
	if (!properties)
		return 0;
	json_object_object_foreach(properties, key, property) {
		size_t mark = openapi_enter(o, key);

		if (!json_object_get_boolean(jx_get(property, "readOnly")) &&
		    add_field(
			o, key, property, jx_get_object(encodings, key), is_required && is_in_list(required, key), err))
			return -1;
		openapi_leave(o, mark);
	}
	return 0;
}

static int add_form(struct operation *o, json_object *body, json_object *media, struct err *err)
{
	size_t mark = openapi_enter(o, "schema");

	o->form = json_object_new_object();
	if (!o->form)
		return err_set(err, ERR_NOMEM, "openapi");
	if (jx_has(media, "schema") && add_fields(o, jx_get(media, "schema"), jx_get_object(media, "encoding"),
					   json_object_get_boolean(jx_get(body, "required")), 0, err))
		return -1;
	openapi_leave(o, mark);
	return 0;
}

static int add_media(
    struct operation *o, json_object *body, int kind, const char *type, json_object *media, struct err *err)
{
	size_t mark = openapi_enter(o, "content"), inner = openapi_enter(o, type);
	int ret;

	(void)inner;
	if (kind == BODY_FORM)
		ret = add_form(o, body, media, err);
	else if (kind == BODY_TEXT)
		ret = add_whole_body(o, body, media, &o->text, err);
	else
		ret = add_whole_body(o, body, media, &o->json, err);
	if (ret == 0 && (kind == BODY_TEXT || kind == BODY_JSON_PATCH || kind == BODY_JSON_LIKE))
		ret = set_type(o, type, err);
	if (ret == 0)
		openapi_leave(o, mark);
	return ret;
}

/* Some describe "no body" as an object without members. */
static bool is_void(json_object *content)
{
	if (content) {
		json_object_object_foreach(content, type, media) {
			json_object *members = jx_get_object(jx_get_object(media, "schema"), "properties");

			(void)type;
			if (!members || json_object_object_length(members) > 0)
				return false;
		}
	}
	return true;
}

static int add_body(struct operation *o, struct err *err)
{
	bool sends = strcmp(o->method, "GET") != 0 && strcmp(o->method, "HEAD") != 0;
	bool may_matter = sends && strcmp(o->method, "DELETE") != 0; /* many forget to say "required" */
	json_object *body = jx_get(o->op, "requestBody"), *content, *chosen = NULL;
	size_t mark = openapi_enter(o, "requestBody");
	const char *name = NULL, *why;
	int best = BODY_NONE;

	if (body && openapi_resolve(o->api, &body, err))
		return -1;
	content = jx_get_object(body, "content");
	if (content && sends) {
		json_object_object_foreach(content, type, media) {
			if (body_kind(type) > best) {
				best = body_kind(type);
				name = type;
				chosen = media;
			}
		}
	}
	if (best && add_media(o, body, best, name, chosen, err))
		return -1;
	why = sends ? "of its media types none can be sent" : "GET and HEAD send none";
	if (body && !best && (may_matter || json_object_get_boolean(jx_get(body, "required"))))
		return openapi_refuse(err, "its body: %s", why);
	if (body && !best && !is_void(content))
		openapi_warn(o, "its body is left out: %s", why);
	openapi_leave(o, mark);
	return 0;
}

/* An answer in JSON is asked for where there is one: what comes without being asked differs. */
static int add_accept(struct operation *o, struct err *err)
{
	static const char *const statuses[] = {"200", "201", "202", "203", "2XX", "default"};
	json_object *all = jx_get_object(o->op, "responses");
	const char *found = NULL;
	int best = BODY_ANY;

	for (size_t i = 0; i < COUNT_OF(statuses) && !found; i++) {
		json_object *answer = jx_get_object(all, statuses[i]), *content;
		struct err ignored;

		if (!answer || openapi_resolve(o->api, &answer, &ignored))
			continue;
		content = jx_get_object(answer, "content");
		if (!content)
			continue;
		json_object_object_foreach(content, type, media) {
			(void)media;
			if (body_kind(type) > best && escape_fits_header(slice_str(type)) && !strchr(type, '{')) {
				best = body_kind(type);
				found = type;
			}
		}
	}
	return found ? openapi_add_header(o, "Accept", json_object_new_string(found), err) : 0;
}

int openapi_add_request(struct operation *o, struct buf *url, struct err *err)
{
	json_object *paths = json_object_new_object();
	int ret = paths ? 0 : err_set(err, ERR_NOMEM, "openapi");

	if (ret == 0)
		ret = add_params(o, o->item, paths, err) || add_params(o, o->op, paths, err) || add_body(o, err) ||
			      add_accept(o, err) || put_path(o, url, paths, err)
			  ? -1
			  : 0;
	json_object_put(paths);
	return ret;
}
