/* broker/broker.h - what the broker's objects share: settings, loop, store, tables, and the budget of descriptors.
 *
 * The objects and who owns whom:
 *
 *   producer  a worker process: identity, what it was answered, what it may still send
 *   session   a legacy client; owns its own stream, knows its calls and other streams
 *   call      a request under way: who works on it, its will, and, when it is parked, the answers it waits for
 *   stream    a log of events with one reader at most; lives in the table until it is CLOSED
 *   task      work that outlives its request, and the runner that does it
 *   conn      the reader: an adopted connection with a cursor
 *
 * Each of them is found by its key in a table, and dies by its own x_close(), which unlinks it from everything and
 * leaves the memory to the end of the turn (loop_doom), so a pointer is good for the rest of the callback. */
#ifndef MCP_BROKER_BROKER_H
#define MCP_BROKER_BROKER_H

#include "broker/loop.h"
#include "broker/stats.h"
#include "broker/store.h"
#include "broker/table.h"
#include "common/bucket.h"
#include "common/buf.h"
#include "common/cfg.h"

#define OWN_FDS_MAX 1024 /* all that is our own has a number below this */

struct broker {
	const struct cfg *cfg; /* borrowed */
	struct loop loop;
	struct store *store;                  /* owned */
	struct bus *bus;                      /* owned by server.c */
	struct table producers;               /* by id */
	struct table sessions;                /* by session id */
	struct table calls;                   /* by producer (0: nobody) and number */
	struct table streams;                 /* by handle */
	struct table topics, subscriptions;   /* topic.c's */
	struct table tasks;                   /* by task id */
	struct table marks;                   /* by name */
	struct table owners;                  /* share.c's */
	struct task *first_task, **last_task; /* list of all, in the order of creation */
	struct producer *runners, **last_runner;
	struct producer *unkept; /* have outcomes that the store was not given yet */
	struct conn *conns;      /* list of all */
	size_t line_count;       /* messages that wait for the data channel, of all producers */
	uint64_t next_handle;
	uint64_t last_unowned; /* number of a call that nobody runs */
	uint64_t park_bytes;   /* of all parks */
	uint64_t topics_bytes; /* of all topics and subscriptions */
	uint64_t tasks_bytes;  /* of all tasks' blobs and jobs */
	uint64_t log_bytes;    /* of all streams' events, as they are counted */
	uint64_t last_round;   /* of SUBSCRIBE */
	size_t stream_count;   /* without the sessions' own */
	size_t conns_count;
	struct bucket adoptions; /* of connections that wait for news */
	size_t waiting_count;    /* of streams that only wait for news and have a connection, or soon will */
	size_t parked_count;     /* of calls */
	size_t fd_max, fd_used, fd_reserved;
	struct buf frame, events; /* scratch: one turn of one connection */
	bool draining;           /* nothing new begins */
	bool is_leaving;         /* what is closed now is kept for the next start */
	bool is_loading;         /* a snapshot: what is there was let in, however low the limits are by now */
	size_t own_fds;          /* open, and not for clients; 0: not counted yet */
	/* server.c's: another program is to take our place (handover.h). -1: *err says why it can't now. */
	int (*restart)(void *arg, struct err *err);
	void *restart_arg;
	struct stats stats;
};

/* *b is usable by the other modules when broker_open() has succeeded too. */
int broker_init(struct broker *b, const struct cfg *cfg, bool (*turn)(void *arg), void *turn_arg, struct err *err);
/* Opens the store, as the settings say, and takes back what an earlier broker left there. Blocks. */
int broker_open(struct broker *b, struct err *err);
/* In its place, for the program that takes another one's place: the store as that has saved it. */
int broker_resume(struct broker *b, struct slice saved, struct err *err);
/* Closes everything in the tables, without a word to anybody, then loop and store. */
void broker_release(struct broker *b);

/* Raises the soft limit of descriptors to the hard one, and sets fd_max to what may be given to clients: neither what
 * is open by now nor broker_fd_reserve. Called when all that is our own is open. */
int broker_budget_fds(struct broker *b, struct err *err);
/* Descriptors that are about to be open, or were closed. take: false at the limit. */
bool broker_fd_take(struct broker *b, size_t count);
void broker_fd_give(struct broker *b, size_t count);

/* Whether there is a point in making an object's value. */
bool broker_keeps(const struct broker *b);
/* What outlives us, in the place of what was kept under this key; releases value. And not any more. */
void broker_keep(struct broker *b, enum store_kind kind, struct slice key, struct buf *value);
void broker_unkeep(struct broker *b, enum store_kind kind, struct slice key);

/* Largest frame of the link: what MAXMSGSIZE and WELCOME say. */
size_t broker_frame_max(const struct broker *b);

#endif
