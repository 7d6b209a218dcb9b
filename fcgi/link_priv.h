/* fcgi/link_priv.h - what the files of the worker's end of the link share: link_call.c, link_caller.c, link_client.c,
 * link_conn.c, link_request.c, link_task.c, link_thread.c. Who does what:
 *
 *   any thread    encodes its message, gives it a number and puts it into the inbox (under mtx); if the link thread
 *                 sleeps, wakes it by the eventfd; then waits on the request's own semaphore without a deadline of its
 *                 own, for the link thread completes every request exactly once: answer, deadline, or end of the link.
 *                 What begins and ends a call, as each request of a session does, and an event that it waits for, it
 *                 says, and hears the answer, on a socket that is its own meanwhile (link_caller.c): the link thread
 *                 hears of it when that failed.
 *   link thread   lives from the first need of a broker to the end of the link. It connects, when somebody needs a
 *                 connection or when there is something to go on with (calls, requests without an answer, a runner's
 *                 tasks), and again, with growing pauses, when it can't. It alone touches the DEALER, the sent requests
 *                 and the timers.
 *
 * A connection ends at EOF of the control socket. What had no answer is sent again on the next one with the same
 * sequence, until its deadline: the process is the same producer on all of them, so the broker, or the one after it,
 * knows what it has done already. Each connection has a number, and the DEALER a routing id with it: a ROUTER ignores a
 * second peer of the same one. The first messages on each but the first tell what goes on: calls that only the lost
 * broker knew are begun again under their numbers, then RETURN lists all. */
#ifndef MCP_FCGI_LINK_PRIV_H
#define MCP_FCGI_LINK_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/queue.h>

#include <zmq.h>

#include "common/histogram.h"
#include "fcgi/link_client.h"

#define RETRY_FIRST_MS 250 /* without an answer it is said again, and then after growing pauses */
#define TABLE_SIZE     256 /* chains of the tables of calls and sent requests; numbers are consecutive */
#define SPARE_FDS_MAX  16  /* eventfds that are kept for the next calls */

/* One message to the broker. One with a waiter lives on the waiter's stack until done is posted; one without is freed,
 * as owner, when it was sent or given up. */
struct request {
	struct link_header header;
	struct slice key; /* borrowed */
	struct buf body;
	void *owner;                /* NULL: somebody waits for done */
	TAILQ_ENTRY(request) fifo;  /* in the inbox (by mtx), then in sendq */
	LIST_ENTRY(request) hashed; /* in sent: only requests that somebody waits for */
	bool is_queued;             /* in sendq */
	bool is_tried;              /* handed to ZeroMQ at least once */
	bool by_caller;             /* may be asked so */
	uint32_t connection;        /* on whose caller it was answered; 0: it was not */
	uint64_t retry_at_ms;
	uint64_t retry_interval_ms;
	uint64_t credit; /* spent for it */
	/* The outcome, for the waiter: */
	sem_t done;
	int ret;
	struct err *err;  /* the waiter's, may be NULL */
	bool is_answered; /* by ACK or NACK */
	struct link_header answer;
	zmq_msg_t answer_body;
};
TAILQ_HEAD(request_fifo, request);
LIST_HEAD(request_chain, request);

/* What stands behind a struct link_call. */
struct call_entry {
	struct link_call call;    /* first: the user's pointer is ours */
	struct call_entry *next;  /* by mtx: in the table of calls */
	struct buf cancelled_ids; /* by mtx: of a batch, each text followed by '\n' */
	bool is_woken;            /* by mtx: cancel_fd was written */
	size_t ids_count;
	uint32_t connection;    /* on whose caller it began; 0: it did not */
	uint64_t stream;        /* by mtx: where its answer goes; 0: nowhere yet */
	bool is_begun;          /* by mtx: the broker has said so */
	char key[LINK_KEY_MAX]; /* CALL_BEGIN, to be said again; no body: it began by another message */
	size_t key_len;
	struct buf body;
	bool is_finished;   /* the user's thread only */
	struct request end; /* CALL_END: memory of its own, so that a call can always be ended */
};

