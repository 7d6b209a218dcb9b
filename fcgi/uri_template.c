/* A template is compiled to a row of parts: texts, values, and groups of named values. "{/a,b}" is the text "/", the
 * value a, the text "/", the value b; "{?a,b}" is one group.
 *
 * Matching goes over the URI once from its end, noting for each position from which parts on the rest of the URI would
 * match (a bit each), and then once from its start, picking the longest of the values that these notes admit. So there
 * is no backtracking, whatever template and URI are. */
#include "config.h"

#include <string.h>

#include "common/jx.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/uri.h"
#include "fcgi/uri_template.h"
#include "common/banned.h"

#define TEMPLATE_LEN_MAX 2048

struct part {
	enum part_kind { PART_TEXT, PART_VALUE, PART_NAMED } kind;
	struct slice text; /* PART_TEXT: bytes that have to be there; borrowed from the template's text, or a literal */
	size_t first, count; /* its variables: one of a PART_VALUE, one or more of a PART_NAMED */
	bool is_wide;        /* {+x} and {#x}: a value may hold any character of a URI */
	char opener, joiner; /* PART_NAMED: before the first variable that is there, before the others */
};

struct uri_template {
	char *text;
	char *names[URI_TEMPLATE_PARTS_MAX + 1]; /* owned, names_count of them and a NULL */
	size_t names_count;
	struct part parts[URI_TEMPLATE_PARTS_MAX];
	size_t parts_count;
	bool delimits[128]; /* what the template itself uses behind its first variable: no value holds it raw */
};

/* {operator ...}: what stands before the first value and between two of them */
static const struct form {
	char sign, opener, joiner;
	bool is_wide, is_named;
} forms[] = {
    {'\0', '\0', ',', false, false},
    {'+', '\0', ',', true, false},
    {'#', '#', ',', true, false},
    {'.', '.', '.', false, false},
    {'/', '/', '/', false, false},
    {';', ';', ';', false, true},
    {'?', '?', '&', false, true},
    {'&', '&', '&', false, true},
};

static bool is_name_char(char c)
{
	return c == '_' || (uri_is_unreserved(c) && c != '-' && c != '~');
}

static struct slice slice_from(struct slice s, size_t from)
{
	return (struct slice){s.p ? s.p + from : NULL, s.len - from};
}

static void add_decoded(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		int byte = uri_encoded_byte(slice_from(s, i));
		char c = byte < 0 ? s.p[i] : (char)byte;

		buf_add(out, &c, 1);
		if (byte >= 0)
			i += 2;
	}
}

/* ---- compiling ---- */

static struct part *add_part(struct uri_template *tpl, enum part_kind kind, struct err *err)
{
	struct part *part = tpl->parts_count < URI_TEMPLATE_PARTS_MAX ? &tpl->parts[tpl->parts_count] : NULL;

	if (!part) {
		err_set(err, ERR_PARAMS, "more than %d texts and variables", URI_TEMPLATE_PARTS_MAX);
		return NULL;
	}
	tpl->parts_count++;
	part->kind = kind;
	part->first = tpl->names_count;
	return part;
}

/* Texts are checked as they are added: each is UTF-8 for itself, so values that stand between them are too. */
static int add_text(struct uri_template *tpl, struct slice text, struct err *err)
{
	struct part *part = add_part(tpl, PART_TEXT, err);
	struct buf decoded;
	int ret = -1;

	if (!part)
		return -1;
	part->text = text;
	buf_init(&decoded, text.len);
	for (size_t i = 0; i < text.len; i++) {
		char c = text.p[i];

		if (!uri_is_unreserved(c) && !uri_is_reserved(c) && uri_encoded_byte(slice_from(text, i)) <= 0) {
			err_set(err, ERR_PARAMS, "a character that no URI holds: percent-encode it (in UTF-8)");
			goto out;
		}
		if (tpl->names_count)
			tpl->delimits[(unsigned char)c] = true;
	}
	add_decoded(&decoded, text);
	if (buf_check(&decoded, err))
		goto out;
	if (!utf8_is_valid(buf_slice(&decoded))) {
		err_set(err, ERR_PARAMS, "a text that is not UTF-8");
		goto out;
	}
	ret = 0;
out:
	buf_release(&decoded);
	return ret;
}

