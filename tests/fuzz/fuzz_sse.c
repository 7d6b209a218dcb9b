/* Any message becomes one event, which a reader of event streams reads as that message, its id and its name: nothing in
 * it can end the event or begin a field. */
#include "config.h"

#include <stdlib.h>

#include "common/sse.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

/* WHATWG HTML, 9.2.6: lines end by LF, CR or CRLF; data lines are joined by LF; an empty line ends the event. */
struct reader {
	struct buf data;
	struct slice id, name;
	size_t data_count, events_count;
};

static struct slice cut_line(struct slice *text)
{
	struct slice line = {text->p, 0};
	size_t skip;

	while (line.len < text->len && text->p[line.len] != '\n' && text->p[line.len] != '\r')
		line.len++;
	skip = line.len + (line.len < text->len);
	if (skip < text->len && text->p[skip - 1] == '\r' && text->p[skip] == '\n')
		skip++;
	text->p += skip;
	text->len -= skip;
	return line;
}

static void read_stream(struct reader *r, struct slice text)
{
	while (text.len > 0) {
		struct slice line = cut_line(&text), value;
		const char *colon = line.len ? memchr(line.p, ':', line.len) : NULL;
		size_t name_len = colon ? (size_t)(colon - line.p) : line.len;

		if (line.len == 0) {
			r->events_count++;
			continue;
		}
		value = (struct slice){line.p + name_len + (colon != NULL), line.len - name_len - (colon != NULL)};
		if (value.len && value.p[0] == ' ')
			value.p++, value.len--;
		line.len = name_len;
		if (slice_is(line, "data")) {
			if (r->data_count++ > 0)
				buf_adds(&r->data, "\n");
			buf_add_slice(&r->data, value);
		} else if (slice_is(line, "id")) {
			r->id = value;
		} else if (slice_is(line, "event")) {
			r->name = value;
		} else {
			abort();
		}
	}
}

static void add_normalised(struct buf *out, struct slice text)
{
	bool is_first = true;

	for (bool more = true; more; is_first = false) {
		more = text.len && (memchr(text.p, '\n', text.len) || memchr(text.p, '\r', text.len));
		buf_adds(out, is_first ? "" : "\n");
		buf_add_slice(out, cut_line(&text));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice payload = {(const char *)data, size}, id = SLICE("1.2.3");
	struct reader r = {0};
	struct buf stream, want;

	buf_init(&stream, 16 * size + 256);
	buf_init(&want, size + 16);
	buf_init(&r.data, 16 * size + 256);
	sse_add_event(&stream, size % 2 ? id : SLICE(""), "message", payload);
	if (stream.fault)
		abort();
	add_normalised(&want, payload);
	read_stream(&r, buf_slice(&stream));
	if (r.events_count != 1 || !slice_eq(buf_slice(&r.data), buf_slice(&want)) || !slice_is(r.name, "message") ||
	    !slice_eq(r.id, size % 2 ? id : SLICE("")))
		abort();
	buf_release(&stream);
	buf_release(&want);
	buf_release(&r.data);
	return 0;
}
