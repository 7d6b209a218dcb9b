#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/ascii.h"
#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/yaml.h"
#include "common/banned.h"

#define CORE_TAG "tag:yaml.org,2002:"

struct reader {
	yaml_parser_t parser;
	json_object *anchors; /* owned: name -> value; what is still being read is not among them */
	size_t depth_max, nodes_max, nodes;
	struct err *err;
};

static int out_of_memory(struct reader *r)
{
	return err_set(r->err, ERR_NOMEM, "YAML");
}

static int refuse(struct reader *r, const yaml_event_t *event, const char *why)
{
	return err_set(r->err, ERR_PARSE, "line %zu: %s", event->start_mark.line + 1, why);
}

static int next(struct reader *r, yaml_event_t *event)
{
	const yaml_parser_t *p = &r->parser;

	if (yaml_parser_parse(&r->parser, event))
		return 0;
	if (p->error == YAML_MEMORY_ERROR)
		return out_of_memory(r);
	return err_set(
	    r->err, ERR_PARSE, "line %zu: %s", p->problem_mark.line + 1, p->problem ? p->problem : "this is no YAML");
}

/* ---- scalars ---- */

static bool is_one_of(struct slice text, const char *const *words)
{
	for (; *words; words++) {
		if (slice_is(text, *words))
			return true;
	}
	return false;
}

/* Whether text has the form of a number; *is_whole: without fraction and exponent. */
static bool is_number(const char *p, bool *is_whole)
{
	size_t digits = 0;

	*is_whole = true;
	p += *p == '-' || *p == '+';
	for (; ascii_is_digit(*p) || (*p == '.' && *is_whole); p++) {
		digits += *p != '.';
		*is_whole = *is_whole && *p != '.';
	}
	if (digits && (*p == 'e' || *p == 'E')) {
		*is_whole = false;
		p += 1 + (p[1] == '-' || p[1] == '+');
		if (!ascii_is_digit(*p))
			return false;
		p += strspn(p, "0123456789");
	}
	return digits && !*p;
}

static json_object *new_number(const char *text, bool is_whole)
{
	long long whole;
	double number;

	errno = 0;
	whole = is_whole ? strtoll(text, NULL, 10) : 0;
	if (is_whole && errno == 0)
		return json_object_new_int64(whole);
	number = strtod(text, NULL);
	return isfinite(number) ? json_object_new_double(number) : NULL;
}

/* 0x1f and 0o17 */
static bool is_based(const char *text, long long *number)
{
	bool is_hex = text[0] == '0' && text[1] == 'x';
	size_t len;

	if (!is_hex && (text[0] != '0' || text[1] != 'o'))
		return false;
	len = strspn(text + 2, is_hex ? "0123456789abcdefABCDEF" : "01234567"); /* strtoll() would take a sign, or 0x */
	errno = 0;
	*number = strtoll(text + 2, NULL, is_hex ? 16 : 8);
	return len && !text[2 + len] && errno == 0;
}

/* What the core schema makes of a plain scalar. */
static int resolve(struct reader *r, const yaml_event_t *event, struct slice text, json_object **out)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const trues[] = {"true", "True", "TRUE", NULL};
	static const char *const falses[] = {"false", "False", "FALSE", NULL};
	static const char *const numberless[] = {
	    ".inf", ".Inf", ".INF", "-.inf", "-.Inf", "-.INF", "+.inf", "+.Inf", "+.INF", ".nan", ".NaN", ".NAN", NULL};
	long long number;
	bool is_whole;

	*out = NULL;
	if (is_one_of(text, nulls))
		return 0;
	if (is_one_of(text, numberless))
		return refuse(r, event, "infinities and .nan are no JSON");
	if (is_one_of(text, trues) || is_one_of(text, falses))
		*out = json_object_new_boolean(is_one_of(text, trues));
	else if (is_number(text.p, &is_whole))
		*out = new_number(text.p, is_whole);
	else if (is_based(text.p, &number))
		*out = json_object_new_int64(number);
	else
		*out = jx_new_str(text);
	return *out ? 0 : refuse(r, event, "a number out of range");
}