static int add_name(struct uri_template *tpl, struct slice name, struct err *err)
{
	const char *why = name.len ? NULL : "a variable without a name";

	if (tpl->names_count == URI_TEMPLATE_PARTS_MAX)
		why = "too many variables";
	for (size_t i = 0; i < name.len && !why; i++) {
		if (name.p[i] == '*' || name.p[i] == ':')
			why = "{x*} and {x:3} can't be matched, and are not supported";
		else if (!is_name_char(name.p[i]) || (name.p[i] == '.' && (i == 0 || i + 1 == name.len)))
			why = "a variable's name is letters, digits and _, with single dots inside";
	}
	for (size_t i = 0; i < tpl->names_count && !why; i++) {
		if (slice_is(name, tpl->names[i]))
			why = "a variable twice";
	}
	if (why)
		return err_set(err, ERR_PARAMS, "%s", why);
	tpl->names[tpl->names_count] = mem_dup(name.p, name.len);
	if (!tpl->names[tpl->names_count])
		return err_set(err, ERR_NOMEM, "URI template");
	tpl->names_count++;
	return 0;
}

static const struct part *last_part(const struct uri_template *tpl)
{
	return tpl->parts_count ? &tpl->parts[tpl->parts_count - 1] : NULL;
}

static int add_value(
    struct uri_template *tpl, const struct form *form, bool is_first, struct slice name, struct err *err)
{
	const char *text = is_first ? &form->opener : &form->joiner;
	struct part *part;

	if (*text && add_text(tpl, (struct slice){text, 1}, err))
		return -1;
	if (last_part(tpl) && last_part(tpl)->kind != PART_TEXT)
		return err_set(err, ERR_PARAMS, "two variables with nothing between them");
	part = add_part(tpl, PART_VALUE, err);
	if (!part || add_name(tpl, name, err))
		return -1;
	part->count = 1;
	part->is_wide = form->is_wide;
	return 0;
}

static int add_named(
    struct uri_template *tpl, const struct form *form, bool is_first, struct slice name, struct err *err)
{
	struct part *part;

	if (is_first) {
		part = add_part(tpl, PART_NAMED, err);
		if (!part)
			return -1;
		part->opener = form->opener;
		part->joiner = form->joiner;
		tpl->delimits[(unsigned char)form->opener] = tpl->delimits[(unsigned char)form->joiner] = true;
	}
	if (add_name(tpl, name, err))
		return -1;
	tpl->parts[tpl->parts_count - 1].count++;
	return 0;
}

/* What stands between { and }. */
static int add_expression(struct uri_template *tpl, struct slice text, struct err *err)
{
	const struct form *form = &forms[0];
	bool is_first = true;

	for (size_t i = 1; i < COUNT_OF(forms); i++) {
		if (text.len && text.p[0] == forms[i].sign)
			form = &forms[i];
	}
	if (form->sign)
		text = slice_from(text, 1);
	else if (text.len && strchr("=,!@|", text.p[0]))
		return err_set(err, ERR_PARAMS, "an operator that RFC 6570 reserves");
	for (;;) {
		const char *comma = text.len ? memchr(text.p, ',', text.len) : NULL;
		struct slice name = {text.p, comma ? (size_t)(comma - text.p) : text.len};

		if ((form->is_named ? add_named : add_value)(tpl, form, is_first, name, err))
			return -1;
		if (!comma)
			return 0;
		is_first = false;
		text = slice_from(text, name.len + 1);
	}
}

static int compile(struct uri_template *tpl, struct slice text, struct err *err)
{
	while (text.len) {
		bool is_expression = text.p[0] == '{';
		const char *end = memchr(text.p, is_expression ? '}' : '{', text.len);
		size_t len = end ? (size_t)(end - text.p) : text.len;

		if (is_expression && !end)
			return err_set(err, ERR_PARAMS, "a { without its }");
		if (is_expression ? add_expression(tpl, (struct slice){text.p + 1, len - 1}, err)
				  : add_text(tpl, (struct slice){text.p, len}, err))
			return -1;
		text = slice_from(text, is_expression ? len + 1 : len);
	}
	return 0;
}

