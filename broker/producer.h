/* broker/producer.h - a worker or runner process as the broker knows it: its identity, what it was answered, what it
 * may send.
 *
 * It comes with HELLO and loses its control connection when the worker dies. Then it stays a moment (PRODUCER_LAST_MS):
 * what the worker sent on the data channel before it died may still be on its way, and its wills come after that.
 *
 * When the connection ended at our side, or with the broker before us, the worker lives: it is away, and has
 * link_return_ms to come back, by a HELLO with the same id and a higher number. It finds its calls, its tasks, and what
 * it was answered: of that, what had an effect in the store is kept there in the same transaction, in parts of the
 * window, so that one row serves all messages of a turn. */
#ifndef MCP_BROKER_PRODUCER_H
#define MCP_BROKER_PRODUCER_H

#include "broker/broker.h"
#include "common/link.h"

#define PRODUCER_LAST_MS 100

struct bus_message;
struct call;
struct ctl;
struct task;

enum outcome_state { OUTCOME_NONE, OUTCOME_PENDING, OUTCOME_ACK, OUTCOME_NACK };

/* While the broker gives its place to another program (handover.h). */
enum producer_hold {
	PRODUCER_FREE,
	PRODUCER_TOLD,  /* HOLD is in line, or was sent */
	PRODUCER_QUIET, /* HOLD was sent, and nothing may follow it */
	PRODUCER_HELD,  /* and nothing comes any more */
};

/* What a sequence came to. A retry gets the same again. */
struct outcome {
	uint64_t seq;
	uint64_t stream, value; /* of the ACK: stream handle; version or cursor */
	uint8_t state;          /* enum outcome_state */
	uint8_t type;           /* enum link_type of the request */
	uint16_t nack;
	bool want_answer;
	bool is_kept;       /* its effect is in the store, and so is this */
	struct ctl *by_ctl; /* borrowed; where it came last, to be answered there; NULL: by the data channel */
};

struct producer {
	struct table_node node;
	struct broker *broker; /* borrowed */
	uint64_t id;
	uint32_t connection; /* its number, of the last one; 0: none with us yet */
	struct ctl *ctl;     /* borrowed; NULL: it has died, or is_away */
	bool is_away;
	uint32_t pid;
	enum link_role role;
	struct outcome *window;                    /* owned, link_window of them; seq modulo that */
	uint64_t seq_max;                          /* the highest that came */
	uint64_t parts_unkept, parts_kept;         /* of the window: a bit each */
	struct producer *next_unkept, **at_unkept; /* in broker->unkept */
	struct call *calls;
	struct task *tasks;                          /* of a runner: those that have not ended */
	struct producer *next_runner, **at_runner;   /* in broker->runners, whose turn is next first */
	uint64_t credit_spent;                       /* bytes that came and were not given back */
	uint64_t credit_owed;                        /* of those: logged, to be given back */
	struct bus_message *waiting, **waiting_tail; /* bus.c's: messages that the data channel didn't take yet */
	size_t waiting_count;
	enum producer_hold hold; /* bus.c's */
	struct wheel_timer credit_timer, last_timer;
	bool is_closed;
	struct loop_doom doom;
};

/* HELLO: it is new, or comes back. NULL: no memory, or the connection is not newer than the one we know. */
struct producer *producer_connect(
    struct broker *b, uint64_t id, uint32_t connection, struct ctl *ctl, uint32_t pid, enum link_role role);
struct producer *producer_find(struct broker *b, uint64_t id);
/* For the program that takes our place (snapshot.h), and from the one before. */
void producer_save(const struct producer *p, struct buf *out);
int producer_load(struct broker *b, struct slice in);
/* Its control connection is gone. may_return: it did not close it itself. */
void producer_lost(struct producer *p, bool may_return);
void producer_queue_runner(struct producer *p); /* (again) to the end of the runners' line */
/* At once: its tasks fail, wills of its calls, out of the table. */
void producer_close(struct producer *p);

/* The slot for a message. *is_new: to be handled; else its outcome stands there (or is PENDING). NULL: too old to know.
 */
struct outcome *producer_take_seq(struct producer *p, uint64_t seq, bool *is_new);
struct outcome *producer_find_seq(struct producer *p, uint64_t seq); /* NULL: not in the window any more */
void producer_forget_ctl(struct producer *p, const struct ctl *ctl); /* it is closed */

/* The outcome goes to the store with all that is submitted in this turn, by the one call at its end. */
void producer_keep(struct producer *p, struct outcome *o);
void producers_kept(struct broker *b);

/* One of an earlier broker, which is away; it is made if it is not there. NULL: no memory. producers_expect() gives all
 * of them the time to come back. */
struct producer *producer_restore(struct broker *b, uint64_t id);
void producers_keep_all(struct broker *b);
bool producer_restore_outcomes(struct broker *b, struct slice key, struct slice value);
void producers_expect(struct broker *b);

/* False: more under way than was granted. The bytes are spent even then, and to be returned. */
bool producer_spend_credit(struct producer *p, uint64_t bytes);
void producer_return_credit(struct producer *p, uint64_t bytes);

#endif