/* Somebody who waits for a task to change. There are as many as there are threads that wait. */
struct task_watch {
	LIST_ENTRY(task_watch) chain;
	char id[LINK_KEY_MAX];
	size_t id_len;
	int fd; /* borrowed; an eventfd */
};
LIST_HEAD(task_watches, task_watch);

/* link_stats.c's: what was counted since it was sent last. */
#define COUNT_ROWS_MAX 48    /* names: methods (17), what is none of them (4), tasks, answers of APIs (4) */
#define STATS_MAX      65536 /* bytes: all rows, with all buckets */
_Static_assert(COUNT_ROWS_MAX * LINK_OUTCOME__COUNT * (4 + LINK_STATS_NAME_MAX + 10 + 5 * HISTOGRAM_BUCKETS) < STATS_MAX,
    "what is counted fits one message");
struct count_row {
	_Atomic(const char *) name; /* NULL: a free one, as are those that follow */
	struct count_cell {
		atomic_uint buckets[HISTOGRAM_BUCKETS];
		atomic_uint_least64_t sum_us;
	} cells[LINK_OUTCOME__COUNT];
};

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP };

/* Whether the broker has asked us to send nothing: HELD is to be sent, or was. */
enum link_hold { LINK_HOLD_NONE, LINK_HOLD_ASKED, LINK_HOLD_TOLD };

struct link {
	const struct cfg *cfg;     /* borrowed */
	atomic_int pid;            /* of the process that uses it; 0: not used yet */
	_Atomic uint64_t stuck_ms; /* when the broker last did not do what it was asked; 0: never */
	int wake_fd;               /* eventfd; made at the first connection, for a link may be made before fork */

	pthread_mutex_t mtx;
	pthread_cond_t changed;   /* state, attempt, credit */
	enum link_state state;    /* by mtx, and so is all of this part */
	bool is_wanted;           /* somebody waits for a connection ... */
	uint64_t wanted_until_ms; /* ... until then */
	unsigned attempt;         /* counts connection attempts that ended */
	unsigned awaiting;        /* threads in link_await() */
	struct err attempt_err;   /* what to say of the last one, if the link is not up */
	bool is_draining, is_asleep, is_stopping;
	uint64_t producer, seq, epoch; /* producer: 0 before the first connection */
	uint32_t connection;           /* how many there were */
	int64_t credit, credit_full;   /* bytes */
	size_t body_max;               /* bytes; of the broker that we are connected to */
	int ctl;                       /* control socket; -1 when down */
	bool takes_callers;            /* so said the broker */
	bool takes_events;             /* by them, too */
	uint64_t returned_seq;         /* of the last RETURN */
	uint64_t unheard[TABLE_SIZE];  /* by stream: the last event of it that nobody waits for */
	_Atomic uint64_t heard_seq;    /* the broker has read all that went by the data channel up to here */
	int idle_callers[LINK_CALLERS_MAX];
	size_t idle_callers_count, callers_count;
	struct request_fifo inbox;
	struct call_entry *calls[TABLE_SIZE];
	size_t calls_count;
	int spare_fds[SPARE_FDS_MAX]; /* of calls that have ended, never written */
	size_t spare_fds_count;
	struct task_watches watches;
	bool runner_is_starting;
	uint64_t runner_at_ms; /* when the last start of a runner ended; 0: never */
	struct err runner_err; /* how; code ERR_NONE: well */

	/* Of any thread: */
	struct count_row counts[COUNT_ROWS_MAX];
	atomic_uint_least64_t credit_waits;

	/* Set before the first connection: */
	const struct link_runner *runner; /* borrowed; NULL: we are a worker */

	bool has_thread; /* by mtx */
	pthread_t thread;

	/* Of the link thread: */
	void *context;                        /* ZeroMQ's */
	uint64_t start_at_ms;                 /* no broker is started before */
	uint64_t up_at_ms;                    /* when the last connection was made; 0: never */
	uint64_t retry_at_ms, retry_pause_ms; /* of connecting by itself */
	size_t waiting_count;                 /* requests in sent */
	void *dealer;
	int dealer_fd;
	bool is_dealer_due; /* something may be there of which dealer_fd will not tell */
	enum link_hold hold;
	struct buf head;
	struct request_fifo sendq; /* to send, first or again */
	struct request_chain sent[TABLE_SIZE];
	uint64_t timer_ms; /* nothing is due before, but STATS: */
	uint64_t stats_at_ms;
	struct buf stats; /* a body that is to be sent */
};