/* Named variables are taken from a URI without looking at what follows, so their end has to be plain to see; and they
 * may not have been taken as the end of a value before them. */
static int check_named(const struct uri_template *tpl, struct err *err)
{
	const struct part *end = tpl->parts + tpl->parts_count;

	for (const struct part *part = tpl->parts; part < end; part++) {
		const struct part *next = part + 1;

		if (part->is_wide && next < end && next->kind == PART_NAMED && next->opener != '?')
			return err_set(
			    err, ERR_PARAMS, "a value of {+x} or {#x} could hold the {%c...} behind it", next->opener);
		if (part->kind != PART_NAMED)
			continue;
		while (next < end && next->kind == PART_NAMED)
			next++;
		if (next == end)
			continue;
		if (next->kind == PART_VALUE || !uri_is_reserved(next->text.p[0]) || next->text.p[0] == part->opener ||
		    next->text.p[0] == part->joiner)
			return err_set(err, ERR_PARAMS,
			    "the end of {%c...} could be mistaken: behind it may stand another "
			    "delimiter only",
			    part->opener);
	}
	return 0;
}

struct uri_template *uri_template_new(struct slice text, struct err *err)
{
	struct uri_template *tpl;

	if (text.len > TEMPLATE_LEN_MAX) {
		err_set(err, ERR_PARAMS, "a URI template of more than %d bytes", TEMPLATE_LEN_MAX);
		return NULL;
	}
	tpl = mem_alloc(1, sizeof(*tpl));
	if (tpl)
		tpl->text = mem_dup(text.len ? text.p : "", text.len);
	if (!tpl || !tpl->text)
		err_set(err, ERR_NOMEM, "URI template");
	else if (compile(tpl, (struct slice){tpl->text, text.len}, err) == 0 && check_named(tpl, err) == 0)
		return tpl;
	uri_template_free(&tpl);
	return NULL;
}

void uri_template_free(struct uri_template **tplp)
{
	struct uri_template *tpl = *tplp;

	if (!tpl)
		return;
	*tplp = NULL;
	for (size_t i = 0; i < tpl->names_count; i++)
		mem_free(tpl->names[i]);
	mem_free(tpl->text);
	mem_free(tpl);
}

const char *uri_template_variable(const struct uri_template *tpl, size_t i)
{
	return tpl->names[i];
}

bool uri_template_has_variable(const struct uri_template *tpl, struct slice name)
{
	const char *variable;

	for (size_t i = 0; (variable = uri_template_variable(tpl, i)); i++) {
		if (slice_is(name, variable))
			return true;
	}
	return false;
}

/* ---- matching ---- */

/* Bytes of the character at the front of uri if a value may hold it: 1 or 3 ("%41"), else 0. */
static size_t value_unit(const struct uri_template *tpl, struct slice uri, bool is_wide)
{
	char c = uri.len ? uri.p[0] : '\0';

	if (uri_is_unreserved(c))
		return 1;
	if (c == '%')
		return uri_encoded_byte(uri) > 0 ? 3 : 0;
	if (is_wide ? !uri_is_reserved(c) : !uri_is_in_path(c) || c == '/')
		return 0;
	return is_wide && !strchr("?#", c) ? 1 : !tpl->delimits[(unsigned char)c];
}

static size_t value_len(const struct uri_template *tpl, struct slice uri)
{
	size_t len = 0, unit;

	while ((unit = value_unit(tpl, slice_from(uri, len), false)) > 0)
		len += unit;
	return len;
}

/* Which of the group's variables is named at the front of text; count: none. */
static size_t find_named(const struct uri_template *tpl, const struct part *part, struct slice text, size_t *name_len)
{
	size_t len = 0, i = 0;

	while (len < text.len && is_name_char(text.p[len]))
		len++;
	while (i < part->count && !slice_is((struct slice){text.p, len}, tpl->names[part->first + i]))
		i++;
	*name_len = len;
	return i;
}

