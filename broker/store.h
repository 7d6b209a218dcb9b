/* broker/store.h - where events, and what else outlives a moment, are kept: a log in global order, and objects.
 *
 * The broker's modules keep positions, the store keeps bytes. It is asynchronous: whatever takes time is an operation
 * that the caller owns and that comes back from within store->reap(), never from the call that submitted it. So the
 * broker never waits for a disk. doc/store.md says what becomes of it there.
 *
 *   append  gives the event its position at once; positions rise. What was appended can be read at once too. That it is
 *           safe is known when a sync, submitted later, completes. A fleeting event is not kept for a later start.
 *   join    the event at a position, which was appended since the last reap() and which nobody forgot, is one of
 *           another stream too: it is kept once, and each of them reads and forgets it as its own.
 *   sync    completes when all that was appended, put, deleted or forgotten before is committed: one sync serves a
 *           whole frame of events. Syncs complete in the order of submission.
 *   read    lends the bytes of several events. They stay valid until done() returns, forgotten in the meantime or not.
 *           It ends before one that can't be read.
 *   forget  the event is not needed any more.
 *   put     keeps an object, in the place of an older one of its kind and key. Its module gets it back at a later
 *           start.
 *   del     of one that was not put: harmless.
 *
 * All that is submitted between two calls of reap() is committed together or, when the process dies, not at all. So
 * what belongs together is submitted in one callback of the loop. Whoever has submitted something calls reap() before
 * it sleeps: nobody wakes it for that.
 *
 * A store that can't write keeps what it has and tries again (is_stalled): nothing more may be begun meanwhile.
 * An operation that was submitted must live until it is done; close() commits what is under way if it can, completes
 * it, with status -1 if it could not. */
#ifndef MCP_BROKER_STORE_H
#define MCP_BROKER_STORE_H

#include "common/buf.h"

#define STORE_READ_MAX 32 /* events in one read */

struct store_op {
	struct store_op *next; /* the store's, as are is_read and status */
	bool is_read;
	int status;
	/* status 0, or -1: could not be committed (sync), or nothing of it read. Owns the operation again, may submit
	 * it anew. */
	void (*done)(struct store_op *op, int status);
};

struct store_read {
	struct store_op op;
	uint64_t positions[STORE_READ_MAX];  /* in: from append, or from recovery */
	struct slice events[STORE_READ_MAX]; /* out */
	size_t count;
	size_t good;                /* out: so many of them could be read */
	bool is_damaged;            /* out: the one after these will never be; else another try may help */
	void *lent[STORE_READ_MAX]; /* the store's */
};

/* What objects are of. The numbers are on disk; recovery hands them back in this order. */
enum store_kind {
	STORE_SESSION = 1, /* by session id */
	STORE_STREAM,      /* by handle */
	STORE_CALL,        /* by call->kept_as */
	STORE_TOPIC,       /* a subscription: by handle and topic */
	STORE_TASK,        /* by task id */
	STORE_MARK,        /* by name */
	STORE_OUTCOMES,    /* by producer and part of its window */
	STORE_KIND__END,
};

struct store_event {
	uint64_t position, stream, seq;
	uint32_t len; /* bytes */
	bool is_lost; /* it is there, but not as it was written: gone now, to be forgotten */
};

/* Who gets back what an earlier process has put and appended: all objects first, then all events in the order of their
 * positions, those that joined one after the other. Each may put, del and forget. What nobody wants, it deletes or
 * forgets. */
struct store_keeper {
	void (*object)(void *arg, enum store_kind kind, struct slice key, struct slice value);
	void (*event)(void *arg, const struct store_event *event);
	void *arg;
};

/* A start before this one, of which events may be left. */
struct store_epoch {
	uint64_t epoch;
	uint64_t end;  /* its events have positions below this */
	bool is_whole; /* all that was committed in it is there: there was no power loss since */
};

struct store {
	const char *name;
	uint64_t epoch;                   /* of this start: higher than that of every earlier one */
	uint64_t bytes_used;              /* of events that were not forgotten */
	const struct store_epoch *epochs; /* oldest first; set by recover */
	size_t epochs_count;
	bool is_durable;
	bool is_stalled;
	/* Its user's; called from within reap() when the store had to begin a new file, and may have lost any event
	 * that it says has() not of. All objects are to be put again. */
	void (*on_renewed)(void *arg);
	void *on_renewed_arg;
	/* Once, before all that follows. Blocks. */
	int (*recover)(struct store *s, const struct store_keeper *keeper, struct err *err);
	/* For the program that takes our place (snapshot.h), when nothing is under way: what it needs to go on in the
	 * same epoch; resume stands in the place of recover, and calls no keeper. */
	bool (*is_busy)(const struct store *s);
	void (*save)(struct store *s, struct buf *out);
	int (*resume)(struct store *s, struct slice saved, struct err *err);
	/* Lends the bytes of an event that only memory has. False: that isn't one. */
	bool (*peek)(struct store *s, uint64_t position, struct slice *event);
	/* 0: no memory. */
	uint64_t (*append)(struct store *s, uint64_t stream, uint64_t seq, struct slice event, bool is_fleeting);
	/* False: no memory, or no further one can join: who wants that appends it again. */
	bool (*join)(struct store *s, uint64_t position, uint64_t stream, uint64_t seq);
	void (*sync)(struct store *s, struct store_op *op);
	void (*read)(struct store *s, struct store_read *r);
	void (*forget)(struct store *s, uint64_t position, uint32_t len);
	/* Whether it can be read, as far as is known without looking. */
	bool (*has)(const struct store *s, uint64_t position);
	/* A failure, which is one of memory and may be value's already, shows in the status of the next sync. */
	void (*put)(struct store *s, enum store_kind kind, struct slice key, const struct buf *value);
	void (*del)(struct store *s, enum store_kind kind, struct slice key);
	/* Completes what is ready. Returns whether more is. */
	bool (*reap)(struct store *s);
	void (*close)(struct store **sp);
};

/* NULL: *err. */
struct store *store_memory_open(struct err *err);

struct store_sqlite_how {
	const char *dir;  /* is made if it is not there; two processes can't have the same */
	bool sync_each;   /* on the disk before a sync completes; else in the system, and on the disk sync_ms later */
	uint64_t sync_ms; /* 0: whenever the system likes */
	uint64_t cache_bytes; /* of events that are on disk and kept in memory too */
	int lock_fd;          /* taken: what the program before us held dir with, see save; 0: dir is locked anew */
};
/* wake is called, from another thread, when something has come back. NULL: *err. */
struct store *store_sqlite_open(
    const struct store_sqlite_how *how, void (*wake)(void *arg), void *arg, struct err *err);

#endif
