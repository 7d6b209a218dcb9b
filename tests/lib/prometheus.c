#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/prometheus.h"
#include "common/banned.h"

#define NAME_MAX_LEN 128

struct reader {
	char family[NAME_MAX_LEN], type[16];
	char series[512]; /* of the histogram's buckets: labels without le */
	double bucket_last, le_last;
	bool has_inf;
	unsigned line;
	const char *text, *at; /* all; this line */
};

static char said[256];

static const char *wrong(const struct reader *r, const char *why)
{
	snprintf(said, sizeof(said), "line %u: %s: %.*s", r->line, why, (int)strcspn(r->at, "\n"), r->at);
	return said;
}

static size_t name_len(const char *p, bool is_label)
{
	size_t len = 0;

	while ((p[len] >= 'a' && p[len] <= 'z') || (p[len] >= 'A' && p[len] <= 'Z') || p[len] == '_' ||
	       (!is_label && p[len] == ':') || (len && p[len] >= '0' && p[len] <= '9'))
		len++;
	return len < NAME_MAX_LEN ? len : 0;
}

/* "# HELP name text" or "# TYPE name type" */
static const char *read_comment(struct reader *r)
{
	bool is_help = strncmp(r->at, "# HELP ", 7) == 0;
	const char *p = r->at + 7, *end = r->at + strcspn(r->at, "\n");
	size_t len = name_len(p, false);
	char before[NAME_MAX_LEN + 16];

	if ((!is_help && strncmp(r->at, "# TYPE ", 7) != 0) || len == 0 || p[len] != ' ')
		return wrong(r, "neither HELP nor TYPE");
	if (is_help) {
		snprintf(before, sizeof(before), "# HELP %.*s ", (int)len, p);
		if (strstr(r->text, before) != r->at)
			return wrong(r, "a family that was there before");
		snprintf(r->family, sizeof(r->family), "%.*s", (int)len, p);
		r->type[0] = '\0';
		r->series[0] = '\0';
		return p + len + 1 < end ? NULL : wrong(r, "no text");
	}
	if (strlen(r->family) != len || strncmp(p, r->family, len) != 0 || r->type[0])
		return wrong(r, "a TYPE that does not follow its HELP");
	snprintf(r->type, sizeof(r->type), "%.*s", (int)(end - p - (ptrdiff_t)len - 1), p + len + 1);
	if (strcmp(r->type, "counter") != 0 && strcmp(r->type, "gauge") != 0 && strcmp(r->type, "histogram") != 0)
		return wrong(r, "an unknown type");
	return NULL;
}

/* {name="value",...}; le goes to *le, the others to others. NULL: malformed. */
static const char *read_labels(const char *p, char *others, size_t size, char *le, size_t le_size)
{
	size_t used = 0;

	others[0] = le[0] = '\0';
	if (*p != '{')
		return p;
	do {
		size_t len = name_len(++p, true);
		const char *name = p, *value = p + len + 2;
		bool is_le = len == 2 && strncmp(name, "le", 2) == 0;

		if (len == 0 || p[len] != '=' || p[len + 1] != '"')
			return NULL;
		for (p = value; *p != '"'; p++) {
			if (*p == '\n' || *p == '\0')
				return NULL;
			if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
				return NULL;
		}
		if (is_le)
			snprintf(le, le_size, "%.*s", (int)(p - value), value);
		else
			used += (size_t)snprintf(others + used, size - used, "%.*s,", (int)(p + 1 - name), name);
		if (used >= size)
			return NULL;
		p++;
	} while (*p == ',');
	return *p == '}' ? p + 1 : NULL;
}

/* The suffix of a sample of the family; NULL: it is of another one. */
static const char *suffix_of(const struct reader *r, size_t len)
{
	static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
	size_t family_len = strlen(r->family);

	if (len < family_len || strncmp(r->at, r->family, family_len) != 0)
		return NULL;
	if (strcmp(r->type, "histogram") != 0)
		return len == family_len ? "" : NULL;
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		if (strlen(suffixes[i]) == len - family_len &&
		    strncmp(r->at + family_len, suffixes[i], len - family_len) == 0)
			return suffixes[i];
	}
	return NULL;
}

static const char *read_histogram(
    struct reader *r, const char *suffix, const char *others, const char *le, double value)
{
	bool is_bucket = strcmp(suffix, "_bucket") == 0, is_inf = strcmp(le, "+Inf") == 0;
	char *end = NULL;
	double bound = is_inf ? 0 : strtod(le, &end);

	if (is_bucket != (le[0] != '\0') || (is_bucket && !is_inf && *end))
		return wrong(r, "le belongs to buckets, and is a number");
	if (!is_bucket) {
		if (!r->has_inf || strcmp(others, r->series) != 0)
			return wrong(r, "before its buckets");
		return suffix[1] == 'c' && value != r->bucket_last ? wrong(r, "not that of +Inf") : NULL;
	}
	if (strcmp(others, r->series) == 0 && !r->has_inf && r->le_last > 0) {
		if (value < r->bucket_last || (!is_inf && bound <= r->le_last))
			return wrong(r, "buckets must rise");
	} else {
		snprintf(r->series, sizeof(r->series), "%s", others);
		r->has_inf = false;
	}
	r->bucket_last = value;
	r->le_last = bound;
	r->has_inf = is_inf;
	return NULL;
}

static const char *read_sample(struct reader *r)
{
	size_t len = name_len(r->at, false), line_len = strcspn(r->at, "\n");
	const char *suffix = r->type[0] && len ? suffix_of(r, len) : NULL, *p, *same = r->text;
	char others[512], le[32], key[1024], *end;
	double value;

	if (!suffix)
		return wrong(r, "not of the family that was announced");
	p = read_labels(r->at + len, others, sizeof(others), le, sizeof(le));
	if (!p || *p != ' ')
		return wrong(r, "labels");
	value = strtod(p + 1, &end);
	if (end == p + 1 || end != r->at + line_len || value < 0)
		return wrong(r, "a number, and nothing after it");
	snprintf(key, sizeof(key), "\n%.*s ", (int)(p - r->at), r->at);
	same = strstr(r->text, key);
	if (same && same + 1 != r->at)
		return wrong(r, "the same sample twice");
	return strcmp(r->type, "histogram") == 0 ? read_histogram(r, suffix, others, le, value) : NULL;
}

const char *prometheus_check(const char *text)
{
	struct reader r = {.text = text, .at = text};

	for (; *r.at; r.at += strcspn(r.at, "\n") + 1) {
		const char *why;

		r.line++;
		if (!strchr(r.at, '\n'))
			return wrong(&r, "the last line has no end");
		why = r.at[0] == '#' ? read_comment(&r) : read_sample(&r);
		if (why)
			return why;
	}
	return NULL;
}

double prometheus_value(const char *text, const char *sample)
{
	size_t len = strlen(sample);

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, sample, len) == 0 && p[len] == ' ')
			return strtod(p + len, NULL);
		if (*p == '\0')
			break;
	}
	return -1;
}