/* Bytes of the group at the front of uri: as many variables as are there, each once. values: NULL, or where each
 * one's value goes, p NULL for those that are not there. */
static size_t named_len(const struct uri_template *tpl, const struct part *part, struct slice uri, struct slice *values)
{
	uint64_t seen = 0;
	size_t len = 0;

	for (size_t n = 0; n < part->count && len < uri.len; n++) {
		struct slice rest = slice_from(uri, len + 1);
		struct slice value = {"", 0};
		size_t name_len, i;

		if (uri.p[len] != (n ? part->joiner : part->opener))
			break;
		i = find_named(tpl, part, rest, &name_len);
		if (i == part->count || seen & UINT64_C(1) << i)
			break;
		rest = slice_from(rest, name_len);
		if (rest.len && rest.p[0] == '=') {
			rest = slice_from(rest, 1);
			value = (struct slice){rest.p, value_len(tpl, rest)};
			rest = slice_from(rest, value.len);
		}
		seen |= UINT64_C(1) << i;
		if (values)
			values[part->first + i] = value;
		len = uri.len - rest.len;
	}
	return len;
}

static bool starts_with(struct slice s, struct slice text)
{
	return s.len >= text.len && (text.len == 0 || memcmp(s.p, text.p, text.len) == 0);
}

/* can[at] bit i: parts i and later match what the URI has from at on. Bit i of a value: with one character at least. */
static void note_matches(const struct uri_template *tpl, struct slice uri, uint64_t *can)
{
	for (size_t at = uri.len + 1; at-- > 0;) {
		struct slice rest = slice_from(uri, at);
		size_t units[2] = {value_unit(tpl, rest, false), value_unit(tpl, rest, true)};

		can[at] = at == uri.len ? UINT64_C(1) << tpl->parts_count : 0;
		for (size_t i = tpl->parts_count; i-- > 0;) {
			const struct part *part = &tpl->parts[i];
			uint64_t here = UINT64_C(1) << i, next = here << 1;
			size_t unit = units[part->is_wide];
			bool yes = false;

			if (part->kind == PART_TEXT)
				yes = starts_with(rest, part->text) && can[at + part->text.len] & next;
			else if (part->kind == PART_NAMED)
				yes = can[at + named_len(tpl, part, rest, NULL)] & next;
			else if (unit)
				yes = can[at + unit] & (here | next);
			if (yes)
				can[at] |= here;
		}
	}
}

/* Bytes of the longest value of part i at position at, for which the rest matches too. */
static size_t longest_value(const struct uri_template *tpl, struct slice uri, const uint64_t *can, size_t i, size_t at)
{
	size_t longest = 0, unit;

	for (size_t end = at; (unit = value_unit(tpl, slice_from(uri, end), tpl->parts[i].is_wide)) > 0;) {
		end += unit;
		if (can[end] & UINT64_C(1) << (i + 1))
			longest = end - at;
	}
	return longest;
}

static void pick_values(const struct uri_template *tpl, struct slice uri, const uint64_t *can, struct slice *values)
{
	size_t at = 0;

	for (size_t i = 0; i < tpl->parts_count; i++) {
		const struct part *part = &tpl->parts[i];
		size_t len = part->text.len;

		if (part->kind == PART_NAMED) {
			len = named_len(tpl, part, slice_from(uri, at), values);
		} else if (part->kind == PART_VALUE) {
			len = longest_value(tpl, uri, can, i, at);
			values[part->first] = (struct slice){uri.p + at, len};
		}
		at += len;
	}
}

