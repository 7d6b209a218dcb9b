/* broker/handle_priv.h - one message while it is handled: what handle.c and handle_*.c share. */
#ifndef MCP_BROKER_HANDLE_PRIV_H
#define MCP_BROKER_HANDLE_PRIV_H

#include "broker/producer.h"

struct stream;

struct message {
	struct broker *broker;
	struct producer *producer;
	const struct link_header *h;
	struct slice key, body; /* body: what was not read yet */
	struct outcome *outcome;
	uint64_t credit;  /* bytes that were spent for it */
	bool bad;         /* the body was too short */
	struct buf reply; /* of a question: the body of its ACK */
};

/* Each returns 0 (ACK), an enum link_nack with nothing done, or LATER: the store answers. */
#define LATER LINK_NACK__COUNT
unsigned do_session_put(struct message *m); /* handle_session.c: sessions and their calls */
unsigned do_session_del(struct message *m);
unsigned do_call_begin(struct message *m);
unsigned do_call_end(struct message *m);
unsigned do_cancel(struct message *m);
unsigned do_park(struct message *m);
unsigned do_answer(struct message *m);
unsigned do_open_stream(struct message *m); /* handle_stream.c */
unsigned do_attach(struct message *m);
unsigned do_append(struct message *m);
unsigned do_finish(struct message *m);
unsigned do_close_conn(struct message *m);
unsigned do_subscribe(struct message *m); /* handle_topic.c */
unsigned do_unsubscribe(struct message *m);
unsigned do_notify(struct message *m);
unsigned do_task_new(struct message *m); /* handle_task.c: tasks, marks */
unsigned do_task_put(struct message *m);
unsigned do_task_get(struct message *m);
unsigned do_task_list(struct message *m);
unsigned do_task_send(struct message *m);
unsigned do_once(struct message *m);
unsigned do_stats(struct message *m);  /* handle_stats.c */
unsigned do_return(struct message *m); /* handle_return.c */

/* What waits for the store. It keeps names, not pointers: each of them may be gone by then. */
struct commit {
	struct store_op op;
	struct broker *broker;
	uint64_t producer, seq;
	uint64_t stream, first, last; /* 0: not of a stream */
	uint64_t credit;
	uint64_t begun_us;
	/* Called when it is done, before the answer; NULL: nothing is to be done. */
	void (*after)(struct broker *b, struct slice key, int status);
	size_t key_len;
	char key[LINK_KEY_MAX];
};

/* NULL: no memory, or the store can't write: BUSY. Made before anything is done, as nothing may fail after that. */
struct commit *commit_new(struct message *m);
/* Then: nack says that nothing was done, and is returned; without one the store has c, and will answer: LATER. */
unsigned commit_settle(struct message *m, struct commit *c, unsigned nack);
/* Appends and lets the store answer. LATER, or a nack with nothing done. */
unsigned append_events(
    struct message *m, struct stream *s, const struct slice *events, size_t count, bool is_durable, bool is_final);

static inline bool is_key(struct slice key)
{
	return key.len > 0 && key.len <= LINK_KEY_MAX;
}

#endif
