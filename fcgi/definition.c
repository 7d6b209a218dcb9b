#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/content.h"
#include "fcgi/definition.h"
#include "common/banned.h"

#define MEMBERS_MAX 64 /* names that one definition may hold, all together */

static const struct provider *const providers[] = {&provider_builtin, &provider_exec, &provider_http, &provider_sql,
    &provider_file, &provider_text, &provider_base64, &provider_messages, &provider_module};

static const char *const common_members[] = {"title", "description", "icons", "_meta", "timeout_s"};

int definition_complain(const struct definition *d, const char *member, const char *below, const char *fmt, ...)
{
	struct buf pointer;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_init(&pointer, DEFINITION_POINTER_MAX);
	buf_adds(&pointer, d->pointer);
	if (member)
		jx_add_pointer(&pointer, slice_str(member));
	if (below)
		buf_adds(&pointer, below);
	cfg_complain(d->cfg, pointer.data ? pointer.data : "", "%s", text);
	buf_release(&pointer);
	return -1;
}

static bool offers(const struct provider *p, enum definition_kind kind)
{
	switch (kind) {
	case DEFINITION_TOOL:
		return p->call != NULL;
	case DEFINITION_RESOURCE:
		return p->read != NULL;
	case DEFINITION_PROMPT:
		break;
	}
	return p->get != NULL;
}

static const char *const *members_of(const struct provider *p, enum definition_kind kind)
{
	return kind == DEFINITION_TOOL       ? p->members
	       : kind == DEFINITION_RESOURCE ? p->resource_members
					     : p->prompt_members;
}

/* "a tool needs exactly one of "builtin" and "exec"" */
static void complain_provider(const struct definition *d, enum definition_kind kind)
{
	static const char *const nouns[] = {"tool", "resource", "prompt"};
	char names[256] = "";
	size_t len = 0, left = 0;

	for (size_t i = 0; i < COUNT_OF(providers); i++)
		left += offers(providers[i], kind) && !providers[i]->is_unwritten;
	for (size_t i = 0; i < COUNT_OF(providers) && len < sizeof(names); i++) {
		if (!offers(providers[i], kind) || providers[i]->is_unwritten)
			continue;
		left--;
		len += (size_t)snprintf(names + len, sizeof(names) - len, "\"%s\"%s", providers[i]->name,
		    left > 1 ? ", "
		    : left   ? " and "
			     : "");
	}
	definition_complain(d, NULL, NULL, "a %s needs exactly one of %s", nouns[kind], names);
}

/* Appends names to known, which ends with NULL. */
static void know(const char *known[MEMBERS_MAX + 1], const char *const *names)
{
	size_t count = 0;

	while (known[count])
		count++;
	for (; *names; names++) {
		DIE_UNLESS(count < MEMBERS_MAX);
		known[count++] = *names;
	}
}

const struct provider *definition_provider(
    const struct definition *d, enum definition_kind kind, const char *const *own, bool *bad)
{
	const char *known[MEMBERS_MAX + 1] = {NULL}, *near;
	const struct provider *provider = NULL;
	size_t found = 0;

	for (size_t i = 0; i < COUNT_OF(providers); i++) {
		if (offers(providers[i], kind) && jx_has(d->def, providers[i]->name)) {
			provider = providers[i];
			found++;
		}
	}
	if (found != 1) {
		*bad = true;
		complain_provider(d, kind);
		return NULL;
	}
	known[0] = provider->name;
	for (size_t i = 0; i < COUNT_OF(common_members); i++)
		known[i + 1] = common_members[i];
	know(known, own);
	know(known, members_of(provider, kind));
	json_object_object_foreach(d->def, name, value) {
		size_t i = 0;

		(void)value;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (known[i])
			continue;
		*bad = true;
		near = cfg_nearest(name, known);
		if (kind == DEFINITION_TOOL && strcmp(name, "inputSchema") == 0) /* the protocol's word */
			near = "input";
		if (near)
			definition_complain(d, name, NULL, "unknown member \"%s\"; did you mean \"%s\"?", name, near);
		else
			definition_complain(d, name, NULL, "unknown member \"%s\"", name);
	}
	return provider;
}

