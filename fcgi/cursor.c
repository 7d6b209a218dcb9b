#include "config.h"

#include "common/base64.h"
#include "common/buf.h"
#include "common/jx.h"
#include "fcgi/cursor.h"
#include "common/banned.h"

#define AFTER_MAX_BYTES 65536
#define DIGITS_MAX      9 /* of an index */

/* Takes an index from the front of text. */
static bool take_index(struct slice *text, size_t *index)
{
	size_t n = 0;

	*index = 0;
	for (; n < text->len && text->p[n] >= '0' && text->p[n] <= '9' && n < DIGITS_MAX; n++)
		*index = *index * 10 + (size_t)(text->p[n] - '0');
	text->p += n;
	text->len -= n;
	return n > 0;
}

static bool take_text(struct slice *text, const char *want)
{
	size_t len = strlen(want);

	if (text->len < len || memcmp(text->p, want, len) != 0)
		return false;
	text->p += len;
	text->len -= len;
	return true;
}

int cursor_read(struct cursor *c, json_object *params, const char *digest, size_t count, struct err *err)
{
	struct slice text = jx_get_str(params, "cursor");
	bool is_good;

	*c = (struct cursor){0};
	buf_init(&c->after, AFTER_MAX_BYTES);
	if (!jx_has(params, "cursor"))
		return 0;
	is_good = text.p && take_text(&text, digest) && take_text(&text, ".") && take_index(&text, &c->index) &&
		  c->index < count;
	if (is_good && text.len)
		is_good = take_text(&text, ".") && text.len && text.len <= AFTER_MAX_BYTES &&
			  base64_decode(&c->after, BASE64_URL, text);
	if (!is_good)
		return err_set(err, ERR_PARAMS,
		    "cursor is not one of this server's, or what it lists has changed since; list again without it");
	return buf_check(&c->after, err);
}

void cursor_release(struct cursor *c)
{
	buf_release(&c->after);
}

void cursor_put(struct buf *out, const char *digest, size_t index, struct slice after)
{
	buf_addf(out, ",\"nextCursor\":\"%s.%zu", digest, index);
	if (after.len) {
		buf_adds(out, ".");
		base64_encode(out, BASE64_URL, after);
	}
	buf_adds(out, "\"");
}

int cursor_put_page(
    const struct cursor_list *list, const struct call *call, json_object *params, struct buf *out, struct err *err)
{
	size_t page = (size_t)call->cfg->page_size, to;
	struct cursor c;
	int ret = cursor_read(&c, params, list->digest, list->count, err);

	if (ret == 0) {
		to = list->count - c.index > page ? c.index + page : list->count;
		buf_addf(out, "\"%s\":[", list->name);
		for (size_t i = c.index; i < to; i++) {
			buf_adds(out, i > c.index ? "," : "");
			buf_adds(out, list->entry(list->set, i, call->revision));
		}
		buf_adds(out, "]");
		if (to < list->count)
			cursor_put(out, list->digest, to, SLICE(""));
	}
	cursor_release(&c);
	return ret;
}
