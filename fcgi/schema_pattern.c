/* Regular expressions of ECMA-262 as PCRE2 takes them, and their price. */
#include "config.h"

#include "fcgi/schema_priv.h"
#include "common/banned.h"

/* As ECMA-262's with the flag u, which the specification recommends: \d and \w are ASCII, $ is the very end. What no
 * flag does, translate_pattern() does. */
#define PATTERN_FLAGS                                                                                                  \
	(PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALT_BSUX |     \
	    PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT)
#define PATTERN_HEAP_KIB   16384
#define PATTERN_STEP_BYTES 64 /* that a pattern runs over for the price of a step */

static const struct {
	const char *name, *code;
} categories[] = {
    {"Letter", "L"},
    {"Cased_Letter", "L&"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Format", "Cf"},
    {"Surrogate", "Cs"},
    {"Private_Use", "Co"},
    {"Unassigned", "Cn"},
};

/* The inside of the braces of \p{...}: PCRE2 knows the categories by their short names only. */
static void translate_property(struct buf *out, struct slice name)
{
	static const char *const prefixes[] = {"General_Category=", "gc="};

	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		size_t len = strlen(prefixes[i]);

		if (name.len > len && memcmp(name.p, prefixes[i], len) == 0)
			name = (struct slice){name.p + len, name.len - len};
	}
	for (size_t i = 0; i < COUNT_OF(categories); i++) {
		if (slice_is(name, categories[i].name))
			name = slice_str(categories[i].code);
	}
	buf_add_slice(out, name);
}

/* What stands behind a backslash; returns its length. */
static size_t translate_escape(struct buf *out, struct slice text, bool in_class)
{
	static const char spaces[] = "\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff\\s";
	const char *end = text.len > 1 && text.p[1] == '{' ? memchr(text.p, '}', text.len) : NULL;

	if (text.len == 0) {
		buf_adds(out, "\\");
		return 0;
	}
	if (text.p[0] == 'v') { /* one character, not a class */
		buf_adds(out, "\\x0b");
	} else if (text.p[0] == 's') {
		buf_addf(out, in_class ? "%s" : "[%s]", spaces);
	} else if (text.p[0] == 'S' && !in_class) {
		buf_addf(out, "[^%s]", spaces);
	} else if ((text.p[0] == 'p' || text.p[0] == 'P') && end) {
		buf_addf(out, "\\%c{", text.p[0]);
		translate_property(out, (struct slice){text.p + 2, (size_t)(end - text.p) - 2});
		return (size_t)(end - text.p);
	} else {
		buf_adds(out, "\\");
		buf_add(out, text.p, 1);
	}
	return 1;
}

/* ECMA-262 into PCRE2, where the same letters mean something else. */
static void translate_pattern(struct buf *out, struct slice text)
{
	bool in_class = false;

	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '\\') {
			i += translate_escape(out, (struct slice){text.p + i + 1, text.len - i - 1}, in_class);
			continue;
		}
		if (text.p[i] == '[' && in_class)
			buf_adds(out, "\\"); /* no [:alpha:] */
		in_class = text.p[i] == '[' || (in_class && text.p[i] != ']');
		buf_add(out, text.p + i, 1);
	}
}

void *pattern_alloc(size_t len, void *arg)
{
	(void)arg;
	return mem_alloc(1, len);
}

void pattern_free(void *p, void *arg)
{
	(void)arg;
	mem_free(p);
}

int pattern_compile(struct compiler *c, struct pattern *pattern, struct slice text, struct err *err)
{
	PCRE2_UCHAR why[120];
	PCRE2_SIZE at;
	struct buf translated;
	int code = PCRE2_ERROR_HEAP_FAILED;

	pattern->text = mem_dup(text.p, text.len);
	if (!pattern->text)
		return schema_no_memory(err);
	buf_init(&translated, SIZE_MAX / 2);
	translate_pattern(&translated, text);
	if (!translated.fault)
		pattern->code = pcre2_compile((PCRE2_SPTR)(translated.data ? translated.data : ""), translated.len,
		    PATTERN_FLAGS, &code, &at, c->dialect);
	buf_release(&translated);
	if (pattern->code)
		return 0;
	if (code == PCRE2_ERROR_HEAP_FAILED)
		return schema_no_memory(err);
	pcre2_get_error_message(code, why, sizeof(why));
	return err_set(err, ERR_CONFIG, "the pattern is no regular expression: %s", (char *)why);
}

void pattern_release(struct pattern *pattern)
{
	pcre2_code_free(pattern->code);
	mem_free(pattern->text);
}

static int on_pattern_item(pcre2_callout_block *block, void *arg)
{
	struct run *run = arg;
	size_t at = block->current_position, was = run->matcher.at;

	run->matcher.at = at;
	run->steps += (unsigned)((at > was ? at - was : was - at) / PATTERN_STEP_BYTES);
	return ++run->steps > SCHEMA_STEPS_MAX ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static bool matcher_init(struct run *run)
{
	struct matcher *m = &run->matcher;

	if (m->data)
		return true;
	m->memory = pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
	m->limits = m->memory ? pcre2_match_context_create(m->memory) : NULL;
	m->data = m->limits ? pcre2_match_data_create(1, m->memory) : NULL;
	if (!m->data)
		return run_no_memory(run);
	pcre2_set_heap_limit(m->limits, PATTERN_HEAP_KIB);
	pcre2_set_match_limit(m->limits, SCHEMA_STEPS_MAX);
	pcre2_set_callout(m->limits, on_pattern_item, run);
	return true;
}

void matcher_release(struct matcher *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->limits);
	pcre2_general_context_free(m->memory);
}

/* False too when the run has failed. */
bool pattern_matches(struct run *run, const struct pattern *pattern, struct slice text)
{
	int code;

	if (run->failed || !run_step(run) || !matcher_init(run))
		return false;
	run->matcher.at = 0;
	code = pcre2_match(pattern->code, (PCRE2_SPTR)text.p, text.len, 0, 0, run->matcher.data, run->matcher.limits);
	if (code == PCRE2_ERROR_NOMEMORY)
		return run_no_memory(run);
	if (code < 0 && code != PCRE2_ERROR_NOMATCH)
		return run_fail(run, "a text of the value takes too long to be compared with its pattern");
	return code >= 0;
}
