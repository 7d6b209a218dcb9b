/* broker/stream_priv.h - what the files of a stream share: stream.c (its life, its reader, what is appended),
 * stream_log.c (the index of its events), stream_kept.c (what the store has of it, and how it comes back),
 * stream_saved.c (what goes to the program that takes our place) and stream_id.c (event ids). */
#ifndef MCP_BROKER_STREAM_PRIV_H
#define MCP_BROKER_STREAM_PRIV_H

#include "broker/stream.h"

static inline struct stream_event *stream_event_at(const struct stream *s, uint64_t seq)
{
	return &s->events[s->events_start + (seq - s->first_seq)];
}

static inline size_t stream_events_count(const struct stream *s)
{
	return (size_t)(s->last_seq + 1 - s->first_seq);
}

static inline uint64_t stream_event_cost(const struct stream_event *e)
{
	return (uint64_t)e->len + STREAM_EVENT_COST;
}

/* stream.c */
struct stream *stream_make(
    struct broker *b, struct session *session, struct owner *owner, bool is_own, uint64_t handle); /* NULL: no memory */
void stream_go(struct stream *s, enum stream_state to, const char *why);
void stream_count_place(struct stream *s);      /* when it has got or lost a connection, or the promise of one */
void stream_start_keep_timer(struct stream *s); /* when the oldest events are looked at again */
uint32_t stream_now_s(const struct stream *s);

/* stream_log.c */
int stream_index_reserve(struct stream *s, size_t count); /* room in the index for count more; -1: no memory */
void stream_log_push(
    struct stream *s, struct stream_event e); /* for which there is room: the newest, and its bytes count */
/* All; -1: none. joint: where an event is that other streams have too; 0: not yet; NULL: they have not. */
int stream_log_append(struct stream *s, const struct slice *events, size_t count, bool is_durable, uint64_t *joint);
void stream_drop_first(
    struct stream *s); /* forgets the oldest; who did so lets stream_keep() follow, in the same callback */
uint64_t stream_epoch_at(
    const struct stream *s, uint64_t position); /* the start that appended the event at this position */

/* stream_kept.c: writes what the store has of it beside its events. One without a session is nobody's at a later start.
 */
void stream_keep(const struct stream *s);

#endif
