#include "config.h"

#include <inttypes.h>

#include "broker/call.h"
#include "broker/once.h"
#include "broker/park.h"
#include "broker/producer.h"
#include "broker/recover.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "broker/task.h"
#include "broker/topic.h"
#include "common/log.h"
#include "common/banned.h"

/* Each makes the object anew. False: it can't be, and is not to be kept: its time is over, or what it belonged to is
 * gone, or it is not to be understood, or there is no memory. */
static bool (*const restore[STORE_KIND__END])(struct broker *b, struct slice key, struct slice value) = {
    [STORE_SESSION] = session_restore,
    [STORE_STREAM] = stream_restore,
    [STORE_CALL] = call_restore,
    [STORE_TOPIC] = topic_restore,
    [STORE_TASK] = task_restore,
    [STORE_MARK] = once_restore,
    [STORE_OUTCOMES] = producer_restore_outcomes,
};

struct recovery {
	struct broker *broker;
	size_t dropped;
};

static void on_object(void *arg, enum store_kind kind, struct slice key, struct slice value)
{
	struct recovery *r = arg;
	struct broker *b = r->broker;

	if ((size_t)kind < COUNT_OF(restore) && restore[kind] && restore[kind](b, key, value))
		return;
	r->dropped++;
	b->store->del(b->store, kind, key);
}

static void on_event(void *arg, const struct store_event *e)
{
	struct broker *b = ((struct recovery *)arg)->broker;

	if (!stream_restore_event(b, e) && !e->is_lost)
		b->store->forget(b->store, e->position, e->len);
}

static void end_stream(struct table_node *n, void *arg)
{
	struct stream *s = TABLE_OF(n, struct stream, node);

	(void)arg;
	stream_restored(s);
	if (!s->is_own && !s->call) /* which was dropped on the way: nobody will answer */
		stream_finish(s, "its call did not come back");
}

static void end_session(struct table_node *n, void *arg)
{
	size_t *lost = arg;

	*lost += session_restored(TABLE_OF(n, struct session, node)) != 0;
}

static void end_call(struct table_node *n, void *arg)
{
	struct call *c = TABLE_OF(n, struct call, node);

	(void)arg;
	if (!call_is_parked(c) && !c->producer)
		call_end(c, "nobody knows who ran it");
}

void recover_again(void *arg)
{
	struct broker *b = arg;

	session_keep_all(b);
	stream_keep_all(b);
	call_keep_all(b);
	topic_keep_all(b);
	task_keep_all(b);
	once_keep_all(b);
	producers_keep_all(b);
}

int recover(struct broker *b, struct err *err)
{
	struct recovery r = {b, 0};
	const struct store_keeper keeper = {on_object, on_event, &r};
	size_t lost = 0;

	if (b->store->recover(b->store, &keeper, err))
		return -1;
	table_each(&b->streams, end_stream, NULL);
	table_each(&b->sessions, end_session, &lost);
	if (lost)
		return err_set(err, ERR_NOMEM, "%zu sessions", lost);
	if (b->store->is_durable)
		LOG(INFO, "broker.recovered",
		    "sessions=%zu streams=%zu calls=%zu tasks=%zu marks=%zu workers=%zu event_bytes=%" PRIu64
		    " dropped=%zu",
		    b->sessions.count, b->streams.count, b->calls.count, b->tasks.count, b->marks.count,
		    b->producers.count, b->store->bytes_used, r.dropped);
	table_each(&b->calls, end_call, NULL);
	task_runners_lost(b);
	producers_expect(b);
	return 0;
}
