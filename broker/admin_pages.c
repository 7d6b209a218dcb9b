#include "config.h"

#include <inttypes.h>
#include <unistd.h>

#include "broker/admin_pages.h"
#include "broker/call.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/utf8.h"
#include "common/banned.h"

#define TURN_BUCKETS 256   /* of a table, in one turn of the loop */
#define TURN_BYTES   32768 /* about what is written in one */

static void put_string(struct buf *out, struct slice s)
{
	buf_adds(out, "\"");
	while (s.len > 0) {
		size_t len = utf8_len(s);
		unsigned char c = (unsigned char)s.p[0];

		if (len == 0)
			buf_adds(out, "\\ufffd");
		else if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
			buf_addf(out, "\\u%04x", c);
		else
			buf_add(out, s.p, len);
		len += len == 0;
		s.p += len;
		s.len -= len;
	}
	buf_adds(out, "\"");
}

static void put_id(struct buf *out, const struct session *s)
{
	struct slice id = s->id;

	if (id.len > ADMIN_ID_SHOWN)
		id.len = ADMIN_ID_SHOWN;
	put_string(out, id);
}

void admin_put_status(const struct broker *b, struct buf *out)
{
	buf_addf(out,
	    "{\"version\":\"" PACKAGE_VERSION "\",\"pid\":%d,\"up_s\":%" PRIu64 ",\"run_dir\":", (int)getpid(),
	    (loop_now(&b->loop) - b->stats.started_ms) / 1000);
	put_string(out, slice_str(b->cfg->run_dir));
	buf_addf(out,
	    ",\"store\":\"%s\",\"epoch\":%" PRIu64
	    ",\"session_max\":%jd,\"stream_max\":%jd,\"task_max\":%jd,\"log_max_bytes\":%jd,\"counts\":",
	    b->store->name, b->store->epoch, (intmax_t)b->cfg->session_max, (intmax_t)b->cfg->stream_max,
	    (intmax_t)b->cfg->task_max, (intmax_t)b->cfg->broker_log_max_bytes);
	stats_put_json(b, out);
	buf_adds(out, "}\n");
}

struct page {
	const struct broker *b;
	struct admin_walk *walk;
	struct buf *out;
};

static void put_session(struct table_node *n, void *arg)
{
	const struct session *s = TABLE_OF(n, struct session, node);
	struct page *p = arg;
	size_t streams = 0, conns = 0, calls = 0;

	for (const struct stream *t = s->streams; t; t = t->next) {
		streams++;
		conns += t->conn != NULL;
	}
	for (const struct call *c = s->calls; c; c = c->next_of_session)
		calls++;
	buf_adds(p->out, p->walk->count++ ? ",\n{\"id\":" : "\n{\"id\":");
	put_id(p->out, s);
	buf_adds(p->out, ",\"principal\":");
	put_string(p->out, s->principal);
	buf_addf(p->out,
	    ",\"idle_s\":%" PRIu64 ",\"streams\":%zu,\"connections\":%zu,\"calls\":%zu,\"undelivered_bytes\":%" PRIu64
	    "}",
	    (loop_now(&p->b->loop) - s->active_ms) / 1000, streams, conns, calls, s->own->undelivered_bytes);
}

static const char *kind_of(const struct stream *s)
{
	return s->is_own ? "session" : s->is_listen ? "listen" : s->is_modern ? "modern" : "legacy";
}

static void put_stream(struct table_node *n, void *arg)
{
	const struct stream *s = TABLE_OF(n, struct stream, node);
	struct page *p = arg;

	buf_addf(p->out, "%s\n{\"stream\":%" PRIu64 ",\"session\":", p->walk->count++ ? "," : "", s->handle);
	if (s->session)
		put_id(p->out, s->session);
	else
		buf_adds(p->out, "null");
	buf_addf(p->out,
	    ",\"kind\":\"%s\",\"state\":\"%s\",\"connected\":%s,\"first\":%" PRIu64 ",\"delivered\":%" PRIu64
	    ",\"last\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"undelivered_bytes\":%" PRIu64 "}",
	    kind_of(s), stream_state_name(s->state), s->conn ? "true" : "false", s->first_seq, s->delivered_seq,
	    s->last_seq, s->log_bytes, s->undelivered_bytes);
}

/* One turn's share of a table. */
static void walk_on(const struct table *t, struct page *p, void (*visit)(struct table_node *n, void *arg))
{
	struct admin_walk *walk = p->walk;
	size_t len = p->out ? p->out->len : 0;

	for (int i = 0; i < TURN_BUCKETS && !walk->is_over && (!p->out || p->out->len - len < TURN_BYTES); i++) {
		walk->cursor = table_scan(t, walk->cursor, visit, p);
		walk->is_over = walk->cursor == 0;
	}
}

static void put_list(
    const char *name, const struct table *t, struct page *p, void (*visit)(struct table_node *n, void *arg))
{
	if (!p->walk->is_begun)
		buf_addf(p->out, "{\"%s\":[", name);
	p->walk->is_begun = true;
	walk_on(t, p, visit);
	if (p->walk->is_over)
		buf_adds(p->out, "\n]}\n");
}

void admin_put_sessions(const struct broker *b, struct admin_walk *walk, struct buf *out)
{
	struct page p = {b, walk, out};

	put_list("sessions", &b->sessions, &p, put_session);
}

void admin_put_streams(const struct broker *b, struct admin_walk *walk, struct buf *out)
{
	struct page p = {b, walk, out};

	put_list("streams", &b->streams, &p, put_stream);
}

struct search {
	struct page page; /* first */
	struct slice prefix;
};

static void compare(struct table_node *n, void *arg)
{
	const struct session *s = TABLE_OF(n, struct session, node);
	const struct search *search = arg;
	struct admin_walk *walk = search->page.walk;

	if (s->id.len < search->prefix.len || memcmp(s->id.p, search->prefix.p, search->prefix.len) != 0)
		return;
	if (walk->count++ > 0)
		return;
	walk->id_len = s->id.len;
	memcpy(walk->id, s->id.p, s->id.len);
}

void admin_find_session(const struct broker *b, struct admin_walk *walk, struct slice prefix)
{
	struct search search = {{b, walk, NULL}, prefix};

	walk_on(&b->sessions, &search.page, compare);
}
