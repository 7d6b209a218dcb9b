#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/base64.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/escape.h"
#include "fcgi/http_def_priv.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

#define SECRET_MAX_BYTES 8192
#define POINTER_MAX      1024
#define JSON_DEPTH_MAX   32

static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL};
static const char *const members[] = {"api", "url", "method", "query", "headers", "json", "form", "body", NULL};
/* What belongs to the connection, not to the request. */
static const char *const fixed_headers[] = {"Accept-Encoding", "Connection", "Content-Length", "Expect", "Host",
    "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade"};

/* Where complaints go, and what can be filled in. */
struct reader {
	struct http_def *def;
	const struct http_names *names;
	struct cfg *cfg;
	const char *pointer; /* of the object "http" */
	struct err *err;
};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "http");
}

bool http_is_placeholder(const char *text, struct slice *name)
{
	size_t at = 0;

	return text[0] && placeholder_next(text, &at, name) == 1 && !text[at];
}

/* ---- secrets ---- */

static int read_all(const char *path, char *bytes, size_t max, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t got = fd == -1 ? -1 : 1;

	for (*len = 0; got > 0 && *len<max; *len += got> 0 ? (size_t)got : 0)
		got = read(fd, bytes + *len, max - *len);
	if (fd != -1)
		close(fd);
	return got == -1 ? -1 : 0;
}

static const char file_prefix[] = "file:", basic_prefix[] = "basic:";

/* The file of {file:PATH}, once. */
static int read_secret(const struct reader *r, const char *member, struct slice name)
{
	size_t len;
	char bytes[SECRET_MAX_BYTES + 1], *key = mem_dup(name.p, name.len);
	char *path = key ? cfg_path_join(cfg_dir_of(r->cfg, r->pointer), key + strlen(file_prefix)) : NULL;
	int ret = 0;

	if (!path)
		ret = out_of_memory(r->err);
	else if (jx_has(r->def->secrets, key))
		ret = 0;
	else if (sources_add(&r->cfg->sources, path, r->err))
		ret = -1;
	else if (read_all(path, bytes, sizeof(bytes), &len))
		ret = cfg_complain_at(r->cfg, r->pointer, member, "%s: %s", path, strerrordesc_np(errno));
	else {
		while (len && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r'))
			len--;
		if (len == 0 || len > SECRET_MAX_BYTES || !escape_fits_header((struct slice){bytes, len}))
			ret = cfg_complain_at(r->cfg, r->pointer, member,
			    "%s: a secret is one line of at most %d bytes", path, SECRET_MAX_BYTES);
		else
			ret = jx_add(r->def->secrets, key, jx_new_str((struct slice){bytes, len}), r->err);
	}
	explicit_bzero(bytes, sizeof(bytes));
	mem_free(path);
	mem_free(key);
	return ret;
}

/* The same of {basic:PATH}, in base64. What the file holds is a secret as well. */
static int read_basic(const struct reader *r, const char *member, struct slice name)
{
	struct slice path = {name.p + strlen(basic_prefix), name.len - strlen(basic_prefix)}, plain;
	struct buf key, file_key, text;
	int ret;

	buf_init(&key, POINTER_MAX);
	buf_init(&file_key, POINTER_MAX);
	buf_init(&text, 2 * SECRET_MAX_BYTES);
	buf_add_slice(&key, name);
	buf_adds(&file_key, file_prefix);
	buf_add_slice(&file_key, path);
	if (key.fault || file_key.fault)
		ret = cfg_complain_at(r->cfg, r->pointer, member, "the name of the file is too long");
	else
		ret = read_secret(r, member, buf_slice(&file_key));
	if (ret == 0) {
		plain = jx_get_str(r->def->secrets, file_key.data);
		base64_encode(&text, BASE64_PADDED, plain);
		ret =
		    buf_check(&text, r->err) || jx_add(r->def->secrets, key.data, jx_new_str(buf_slice(&text)), r->err);
	}
	if (text.data)
		explicit_bzero(text.data, text.len);
	buf_release(&key);
	buf_release(&file_key);
	buf_release(&text);
	return ret ? -1 : 0;
}

static bool begins_with(struct slice name, const char *prefix)
{
	size_t len = strlen(prefix);

	return name.len > len && memcmp(name.p, prefix, len) == 0;
}

/* ---- templates ---- */

/* The names of what is no call. */
static bool has_none(const void *arg, struct slice name)
{
	(void)arg;
	(void)name;
	return false;
}

/* A text with placeholders. is_needed: all of them have to be there in every call. */
static int check_text(const struct reader *r, const char *member, struct slice text, bool is_needed)
{
	struct slice part;
	size_t at = 0;

	if (!text.p || strlen(text.p) != text.len)
		return cfg_complain_at(r->cfg, r->pointer, member, "%s must be a string", member);
	while (text.p[at]) {
		int kind = placeholder_next(text.p, &at, &part);
		int len = part.len > 100 ? 100 : (int)part.len;

		if (kind == -1)
			return cfg_complain_at(r->cfg, r->pointer, member, "%s", PLACEHOLDER_SYNTAX);
		if (kind == 0)
			continue;
		if (begins_with(part, file_prefix) || begins_with(part, basic_prefix)) {
			if (part.p[0] == 'f' ? read_secret(r, member, part) : read_basic(r, member, part))
				return -1;
		} else if (slice_is(part, HTTP_CALL) && r->names->has != has_none) {
			r->def->names_call = true;
		} else if (!r->names->has(r->names->arg, part)) {
			return cfg_complain_at(
			    r->cfg, r->pointer, member, "{%.*s} is not one of its arguments", len, part.p);
		} else if (is_needed && !r->names->has_always(r->names->arg, part) &&
			   !http_def_value(r->def, NULL, part)) {
			return cfg_complain_at(r->cfg, r->pointer, member,
			    "{%.*s} may be missing: what the URL needs must be required, or have a default", len,
			    part.p);
		}
	}
	return 0;
}

/* Every string in val. */
static int check_strings(const struct reader *r, const char *member, json_object *val, int depth)
{
	int bad = 0;

	if (depth > JSON_DEPTH_MAX)
		return cfg_complain_at(r->cfg, r->pointer, member, "%s is nested too deep", member);
	if (json_object_is_type(val, json_type_string)) {
		bad = check_text(r, member, jx_str(val), false);
	} else if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			(void)name;
			bad |= check_strings(r, member, child, depth + 1);
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++)
			bad |= check_strings(r, member, json_object_array_get_idx(val, i), depth + 1);
	}
	return bad;
}