static int read_scalar(struct reader *r, const yaml_event_t *event, json_object **out)
{
	const char *tag = (const char *)event->data.scalar.tag;
	struct slice text = {(const char *)event->data.scalar.value, event->data.scalar.length};
	bool is_text = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;

	if (tag) {
		if (strcmp(tag, "!") != 0 && strncmp(tag, CORE_TAG, sizeof(CORE_TAG) - 1) != 0)
			return refuse(r, event, "a tag that JSON does not know");
		is_text = strcmp(tag, "!") == 0 || strcmp(tag, CORE_TAG "str") == 0;
	}
	if (memchr(text.p, '\0', text.len))
		return refuse(r, event, "a NUL in a string");
	if (!is_text)
		return resolve(r, event, text, out);
	*out = jx_new_str(text);
	return *out ? 0 : out_of_memory(r);
}

/* ---- aliases ---- */

/* Adds the values in val to *nodes, as far as r->nodes_max; returns its depth. */
static size_t measure(const struct reader *r, json_object *val, size_t *nodes)
{
	size_t deepest = 0, depth;

	if (++*nodes > r->nodes_max)
		return 1;
	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			(void)name;
			depth = measure(r, child, nodes);
			deepest = depth > deepest ? depth : deepest;
		}
	} else if (json_object_is_type(val, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(val); i++) {
			depth = measure(r, json_object_array_get_idx(val, i), nodes);
			deepest = depth > deepest ? depth : deepest;
		}
	}
	return deepest + 1;
}

static int read_alias(struct reader *r, const yaml_event_t *event, size_t depth, json_object **out)
{
	const char *name = (const char *)event->data.alias.anchor;

	if (!jx_has(r->anchors, name))
		return refuse(r, event, "an alias of what is not there, or of itself");
	*out = json_object_get(jx_get(r->anchors, name));
	if (depth + measure(r, *out, &r->nodes) <= r->depth_max && r->nodes <= r->nodes_max)
		return 0;
	return refuse(r, event, "its aliases make it too deep or too large");
}

static int keep_anchor(struct reader *r, const yaml_char_t *anchor, json_object *val)
{
	if (anchor && json_object_object_add(r->anchors, (const char *)anchor, json_object_get(val)) != 0) {
		json_object_put(val);
		return out_of_memory(r);
	}
	return 0;
}

/* ---- values ---- */

/* Takes event. */
static int read_value(struct reader *r, yaml_event_t *event, size_t depth, json_object **out);

