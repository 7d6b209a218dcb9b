/* Three lines: a template, a URI, an object of values. A template is taken or refused with an error; the values of a
 * URI make a URI that has just these values; the URI that values make is one of the template, and so are its values'.
 */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/uri_template.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

static struct slice cut_line(struct slice *text)
{
	const char *end = text->len ? memchr(text->p, '\n', text->len) : NULL;
	struct slice line = {text->p, end ? (size_t)(end - text->p) : text->len};
	size_t skip = end ? line.len + 1 : line.len;

	text->p += skip;
	text->len -= skip;
	return line;
}

/* Whether the URI is one of the template, and the values that it has make a URI with the same values. */
static bool try_uri(const struct uri_template *tpl, struct slice uri)
{
	json_object *vars = json_object_new_object(), *again = json_object_new_object();
	struct err err = {0};
	struct buf made;
	bool yes;

	buf_init(&made, 3 * URI_TEMPLATE_URI_MAX);
	yes = uri_template_match(tpl, uri, vars, &err) == 0;
	if (!yes && err.code != ERR_NOT_FOUND)
		abort();
	if (yes && uri_template_expand(tpl, vars, &made, &err)) {
		if (err.code != ERR_TOO_BIG)
			abort();
	} else if (yes) {
		if (uri_template_match(tpl, buf_slice(&made), again, &err) || !json_object_equal(vars, again))
			abort();
	}
	buf_release(&made);
	json_object_put(vars);
	json_object_put(again);
	return yes;
}

static void try_values(const struct uri_template *tpl, json_object *vars)
{
	struct buf made;

	buf_init(&made, 3 * URI_TEMPLATE_URI_MAX);
	if (uri_template_expand(tpl, vars, &made, NULL) == 0 && !try_uri(tpl, buf_slice(&made)))
		abort();
	buf_release(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = {size ? (const char *)data : "", size};
	struct slice text = cut_line(&rest), uri = cut_line(&rest);
	struct err err = {0};
	struct uri_template *tpl = uri_template_new(text, &err);
	json_object *vars;

	if ((tpl == NULL) != (err.code != ERR_NONE))
		abort();
	if (tpl) {
		try_uri(tpl, uri);
		vars = jx_parse(rest, 4, NULL);
		if (json_object_is_type(vars, json_type_object))
			try_values(tpl, vars);
		json_object_put(vars);
	}
	uri_template_free(&tpl);
	return 0;
}