int definition_check_common(const struct definition *d)
{
	static const struct {
		const char *name, *words;
		json_type type;
	} rows[] = {
	    {"title", "a string", json_type_string},
	    {"description", "a string", json_type_string},
	    {"annotations", "an object", json_type_object},
	    {"_meta", "an object", json_type_object},
	    {"icons", "an array", json_type_array},
	};
	struct err why;
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (jx_has(d->def, rows[i].name) && !json_object_is_type(jx_get(d->def, rows[i].name), rows[i].type))
			bad = definition_complain(d, rows[i].name, NULL, "%s must be %s", rows[i].name, rows[i].words);
	}
	if (!bad && content_check_icons(jx_get_array(d->def, "icons"), "icons", &why))
		bad = definition_complain(d, "icons", NULL, "%s", why.msg);
	return bad;
}

int definition_read_timeout(const struct definition *d, int64_t *timeout_s)
{
	json_object *val = jx_get(d->def, "timeout_s");

	*timeout_s = d->cfg->exec_timeout_s;
	if (!jx_has(d->def, "timeout_s"))
		return 0;
	*timeout_s = jx_is_integer(val) ? json_object_get_int64(val) : 0;
	if (*timeout_s < 1 || *timeout_s > 86400)
		return definition_complain(d, "timeout_s", NULL, "timeout_s must be a whole number, 1 to 86400 s");
	return 0;
}

bool definition_name_is_valid(struct slice name)
{
	if (name.len == 0 || name.len > DEFINITION_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.p[i];

		if (!ascii_is_letter(c) && !ascii_is_digit(c) && !ascii_is_among(c, "_-."))
			return false;
	}
	return true;
}

int definition_make_listing(
    const struct definition *d, enum shape kind, json_object *entry, char *listing[REV__COUNT], struct err *err)
{
	struct buf out;
	int ret = 0;

	buf_init(&out, DEFINITION_LISTING_MAX);
	for (int r = 0; r < REV__COUNT && ret == 0; r++) {
		buf_clear(&out);
		shape_put(&out, kind, entry, (enum revision)r);
		ret = buf_check(&out, err);
		listing[r] = ret ? NULL : mem_dup(out.data, out.len);
		if (ret == 0 && !listing[r])
			ret = err_set(err, ERR_NOMEM, "an entry of a list");
	}
	buf_release(&out);
	if (ret && err->code == ERR_TOO_BIG)
		definition_complain(
		    d, NULL, NULL, "its entry in the list is longer than %d bytes", DEFINITION_LISTING_MAX);
	return ret;
}

int definition_copy(
    const struct definition *d, const char *member, json_object *entry, const char *name, struct err *err)
{
	json_object *val = jx_get(d->def, member);

	return val ? jx_add(entry, name, json_object_get(val), err) : 0;
}

int definition_each(struct cfg *cfg, json_object *all, const char *catalog,
    int (*add)(void *set, const struct definition *d, struct slice name, struct err *err), void *set, struct err *err)
{
	struct definition d = {.cfg = cfg};
	struct buf pointer;
	int ret = 0;

	buf_init(&pointer, DEFINITION_POINTER_MAX);
	json_object_object_foreach(all, name, def) {
		buf_clear(&pointer);
		buf_adds(&pointer, catalog);
		jx_add_pointer(&pointer, slice_str(name));
		d.pointer = pointer.data ? pointer.data : catalog;
		d.def = def;
		if (pointer.fault == ERR_NOMEM)
			ret = err_set(err, ERR_NOMEM, "definitions");
		else if (add(set, &d, slice_str(name), err) && err->code == ERR_NOMEM)
			ret = -1;
		if (ret)
			break;
	}
	buf_release(&pointer);
	return ret;
}

int definition_order(struct slice name, const char *other)
{
	size_t len = strlen(other), least = len < name.len ? len : name.len;
	int order = least ? memcmp(name.p, other, least) : 0;

	return order ? order : (name.len > len) - (name.len < len);
}

uint64_t definition_hash(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
	return hash;
}
