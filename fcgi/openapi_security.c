/* Who asks: "security" is a list of requirements, one of which has to be met, with all its schemes. The first one of
 * whose schemes all have a secret (or null) is; if there is none and nobody needs to be known ({}), nobody is. */
#include "config.h"

#include <limits.h>
#include <stdio.h>

#include "common/jx.h"
#include "fcgi/openapi_priv.h"
#include "common/banned.h"

static const char basic_prefix[] = "basic:", file_prefix[] = "file:";

/* text{KIND:PATH}; NULL: no memory, or it is too long. */
static json_object *new_secret(const char *text, const char *kind, const char *path)
{
	json_object *made;
	struct buf out;

	buf_init(&out, 8192);
	openapi_put_plain(&out, slice_str(text));
	buf_addf(&out, "{%s%s}", kind, path);
	made = out.fault ? NULL : jx_new_str(buf_slice(&out));
	buf_release(&out);
	return made;
}

static int add_header(
    struct operation *o, const char *name, const char *text, const char *kind, const char *path, struct err *err)
{
	if (!openapi_is_header(name))
		return openapi_refuse(err, "no secret can be sent in a header %.80s", name);
	if (openapi_has_header(o, name))
		return openapi_refuse(err, "two of its security schemes want the header %.80s", name);
	return openapi_add_header(o, name, new_secret(text, kind, path), err);
}

static int add_cookie(struct operation *o, const char *name, const char *path, struct err *err)
{
	char text[OPENAPI_NAME_MAX + 2];

	if (strlen(name) > OPENAPI_NAME_MAX || !openapi_is_header(name)) /* cookies are named as headers */
		return openapi_refuse(err, "%.80s is no name of a cookie", name);
	snprintf(text, sizeof(text), "%s=", name);
	return add_header(o, "Cookie", text, file_prefix, path, err);
}

static int add_api_key(struct operation *o, json_object *scheme, const char *path, struct err *err)
{
	struct slice name = jx_get_str(scheme, "name"), in = jx_get_str(scheme, "in");

	if (!name.p || !name.len)
		return openapi_refuse(err, "an apiKey needs a name");
	if (in.p && slice_is(in, "header"))
		return add_header(o, name.p, "", file_prefix, path, err);
	if (in.p && slice_is(in, "query"))
		return jx_add(o->query, name.p, new_secret("", file_prefix, path), err);
	if (in.p && slice_is(in, "cookie"))
		return add_cookie(o, name.p, path, err);
	return openapi_refuse(err, "an apiKey is in header, query or cookie");
}

/* What of a scheme can be sent; "": nothing. */
static const char *prefix_of(json_object *scheme)
{
	struct slice type = jx_get_str(scheme, "type"), http = jx_get_str(scheme, "scheme");

	if (type.p && (slice_is(type, "oauth2") || slice_is(type, "openIdConnect")))
		return "Bearer ";
	if (!type.p || !http.p || !slice_is(type, "http"))
		return "";
	return strcasecmp(http.p, "bearer") == 0 ? "Bearer " : strcasecmp(http.p, "basic") == 0 ? "Basic " : "";
}

static int add_scheme(struct operation *o, json_object *scheme, const char *path, struct err *err)
{
	struct slice type = jx_get_str(scheme, "type");
	const char *prefix = prefix_of(scheme);

	if (type.p && slice_is(type, "apiKey"))
		return add_api_key(o, scheme, path, err);
	if (!*prefix)
		return openapi_refuse(
		    err, "its security scheme can't be spoken: only apiKey, basic, bearer and tokens are");
	return add_header(o, "Authorization", prefix, prefix[1] == 'a' ? basic_prefix : file_prefix, path, err);
}

/* A scheme of the description; NULL: there is no such. */
static json_object *find_scheme(const struct openapi *api, const char *name)
{
	json_object *all = jx_get_object(jx_get_object(api->root, "components"), "securitySchemes");
	json_object *scheme = jx_get_object(all, name);
	struct err err;

	return scheme && openapi_resolve(api, &scheme, &err) == 0 ? scheme : NULL;
}

/* Whether there is a secret, or a null, for each of its schemes. */
static bool can_meet(const struct operation *o, json_object *requirement)
{
	json_object *secrets = jx_get_object(o->api->def, "secrets");

	json_object_object_foreach(requirement, name, scopes) {
		(void)scopes;
		if (!jx_has(secrets, name))
			return false;
	}
	return true;
}

static int meet(struct operation *o, json_object *requirement, struct err *err)
{
	json_object *secrets = jx_get_object(o->api->def, "secrets");

	json_object_object_foreach(requirement, name, scopes) {
		struct slice path = jx_get_str(secrets, name);

		(void)scopes;
		if (path.p && add_scheme(o, find_scheme(o->api, name), path.p, err))
			return -1;
	}
	return 0;
}

/* Nobody gave what this operation needs: counts it. */
static int count_unmet(struct operation *o, json_object *requirement, struct err *err)
{
	json_object *secrets = jx_get_object(o->api->def, "secrets");

	json_object_object_foreach(requirement, name, scopes) {
		int64_t before = json_object_get_int64(jx_get(o->api->unmet, name));

		(void)scopes;
		if (!find_scheme(o->api, name))
			return openapi_refuse(err, "the description has no security scheme %.80s", name);
		if (!jx_has(secrets, name) && jx_add(o->api->unmet, name, json_object_new_int64(before + 1), err))
			return -1;
	}
	return 0;
}

int openapi_add_security(struct operation *o, struct err *err)
{
	json_object *from = jx_has(o->op, "security") ? o->op : o->api->root;
	json_object *list = jx_get_array(from, "security"), *first = NULL;
	bool is_open = !list || json_object_array_length(list) == 0;

	if (jx_has(from, "security") && !list)
		return openapi_refuse(err, "security must be an array");
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		json_object *requirement = json_object_array_get_idx(list, i);

		if (!json_object_is_type(requirement, json_type_object))
			return openapi_refuse(err, "security must be an array of objects");
		if (json_object_object_length(requirement) == 0)
			is_open = true;
		else if (can_meet(o, requirement))
			return meet(o, requirement, err);
		else if (!first)
			first = requirement;
	}
	return is_open ? 0 : count_unmet(o, first, err);
}

int openapi_check_secrets(const struct openapi *api)
{
	json_object *secrets = jx_get_object(api->def, "secrets");
	int bad = 0;

	if (!secrets)
		return 0;
	json_object_object_foreach(secrets, name, path) {
		char text[256];

		if (!find_scheme(api, name))
			snprintf(text, sizeof(text), "the description has no security scheme \"%.80s\"", name);
		else if (path && (!jx_str(path).len || jx_str(path).len >= PATH_MAX || strpbrk(jx_str(path).p, "{}") ||
				     strlen(jx_str(path).p) != jx_str(path).len))
			snprintf(
			    text, sizeof(text), "the secret of \"%.80s\" must be the name of a file, or null", name);
		else
			continue;
		api->listener->wrong_member(api->listener->arg, "secrets", text);
		bad = -1;
	}
	return bad;
}