/* {"value": "{name}", "style": "comma"} */
static int read_style(const struct reader *r, const char *at, json_object *field)
{
	struct slice value = jx_get_str(field, "value"), name;

	if (http_style_of(field) == HTTP_STYLE_NONE || !value.p || json_object_object_length(field) != 2 ||
	    strlen(value.p) != value.len || !http_is_placeholder(value.p, &name))
		return cfg_complain_at(r->cfg, r->pointer, at,
		    "a value with a style is written {\"value\": \"{name}\", \"style\": \"comma\"}; "
		    "styles are comma, space, pipe, deep and json");
	return check_text(r, at, value, false);
}

/* An object of texts, numbers and booleans; has_styles: of values with a style too. NULL into *out: it isn't there. */
static int read_fields(
    const struct reader *r, json_object *http, const char *member, bool has_styles, json_object **out)
{
	char at[POINTER_MAX];
	int bad = 0;

	*out = jx_get_object(http, member);
	if (!*out)
		return jx_has(http, member)
			   ? cfg_complain_at(r->cfg, r->pointer, member, "%s must be an object", member)
			   : 0;
	json_object_object_foreach(*out, name, val) {
		snprintf(at, sizeof(at), "%s/%s", member, name);
		if (json_object_is_type(val, json_type_string))
			bad |= check_text(r, at, jx_str(val), false);
		else if (has_styles && json_object_is_type(val, json_type_object))
			bad |= read_style(r, at, val);
		else if (!jx_is_number(val) && !json_object_is_type(val, json_type_boolean))
			bad = cfg_complain_at(
			    r->cfg, r->pointer, at, "%s must be a string, a number, true or false", name);
	}
	return bad;
}

/* ---- the members ---- */

static bool is_host(struct slice host)
{
	if (host.len == 0 || host.len > 300 || host.p[0] == ':')
		return false;
	for (size_t i = 0; i < host.len; i++) {
		if (!ascii_is_letter(host.p[i]) && !ascii_is_digit(host.p[i]) && !ascii_is_among(host.p[i], ".-_:[]"))
			return false;
	}
	return true;
}

/* What clients are told instead of a host that only this host, or its network, knows. */
static struct slice public_name(struct slice host)
{
	struct slice name = {host.p, strcspn(host.p, ":/?")};
	struct address address;

	if (address_read(host, &address) || !memchr(name.p, '.', name.len))
		return SLICE("the API");
	return name;
}

