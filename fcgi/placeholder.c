#include "config.h"

#include "common/jx.h"
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

static struct slice value_of(json_object *values, struct slice name)
{
	json_object_object_foreach(values, key, val) {
		if (slice_is(name, key))
			return jx_str(val);
	}
	return SLICE("");
}

void placeholder_expand(struct buf *out, const char *text, json_object *values, bool in_json)
{
	struct slice part, value;
	size_t at = 0;

	while (text[at]) {
		if (placeholder_next(text, &at, &part) == 0) {
			buf_add_slice(out, part);
			continue;
		}
		value = value_of(values, part);
		if (!in_json) {
			buf_add_slice(out, value);
		} else {
			struct buf quoted;

			buf_init(&quoted, out->max);
			jx_write_str(&quoted, value);
			if (quoted.fault)
				out->fault = quoted.fault;
			else
				buf_add(out, quoted.data + 1, quoted.len - 2); /* less its quotes */
			buf_release(&quoted);
		}
	}
}
