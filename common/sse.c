#include "config.h"

#include "common/sse.h"
#include "common/banned.h"

#define WINDOW 256 /* bytes */

/* LF and then CR are looked for in one window after the other, so that a text of many lines is not searched to its end
 * for each of them. */
static size_t line_len(struct slice text)
{
	for (size_t at = 0; at < text.len; at += WINDOW) {
		size_t len = text.len - at < WINDOW ? text.len - at : WINDOW;
		const char *from = text.p + at, *lf = memchr(from, '\n', len);
		const char *cr = memchr(from, '\r', lf ? (size_t)(lf - from) : len);

		if (cr || lf)
			return (size_t)((cr ? cr : lf) - text.p);
	}
	return text.len;
}

static bool cut_line(struct slice *text, struct slice *line)
{
	size_t i = line_len(*text);

	*line = (struct slice){text->p, i};
	if (i == text->len)
		return false;
	i += text->p[i] == '\r' && i + 1 < text->len && text->p[i + 1] == '\n' ? 2 : 1;
	text->p += i;
	text->len -= i;
	return true;
}

void sse_add_event(struct buf *out, struct slice id, const char *event, struct slice data)
{
	struct slice line;
	bool more;

	if (id.len > 0) {
		buf_adds(out, "id: ");
		buf_add_slice(out, id);
		buf_adds(out, "\n");
	}
	buf_adds(out, "event: ");
	buf_adds(out, event);
	buf_adds(out, "\n");
	do {
		more = cut_line(&data, &line);
		buf_adds(out, "data: ");
		buf_add_slice(out, line);
		buf_adds(out, "\n");
	} while (more);
	buf_adds(out, "\n");
}

void sse_add_retry(struct buf *out, int64_t retry_ms)
{
	buf_addf(out, "retry: %lld\n\n", (long long)retry_ms);
}

void sse_add_priming(struct buf *out, struct slice id, int64_t retry_ms)
{
	buf_adds(out, "id: ");
	buf_add_slice(out, id);
	buf_addf(out, "\nretry: %lld\ndata: \n\n", (long long)retry_ms);
}