static int read_rest_of_url(const struct reader *r, const char *member, struct slice url, const char *after_scheme)
{
	if (strpbrk(after_scheme, "# \\") || !escape_fits_header(url))
		return cfg_complain_at(r->cfg, r->pointer, member, "a URL holds no space, \\, # or control character");
	r->def->url = url.p;
	return check_text(r, member, url, true);
}

/* member is where it stands: "url", or "http" for a URL alone. */
static int read_url(const struct reader *r, const char *member, struct slice url)
{
	const char *host = url.p ? strstr(url.p, "://") : NULL;
	struct slice at, name;

	if (!host || (strncmp(url.p, "https://", 8) != 0 && strncmp(url.p, "http://", 7) != 0))
		return cfg_complain_at(
		    r->cfg, r->pointer, member, "url must be a URL as in \"https://api.example/v1/{city}\"");
	host += 3;
	at = (struct slice){host, strcspn(host, "/?#")};
	if (!is_host(at))
		return cfg_complain_at(r->cfg, r->pointer, member,
		    "the host of a URL is a name or an address, without {placeholder}, user or password");
	name = public_name(at);
	r->def->host = mem_dup(at.p, at.len);
	r->def->name = mem_dup(name.p, name.len);
	if (!r->def->host || !r->def->name)
		return out_of_memory(r->err);
	return read_rest_of_url(r, member, url, host);
}

/* What follows the URL of an API. */
static int read_path(const struct reader *r, const char *member, struct slice path)
{
	if (!path.p || (path.len && path.p[0] != '/' && path.p[0] != '?'))
		return cfg_complain_at(r->cfg, r->pointer, member,
		    "url must be what follows that of the API: it begins with / or ?, as in \"/v1/{city}\"");
	return read_rest_of_url(r, member, path, path.p);
}

static int read_method(const struct reader *r, json_object *http, bool has_body)
{
	struct slice name = jx_get_str(http, "method");

	r->def->method = has_body ? "POST" : "GET";
	if (!jx_has(http, "method"))
		return 0;
	for (size_t i = 0; methods[i]; i++) {
		if (name.p && slice_is(name, methods[i])) {
			r->def->method = methods[i];
			return has_body && i < 2 ? cfg_complain_at(r->cfg, r->pointer, "method",
						       "%s sends nothing: no json, form or body", methods[i])
						 : 0;
		}
	}
	return cfg_complain_at(
	    r->cfg, r->pointer, "method", "method must be GET, HEAD, POST, PUT, PATCH or DELETE, in capitals");
}

static bool is_token(const char *name)
{
	if (!*name)
		return false;
	for (; *name; name++) {
		if (!ascii_is_letter(*name) && !ascii_is_digit(*name) && !ascii_is_among(*name, "!#$%&'*+-.^_`|~"))
			return false;
	}
	return true;
}

static int read_headers(const struct reader *r, json_object *http)
{
	char at[POINTER_MAX];
	int bad = read_fields(r, http, "headers", false, &r->def->headers);

	if (!r->def->headers)
		return bad;
	json_object_object_foreach(r->def->headers, name, val) {
		snprintf(at, sizeof(at), "headers/%s", name);
		if (!is_token(name))
			bad = cfg_complain_at(r->cfg, r->pointer, at, "\"%s\" is no name of a header", name);
		if (jx_str(val).p && !escape_fits_header(jx_str(val)))
			bad = cfg_complain_at(r->cfg, r->pointer, at, "a header holds no control character");
		for (size_t i = 0; i < COUNT_OF(fixed_headers); i++) {
			if (strcasecmp(name, fixed_headers[i]) == 0)
				bad = cfg_complain_at(r->cfg, r->pointer, at, "%s is not for you to set", name);
		}
	}
	return bad;
}

static struct slice content_type(const struct http_def *def)
{
	if (def->headers) {
		json_object_object_foreach(def->headers, name, val) {
			if (strcasecmp(name, "Content-Type") == 0)
				return jx_str(val);
		}
	}
	return (struct slice){NULL, 0};
}

static int read_body(const struct reader *r, json_object *http)
{
	struct slice body = jx_get_str(http, "body"), type = content_type(r->def);
	struct http_def *def = r->def;
	int bad;

	if (jx_has(http, "json") + jx_has(http, "form") + jx_has(http, "body") > 1)
		return cfg_complain_at(
		    r->cfg, r->pointer, "body", "only one of \"json\", \"form\" and \"body\" can be sent");
	def->json = jx_get(http, "json");
	def->has_json = jx_has(http, "json");
	bad = check_strings(r, "json", def->json, 0);
	bad |= read_fields(r, http, "form", true, &def->form);
	if (!jx_has(http, "body"))
		return bad;
	if (check_text(r, "body", body, false))
		return -1;
	def->body = body.p;
	def->is_xml = type.p && strstr(type.p, "xml");
	if (strchr(body.p, '{') && type.p && (strstr(type.p, "json") || strstr(type.p, "x-www-form-urlencoded")))
		return cfg_complain_at(r->cfg, r->pointer, "body",
		    "arguments would not be escaped here: write \"json\" or \"form\" instead of \"body\"");
	return bad;
}