static int check_key(struct reader *r, const yaml_event_t *key, json_object *obj)
{
	const char *text = key->type == YAML_SCALAR_EVENT ? (const char *)key->data.scalar.value : NULL;

	if (!text)
		return refuse(r, key, "a key must be a scalar");
	if (strlen(text) != key->data.scalar.length)
		return refuse(r, key, "a NUL in a key");
	if (strcmp(text, "<<") == 0 && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		return refuse(r, key, "merge keys (<<) are not read");
	return jx_has(obj, text) ? refuse(r, key, "a key that this mapping has already") : 0;
}

static int read_member(struct reader *r, yaml_event_t *key, size_t depth, json_object *obj)
{
	json_object *val = NULL;
	yaml_event_t event;

	if (check_key(r, key, obj) || next(r, &event) || read_value(r, &event, depth + 1, &val))
		return -1;
	if (json_object_object_add(obj, (const char *)key->data.scalar.value, val) == 0)
		return 0;
	json_object_put(val);
	return out_of_memory(r);
}

static int read_mapping(struct reader *r, size_t depth, json_object **out)
{
	json_object *obj = json_object_new_object();
	int ret = obj ? 0 : out_of_memory(r);

	for (bool is_end = false; ret == 0 && !is_end;) {
		yaml_event_t key;

		ret = next(r, &key);
		if (ret)
			break;
		is_end = key.type == YAML_MAPPING_END_EVENT;
		if (!is_end)
			ret = read_member(r, &key, depth, obj);
		yaml_event_delete(&key);
	}
	*out = obj;
	return ret;
}

static int read_sequence(struct reader *r, size_t depth, json_object **out)
{
	json_object *array = json_object_new_array();
	int ret = array ? 0 : out_of_memory(r);

	*out = array;
	while (ret == 0) {
		json_object *val = NULL;
		yaml_event_t event;

		if (next(r, &event))
			return -1;
		if (event.type == YAML_SEQUENCE_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		ret = read_value(r, &event, depth + 1, &val);
		if (ret == 0 && json_object_array_add(array, val) != 0) {
			json_object_put(val);
			ret = out_of_memory(r);
		}
	}
	return ret;
}

static int read_value(struct reader *r, yaml_event_t *event, size_t depth, json_object **out)
{
	const yaml_char_t *anchor = NULL;
	int ret;

	*out = NULL;
	if (event->type == YAML_ALIAS_EVENT) {
		ret = read_alias(r, event, depth, out);
	} else if (depth >= r->depth_max || ++r->nodes > r->nodes_max) {
		ret = refuse(r, event, "too deep, or too large");
	} else if (event->type == YAML_MAPPING_START_EVENT) {
		anchor = event->data.mapping_start.anchor;
		ret = read_mapping(r, depth, out);
	} else if (event->type == YAML_SEQUENCE_START_EVENT) {
		anchor = event->data.sequence_start.anchor;
		ret = read_sequence(r, depth, out);
	} else {
		anchor = event->data.scalar.anchor;
		ret = read_scalar(r, event, out);
	}
	if (ret == 0)
		ret = keep_anchor(r, anchor, *out);
	if (ret) {
		json_object_put(*out);
		*out = NULL;
	}
	yaml_event_delete(event);
	return ret;
}

/* Past the beginnings of stream and document. 1: there is no document. */
static int begin(struct reader *r, yaml_event_t *event)
{
	for (;;) {
		yaml_event_type_t type;

		if (next(r, event))
			return -1;
		type = event->type;
		if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
		    type != YAML_STREAM_END_EVENT)
			return 0;
		yaml_event_delete(event);
		if (type == YAML_STREAM_END_EVENT)
			return 1;
	}
}

static int end(struct reader *r)
{
	yaml_event_t event;
	int ret = next(r, &event);

	if (ret)
		return -1;
	yaml_event_delete(&event); /* of the document */
	if (next(r, &event))
		return -1;
	if (event.type != YAML_STREAM_END_EVENT)
		ret = refuse(r, &event, "a second document");
	yaml_event_delete(&event);
	return ret;
}

json_object *yaml_parse(struct slice text, size_t depth_max, size_t nodes_max, struct err *err)
{
	struct reader r = {
	    .anchors = json_object_new_object(), .depth_max = depth_max, .nodes_max = nodes_max, .err = err};
	json_object *root = NULL;
	yaml_event_t event;
	int ret;

	if (!r.anchors || !yaml_parser_initialize(&r.parser)) {
		json_object_put(r.anchors);
		out_of_memory(&r);
		return NULL;
	}
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.p, text.len);
	ret = begin(&r, &event);
	if (ret == 0)
		ret = read_value(&r, &event, 0, &root) || end(&r) ? -1 : 0;
	else if (ret == 1)
		err_set(err, ERR_PARSE, "line 1: there is nothing in it");
	if (ret == 0 && !root)
		ret = err_set(err, ERR_PARSE, "line 1: it is null");
	json_object_put(r.anchors);
	yaml_parser_delete(&r.parser);
	if (ret == 0)
		return root;
	json_object_put(root);
	return NULL;
}