static int take_values(const struct uri_template *tpl, const struct slice *values, json_object *vars, struct err *err)
{
	struct buf decoded;
	int ret = 0;

	buf_init(&decoded, URI_TEMPLATE_URI_MAX);
	for (size_t i = 0; i < tpl->names_count && ret == 0; i++) {
		if (!values[i].p)
			continue;
		buf_clear(&decoded);
		add_decoded(&decoded, values[i]);
		ret = buf_check(&decoded, err);
		if (ret == 0 && !utf8_is_valid(buf_slice(&decoded)))
			ret = err_set(err, ERR_NOT_FOUND, "the value of %s is not UTF-8", tpl->names[i]);
		if (ret == 0)
			ret = jx_add(vars, tpl->names[i], jx_new_str(buf_slice(&decoded)), err);
	}
	buf_release(&decoded);
	return ret;
}

int uri_template_match(const struct uri_template *tpl, struct slice uri, json_object *vars, struct err *err)
{
	struct slice *values;
	uint64_t *can;
	int ret = -1;

	if (uri.len > URI_TEMPLATE_URI_MAX)
		return err_set(err, ERR_NOT_FOUND, "a URI of %zu bytes", uri.len);
	can = mem_alloc(uri.len + 1, sizeof(*can));
	values = mem_alloc(tpl->names_count + 1, sizeof(*values));
	if (!can || !values) {
		err_set(err, ERR_NOMEM, "match a URI of %zu bytes", uri.len);
		goto out;
	}
	note_matches(tpl, uri, can);
	if (!(can[0] & 1)) {
		err_set(err, ERR_NOT_FOUND, "not a URI of %s", tpl->text);
		goto out;
	}
	pick_values(tpl, uri, can, values);
	ret = take_values(tpl, values, vars, err);
out:
	mem_free(values);
	mem_free(can);
	return ret;
}

/* ---- expanding ---- */

static void add_encoded(struct buf *out, struct slice value, bool is_wide)
{
	for (size_t i = 0; i < value.len; i++) {
		char c = value.p[i];

		if (uri_is_unreserved(c) || (is_wide && uri_is_in_path(c)))
			buf_add(out, &c, 1);
		else
			buf_addf(out, "%%%02X", (unsigned char)c);
	}
}

/* *value is the variable's; p NULL: not set. */
static int find_value(json_object *vars, const char *name, struct slice *value, struct err *err)
{
	*value = jx_get_str(vars, name);
	if (!value->p && jx_has(vars, name))
		return err_set(err, ERR_PARAMS, "%s is not a string", name);
	if (value->len && (memchr(value->p, '\0', value->len) || !utf8_is_valid(*value)))
		return err_set(err, ERR_PARAMS, "%s is not UTF-8 without NUL", name);
	return 0;
}

static int add_group(
    const struct uri_template *tpl, const struct part *part, json_object *vars, struct buf *out, struct err *err)
{
	char sign = part->opener;

	for (size_t i = part->first; i < part->first + part->count; i++) {
		struct slice value;

		if (find_value(vars, tpl->names[i], &value, err))
			return -1;
		if (!value.p)
			continue;
		buf_add(out, &sign, 1);
		buf_adds(out, tpl->names[i]);
		if (value.len || part->opener != ';')
			buf_adds(out, "=");
		add_encoded(out, value, false);
		sign = part->joiner;
	}
	return 0;
}

int uri_template_expand(const struct uri_template *tpl, json_object *vars, struct buf *out, struct err *err)
{
	size_t start = out->len;

	for (size_t i = 0; i < tpl->parts_count; i++) {
		const struct part *part = &tpl->parts[i];
		struct slice value;

		if (part->kind == PART_TEXT) {
			buf_add_slice(out, part->text);
		} else if (part->kind == PART_NAMED) {
			if (add_group(tpl, part, vars, out, err))
				return -1;
		} else {
			if (find_value(vars, tpl->names[part->first], &value, err))
				return -1;
			if (!value.len)
				return err_set(err, ERR_PARAMS, "%s is missing or empty", tpl->names[part->first]);
			add_encoded(out, value, part->is_wide);
		}
		if (out->len - start > URI_TEMPLATE_URI_MAX)
			return err_set(err, ERR_TOO_BIG, "a URI of more than %d bytes", URI_TEMPLATE_URI_MAX);
	}
	return buf_check(out, err);
}