static int read_object(const struct reader *r, json_object *http)
{
	bool has_body = jx_has(http, "json") || jx_has(http, "form") || jx_has(http, "body");
	int bad = cfg_complain_unknown(r->cfg, r->pointer, http, members);

	if (r->def->base)
		bad |= read_path(r, "url", jx_has(http, "url") ? jx_get_str(http, "url") : SLICE(""));
	else
		bad |= read_url(r, "url", jx_get_str(http, "url"));
	bad |= read_fields(r, http, "query", true, &r->def->query);
	bad |= read_headers(r, http);
	bad |= read_body(r, http);
	bad |= read_method(r, http, has_body);
	return bad;
}

static struct http_def *def_new(struct err *err)
{
	struct http_def *made = mem_alloc(1, sizeof(*made));

	if (made)
		made->secrets = json_object_new_object();
	if (!made || !made->secrets) {
		out_of_memory(err);
		http_def_free(&made);
		return NULL;
	}
	made->method = "GET";
	return made;
}

struct http_def *http_def_new_base(json_object *api, struct cfg *cfg, const char *pointer, struct err *err)
{
	const struct http_names none = {has_none, has_none, NULL};
	struct http_def *made = def_new(err);
	const struct reader r = {made, &none, cfg, pointer, err};
	int bad;

	if (!made)
		return NULL;
	bad = read_url(&r, "url", jx_get_str(api, "url"));
	if (made->url && strchr(made->url, '?'))
		bad = cfg_complain_at(cfg, pointer, "url", "what follows ? goes into \"query\"");
	bad |= read_fields(&r, api, "query", true, &made->query);
	bad |= read_headers(&r, api);
	if (bad)
		http_def_free(&made);
	return made;
}

struct http_def *http_def_new(
    json_object *def, const struct http_names *names, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct http_def *made = def_new(err);
	json_object *http = jx_get(def, "http"), *input = jx_get_object(def, "input");
	char at[POINTER_MAX];
	struct reader r = {made, names, cfg, at, err};
	int bad;

	if (!made)
		return NULL;
	if (http_base_get(def, &made->base, cfg, pointer, err)) {
		http_def_free(&made);
		return NULL;
	}
	made->properties = jx_get_str(input, "type").p ? jx_get_object(input, "properties") : input;
	snprintf(at, sizeof(at), "%s/http", pointer);
	if (json_object_is_type(http, json_type_object)) {
		bad = read_object(&r, http);
	} else if (json_object_is_type(http, json_type_string)) {
		r.pointer = pointer;
		bad = made->base ? read_path(&r, "http", jx_str(http)) : read_url(&r, "http", jx_str(http));
	} else {
		bad = cfg_complain_at(cfg, pointer, "http", "http must be a URL, or an object with \"url\"");
	}
	if (bad)
		http_def_free(&made);
	return made;
}

void http_def_free(struct http_def **defp)
{
	struct http_def *def = *defp;

	if (!def)
		return;
	*defp = NULL;
	http_base_free(&def->base);
	json_object_put(def->secrets);
	mem_free(def->name);
	mem_free(def->host);
	mem_free(def);
}

const char *http_def_host(const struct http_def *def)
{
	return def->base ? def->base->def->host : def->host;
}

const char *http_def_name(const struct http_def *def)
{
	return def->base ? def->base->name : def->name;
}

const struct http_base *http_def_base(const struct http_def *def)
{
	return def->base;
}

bool http_def_names_call(const struct http_def *def)
{
	return def->names_call;
}

bool http_def_only_reads(const struct http_def *def)
{
	return !def->names_call && (strcmp(def->method, "GET") == 0 || strcmp(def->method, "HEAD") == 0);
}

bool http_def_may_be_cached(const struct http_def *def)
{
	return http_def_only_reads(def) || strcmp(def->method, "POST") == 0;
}

bool http_def_is_repeatable(const struct http_def *def)
{
	return strcmp(def->method, "POST") != 0 && strcmp(def->method, "PATCH") != 0;
}
