/* A walk over a text that json-c took. It has no opinion on errors: on anything unexpected it stops, and what was asked
 * is not found. */
#include "config.h"

#include <stdio.h>

#include "common/jpos.h"
#include "common/banned.h"

#define DEPTH_MAX 64

struct walk {
	const char *p, *end;
	char path[JPOS_POINTER_MAX]; /* where the walk is */
	size_t path_len;
	const char *want;  /* pointer that is looked for; NULL: a duplicate is */
	const char *found; /* where it stands */
	size_t member_count;
	unsigned depth;
};

static void skip_space(struct walk *w)
{
	for (;;) {
		while (w->p < w->end && strchr(" \t\r\n", *w->p) && *w->p)
			w->p++;
		if (w->end - w->p < 2 || w->p[0] != '/' || (w->p[1] != '/' && w->p[1] != '*'))
			return;
		if (w->p[1] == '/') {
			while (w->p < w->end && *w->p != '\n')
				w->p++;
		} else {
			w->p += 2;
			while (w->end - w->p >= 2 && !(w->p[0] == '*' && w->p[1] == '/'))
				w->p++;
			w->p += w->end - w->p >= 2 ? 2 : 0;
		}
	}
}

/* Between its quotes, escapes as they stand; false: no string here. */
static bool take_string(struct walk *w, struct slice *out)
{
	char quote;

	skip_space(w);
	if (w->p == w->end || (*w->p != '"' && *w->p != '\''))
		return false;
	quote = *w->p++;
	out->p = w->p;
	while (w->p < w->end && *w->p != quote)
		w->p += *w->p == '\\' && w->end - w->p > 1 ? 2 : 1;
	if (w->p >= w->end)
		return false;
	out->len = (size_t)(w->p - out->p);
	w->p++;
	return true;
}

static bool take(struct walk *w, char c)
{
	skip_space(w);
	if (w->p == w->end || *w->p != c)
		return false;
	w->p++;
	return true;
}

/* Appends "/name" with the escapes of RFC 6901; false: it does not fit. */
static bool push(struct walk *w, struct slice name)
{
	size_t at = w->path_len;

	if (at + 2 * name.len + 2 > sizeof(w->path))
		return false;
	w->path[at++] = '/';
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] == '~' || name.p[i] == '/') {
			w->path[at++] = '~';
			w->path[at++] = name.p[i] == '~' ? '0' : '1';
		} else {
			w->path[at++] = name.p[i];
		}
	}
	w->path[at] = '\0';
	w->path_len = at;
	return true;
}

static void pop(struct walk *w, size_t len)
{
	w->path_len = len;
	w->path[len] = '\0';
}

static bool walk_value(struct walk *w);

/* Whether name stands among the members from first on, up to where the walk is; a second walk instead of a list. */
static bool is_second(const struct walk *w, const char *first, const char *here, struct slice name)
{
	struct walk again = {.p = first, .end = here, .want = "~"}; /* as in jpos_count_members() */
	struct slice other;

	again.depth = w->depth;
	while (take_string(&again, &other) && again.p <= here) {
		if (slice_eq(other, name))
			return true;
		if (!take(&again, ':') || !walk_value(&again) || !take(&again, ','))
			return false;
	}
	return false;
}

static bool walk_object(struct walk *w)
{
	const char *first = w->p;
	size_t len = w->path_len;

	while (!take(w, '}')) {
		struct slice name;
		const char *here;

		skip_space(w);
		here = w->p;
		if (!take_string(w, &name))
			return false;
		w->member_count++;
		if (push(w, name)) {
			if (w->want ? strcmp(w->path, w->want) == 0 : is_second(w, first, here, name)) {
				w->found = here;
				return false;
			}
		}
		if (!take(w, ':') || !walk_value(w))
			return false;
		pop(w, len);
		take(w, ',');
	}
	return true;
}

static bool walk_array(struct walk *w)
{
	size_t len = w->path_len;

	for (unsigned i = 0; !take(w, ']'); i++) {
		char index[16];

		snprintf(index, sizeof(index), "%u", i);
		skip_space(w);
		if (push(w, slice_str(index)) && w->want && strcmp(w->path, w->want) == 0) {
			w->found = w->p;
			return false;
		}
		if (!walk_value(w))
			return false;
		pop(w, len);
		take(w, ',');
	}
	return true;
}

/* false: stop, because it was found or the text makes no sense. */
static bool walk_value(struct walk *w)
{
	struct slice ignored;
	const char *from;
	bool ok;

	skip_space(w);
	if (w->p == w->end)
		return false;
	if (*w->p == '{' || *w->p == '[') {
		if (w->depth == DEPTH_MAX)
			return false;
		w->depth++;
		ok = *w->p++ == '{' ? walk_object(w) : walk_array(w);
		w->depth--;
		return ok;
	}
	if (*w->p == '"' || *w->p == '\'')
		return take_string(w, &ignored);
	from = w->p;
	while (w->p < w->end && *w->p && !strchr(",]} \t\r\n/", *w->p))
		w->p++;
	return w->p > from;
}

unsigned jpos_line_of_byte(struct slice text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < text.len && i < offset; i++)
		line += text.p[i] == '\n';
	return line;
}

unsigned jpos_line(struct slice text, const char *pointer)
{
	struct walk w = {.p = text.p, .end = text.p + text.len, .want = pointer};

	skip_space(&w);
	if (!*pointer)
		return jpos_line_of_byte(text, (size_t)(w.p - text.p));
	walk_value(&w);
	return w.found ? jpos_line_of_byte(text, (size_t)(w.found - text.p)) : 0;
}

bool jpos_is_blank(struct slice text)
{
	struct walk w = {.p = text.p, .end = text.p + text.len};

	skip_space(&w);
	return w.p == w.end;
}

size_t jpos_count_members(struct slice text)
{
	struct walk w = {.p = text.p, .end = text.p + text.len, .want = "~"}; /* no pointer is "~": it only walks */

	walk_value(&w);
	return w.member_count;
}

unsigned jpos_find_duplicate(struct slice text, char pointer[JPOS_POINTER_MAX])
{
	struct walk w = {.p = text.p, .end = text.p + text.len};

	walk_value(&w);
	if (!w.found)
		return 0;
	memcpy(pointer, w.path, w.path_len + 1);
	return jpos_line_of_byte(text, (size_t)(w.found - text.p));
}
