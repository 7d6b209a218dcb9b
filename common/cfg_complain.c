/* What is wrong with a configuration, and where: names that are near, lines of its files, members that nobody knows. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/cfg_priv.h"
#include "common/jpos.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/banned.h"

/* Edits that make a of b, each letter counted: insert, remove, exchange. At most CFG_NAME_MAX letters are looked at. */
static unsigned distance(const char *a, const char *b)
{
	size_t a_len = strnlen(a, CFG_NAME_MAX), b_len = strnlen(b, CFG_NAME_MAX);
	unsigned row[CFG_NAME_MAX + 1];

	for (unsigned k = 0; k <= b_len; k++)
		row[k] = k;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_len; k++) {
			unsigned best = diagonal + (a[i - 1] != b[k - 1]);

			diagonal = row[k];
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
		}
	}
	return row[b_len];
}

const char *cfg_nearest(const char *name, const char *const *names)
{
	unsigned best = (unsigned)strnlen(name, CFG_NAME_MAX) / 3 + 1; /* more edits than that is another word */
	const char *found = NULL;

	for (; *names; names++) {
		unsigned d = distance(name, *names);

		if (d <= best && (!found || d < best)) {
			best = d;
			found = *names;
		}
	}
	return found;
}

/* The file that has the definition ("/tools/echo") in which pointer stands, as read_definition() has noted it. */
static const struct cfg_origin *origin_of(const struct cfg *cfg, const char *pointer)
{
	const char *name = pointer[0] == '/' ? strchr(pointer + 1, '/') : NULL;
	char definition[JPOS_POINTER_MAX];

	if (!name)
		return NULL;
	snprintf(definition, sizeof(definition), "%.*s", (int)(name - pointer + 1 + (ptrdiff_t)strcspn(name + 1, "/")),
	    pointer);
	return json_object_get_userdata(jx_get(cfg->definition_files, definition));
}

/* The file in which pointer stands, or its nearest ancestor; the main file in doubt. line is 1 at the least. */
static const struct cfg_origin *locate(const struct cfg *cfg, const char *pointer, unsigned *line)
{
	const struct cfg_origin *only = origin_of(cfg, pointer);
	char at[JPOS_POINTER_MAX];

	snprintf(at, sizeof(at), "%s", pointer);
	for (;;) {
		char *slash = strrchr(at, '/');

		if (!slash)
			break;
		for (const struct cfg_origin *o = only ? only : cfg->origins; o; o = only ? NULL : o->next) {
			*line = jpos_line(cfg_origin_text(o), at);
			if (*line)
				return o;
		}
		*slash = '\0';
	}
	*line = 1;
	return only ? only : cfg->origins;
}

static void put_line(char *text, size_t max, const char *file, unsigned line, const char *pointer, const char *message)
{
	snprintf(text, max, "%s:%u: %s%s%s", file, line, pointer, *pointer ? ": " : "", message);
}

void cfg_report(struct cfg *cfg, const char *file, unsigned line, const char *pointer, const char *message)
{
	char text[1024];

	put_line(text, sizeof(text), file, line, pointer, message);
	cfg->complaint_count++;
	if (cfg->complain)
		cfg->complain(cfg->complain_arg, text);
	else
		LOG(ERROR, "config.bad", "%s", text);
}

void cfg_complain(struct cfg *cfg, const char *pointer, const char *fmt, ...)
{
	const struct cfg_origin *o;
	char message[768];
	unsigned line;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	o = locate(cfg, pointer, &line);
	cfg_report(cfg, o ? o->file : "configuration", line, pointer, message);
}

void cfg_warn(struct cfg *cfg, const char *pointer, const char *fmt, ...)
{
	const struct cfg_origin *o;
	char message[768] = "warning: ", text[1024];
	unsigned line;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message + strlen(message), sizeof(message) - strlen(message), fmt, ap);
	va_end(ap);
	o = locate(cfg, pointer, &line);
	put_line(text, sizeof(text), o ? o->file : "configuration", line, pointer, message);
	if (cfg->complain)
		cfg->complain(cfg->complain_arg, text);
	else
		LOG(WARN, "config.warning", "%s", text);
}

int cfg_complain_at(struct cfg *cfg, const char *pointer, const char *member, const char *fmt, ...)
{
	char at[1024], text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(at, sizeof(at), "%s/%s", pointer, member);
	cfg_complain(cfg, at, "%s", text);
	return -1;
}

int cfg_complain_unknown(struct cfg *cfg, const char *pointer, json_object *obj, const char *const *known)
{
	int bad = 0;

	json_object_object_foreach(obj, name, val) {
		const char *near = cfg_nearest(name, known);
		size_t i = 0;

		(void)val;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (known[i])
			continue;
		if (near)
			bad = cfg_complain_at(
			    cfg, pointer, name, "unknown member \"%s\"; did you mean \"%s\"?", name, near);
		else
			bad = cfg_complain_at(cfg, pointer, name, "unknown member \"%s\"", name);
	}
	return bad;
}

const char *cfg_dir_of(const struct cfg *cfg, const char *pointer)
{
	const struct cfg_origin *o = origin_of(cfg, pointer);
	unsigned line;

	if (!o)
		o = locate(cfg, pointer, &line);
	return o ? o->dir : ".";
}

int cfg_read_number(
    struct cfg *cfg, const char *pointer, json_object *obj, const char *name, int64_t min, int64_t max, int64_t *number)
{
	json_object *val = jx_get(obj, name);

	if (!jx_has(obj, name))
		return 0;
	*number = jx_is_integer(val) ? json_object_get_int64(val) : min - 1;
	if (*number < min || *number > max)
		return cfg_complain_at(cfg, pointer, name, "%s must be a whole number, %lld to %lld", name,
		    (long long)min, (long long)max);
	return 0;
}