/* link_conn.c: 0 with mtx held and the link up, or -1 without mtx. Waits for a change until deadline_ms, with mtx held;
 * false: it passed. */
int link_lock_up(struct link *l, bool connects, uint64_t deadline_ms, struct err *err);
/* 0 with mtx held, up or not, or -1 without: it is another process's, or was never up. */
int link_lock(struct link *l, struct err *err);
bool link_wait_changed(struct link *l, uint64_t deadline_ms);
/* For the link thread: one attempt. may_start: a broker, if the settings allow it. On success state is LINK_UP. */
int link_connect(struct link *l, bool may_start, uint64_t deadline_ms, struct err *err);

/* link_thread.c: the link thread, whose argument is the link. */
void *link_thread(void *arg);
/* link_return.c, for the link thread, with mtx held: what is said before anything else on a new connection. is_known:
 * the broker knows our calls. tasks: their part of RETURN. */
int link_return(struct link *l, bool is_known, struct slice tasks, struct err *err);
void link_entry_cancel(struct call_entry *entry); /* with mtx held: nobody can receive the answer any more */

/* For the link thread: false: there is no room now. */
bool link_dealer_send(struct link *l, struct request *req);

/* link_stats.c, for the link thread: sends what was counted, if anything was. */
void link_stats_send(struct link *l, uint64_t now);

/* link_task.c: wakes those who watch this task; NULL: any. With mtx held. */
void link_watches_fire(struct link *l, const struct slice *id);

/* link_caller.c: a socket of this connection by which one thread at a time asks. */
struct caller {
	int fd; /* -1: none */
	uint32_t connection;
};
int link_send_fd(int ctl, const struct buf *packet, int fd);
struct caller link_caller_take(struct link *l); /* with mtx held */
/* is_sound: nothing is under way on it. */
void link_caller_give(struct link *l, struct caller c, bool is_sound);
void link_callers_close(struct link *l); /* with mtx held */
/* false: it was not sent. */
bool link_caller_send(struct caller c, const struct request *req, uint64_t deadline_ms);
/* Asks. entry: the call that it begins, or NULL. false: that is to be done by the data channel. */
bool link_caller_ask(struct link *l, struct request *req, struct call_entry *entry);

/* link_request.c: what any thread does to say something to the broker. */

/* What a message needs of the connection. */
enum need {
	NEED_ANY,   /* connects when there is none */
	NEED_KNOWN, /* the next one will do: it is about something that exists already */
	NEED_CREDIT /* the same, and credit for its body */
};

uint64_t link_deadline(const struct link *l); /* of what is asked now */
void link_wake(struct link *l);
/* A message with room for body_len bytes of body, which the caller appends to req->body. */
void request_init(struct request *req, const struct link *l, enum link_type type, size_t body_len);
/* A question about what key names, begun with who asks. */
void question_init(struct request *req, const struct link *l, enum link_type type, struct slice key,
    const char *principal, size_t body_len);
/* For its waiter, once nothing lent out of the answer is needed any more. */
void request_release(struct request *req);
/* Hands req over. entry, when given, is the call that it begins: it can be found from now on, for CANCELLED may be here
 * before the acknowledgement. */
int request_submit(struct link *l, struct request *req, enum need need, struct call_entry *entry, struct err *err);
/* Submits and waits for the answer. */
int request_ask(struct link *l, struct request *req, enum need need, struct call_entry *entry, struct err *err);
struct slice request_answer(struct request *req); /* body of the answer */
/* Its number, and that of the call that it begins. With mtx held. */
void request_name(struct link *l, struct request *req, struct call_entry *entry);
struct nack {
	unsigned code;
	uint32_t retry_ms;
	char text[128];
};
bool nack_read(struct slice body, struct nack *nack);                     /* false: malformed */
void request_refused(struct request *req, const struct nack *nack);       /* that is its outcome */
void request_answered(struct request *req, const struct link_header *h); /* it has an outcome, which h brought */
/* For what is answered by yes or no: asks and releases. */
int request_ask_and_release(struct link *l, struct request *req, enum need need, struct err *err);

#endif
