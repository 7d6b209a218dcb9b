#include "config.h"

#include "common/jx.h"
#include "fcgi/escape.h"
#include "fcgi/placeholder.h"
#include "common/banned.h"

int placeholder_next(const char *text, size_t *at, struct slice *part)
{
	const char *p = text + *at, *end;

	if (p[0] == '{' && p[1] == '{') {
		*part = (struct slice){p, 1};
		*at += 2;
		return 0;
	}
	if (p[0] != '{') {
		*part = (struct slice){p, strcspn(p, "{")};
		*at += part->len;
		return 0;
	}
	end = strchr(p, '}');
	if (!end || end == p + 1)
		return -1;
	*part = (struct slice){p + 1, (size_t)(end - p) - 1};
	*at += part->len + 2;
	return memchr(part->p, '{', part->len) ? -1 : 1;
}

static json_object *value_of(json_object *values, struct slice name)
{
	json_object_object_foreach(values, key, val) {
		if (slice_is(name, key))
			return val;
	}
	return NULL;
}

void placeholder_expand(struct buf *out, const char *text, json_object *values, bool in_json)
{
	struct slice part;
	size_t at = 0;

	while (text[at]) {
		json_object *val;

		if (placeholder_next(text, &at, &part) == 0) {
			buf_add_slice(out, part);
			continue;
		}
		val = value_of(values, part);
		if (in_json)
			escape_put_json(out, jx_str(val));
		else if (json_object_is_type(val, json_type_string))
			buf_add_slice(out, jx_str(val));
		else if (val)
			jx_write(out, val);
	}
}
