/* tests/lib/fake_worker.h - a worker's end of the link as plain bytes, a real mcp-broker to talk to, and a web server's
 * end of an adopted connection. Everything fails the running cmocka test when it can't be done. */
#ifndef MCP_TESTS_FAKE_WORKER_H
#define MCP_TESTS_FAKE_WORKER_H

#include <sys/types.h>

#include "common/link.h"

#define FAKE_WAIT_MS 30000 /* for anything that is bound to come */

struct fake_broker_process {
	char dir[64]; /* run_dir */
	pid_t pid;
};

extern const char *fake_broker_program; /* below abs_top_builddir; NULL: mcp-broker */

/* Starts abs_top_builddir's mcp-broker --foreground in a new directory, its store_dir too, with these settings, and
 * waits until it listens. fd_limit 0: as it is. */
void fake_broker_start(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit);
/* Another one in the place of one that has ended: what is in the directory is there. */
void fake_broker_again(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit);
/* The same. False: it ended before it listened, and is to be waited for. */
bool fake_broker_try(struct fake_broker_process *b, const char *const *sets, size_t sets_count, unsigned fd_limit);
/* Runs one that is bound to end by itself, in a directory that has mcp.json. Its exit status. */
int fake_broker_run(const char *dir, const char *const *sets, size_t sets_count);
int fake_broker_end(struct fake_broker_process *b, int number); /* by that signal; the directory stays */
int fake_broker_wait(struct fake_broker_process *b);            /* exit status, or 128 + signal */
void fake_broker_stop(struct fake_broker_process *b); /* SIGTERM; the status must be 0; removes the directory */

struct fake_worker {
	uint64_t producer, seq, epoch, credit;
	uint32_t connection, body_max;
	bool is_known; /* as WELCOME says */
	int ctl;
	void *context, *dealer;
};

struct fake_answer {
	struct link_header h;
	unsigned nack; /* of a NACK; else 0 */
	char key[LINK_KEY_MAX + 1];
	struct buf body;
};

int fake_ctl_connect(const char *dir); /* the bare control socket, or -1 */
void fake_worker_connect(struct fake_worker *w, const char *dir);
void fake_runner_connect(struct fake_worker *w, const char *dir);
/* The same producer once more, on its next connection: to another broker, or as if it had lost the one that it has. */
void fake_worker_again(struct fake_worker *w, const char *dir, enum link_role role);
/* RETURN. calls: pairs of number and stream, ended by 0; tasks end by NULL; both may be NULL. */
void fake_return(struct fake_worker *w, const uint64_t *calls, const char *const *tasks);
void fake_worker_close_data(struct fake_worker *w); /* the control socket stays open */
void fake_worker_die(struct fake_worker *w); /* the control socket closes, as by kill -9 */
void fake_worker_put_hello(struct buf *packet, uint64_t producer, uint32_t connection, uint16_t version_min,
    uint16_t version_max, enum link_role role);

/* Sends one message of the data channel; h needs type and what matters. h->seq 0: the next one. Returns the seq. */
uint64_t fake_worker_send(struct fake_worker *w, const struct link_header *h, struct slice key, struct slice body);
void fake_worker_send_raw(struct fake_worker *w, const struct slice *frames, size_t count);
/* The next message but CREDIT, which is added up. False: none came in wait_ms. */
bool fake_worker_receive(struct fake_worker *w, struct fake_answer *a, int wait_ms);
/* Sends, and waits for the ACK or NACK. Returns 0 or enum link_nack; *a (may be NULL) is the answer. */
unsigned fake_worker_ask(
    struct fake_worker *w, const struct link_header *h, struct slice key, struct slice body, struct fake_answer *a);
void fake_answer_release(struct fake_answer *a);

/* The messages that tests need. text arguments are C strings; ids and wills come in pairs, ended by NULL. */
unsigned fake_session_put(struct fake_worker *w, const char *key, const char *principal, uint64_t expected,
    unsigned flags, const char *blob, uint64_t *version);
unsigned fake_session_del(struct fake_worker *w, const char *key, const char *principal);
unsigned fake_call_begin(struct fake_worker *w, const char *key, const char *principal, unsigned flags,
    const char *const *ids_and_wills, uint64_t *call, uint64_t *own_stream);
unsigned fake_open(struct fake_worker *w, const char *key, unsigned flags, uint64_t corr,
    const char *const *ids_and_wills, uint64_t *call, uint64_t *stream);
unsigned fake_attach(struct fake_worker *w, const char *key, const char *principal, const char *last_event_id,
    uint64_t *stream, uint64_t *cursor);
unsigned fake_append(struct fake_worker *w, uint64_t stream, const char *event);
unsigned fake_finish(struct fake_worker *w, uint64_t call, uint64_t stream, const char *event);
unsigned fake_cancel(struct fake_worker *w, const char *key, const char *principal, const char *id);
unsigned fake_close_conn(struct fake_worker *w, uint64_t stream, const char *last);
/* asks: ids and events in pairs, ended by NULL. */
unsigned fake_park(struct fake_worker *w, uint64_t call, uint64_t stream, uint32_t wait_ms, const char *too_late,
    const char *blob, const char *const *asks);
/* *a (may be NULL) is the answer. */
unsigned fake_give(struct fake_worker *w, const char *key, const char *principal, const char *ask_id,
    const char *answer, struct fake_answer *a);
/* stream, of a listen stream, or key and principal. topics end by NULL. */
unsigned fake_subscribe(struct fake_worker *w, uint64_t stream, const char *key, const char *principal, bool reset,
    const char *insert, const char *const *topics, uint64_t *count);
unsigned fake_unsubscribe(
    struct fake_worker *w, uint64_t stream, const char *key, const char *principal, const char *const *topics);
/* Returns how many it reached. */
uint64_t fake_notify(
    struct fake_worker *w, unsigned flags, const char *topic, const char *legacy, const char *head, const char *tail);
/* The same, to one session or owner only; empty: to any. */
unsigned fake_notify_to(struct fake_worker *w, const char *session, const char *owner, unsigned flags,
    const char *topic, const char *legacy, const char *head, const char *tail, uint64_t *reached);
unsigned fake_task_new(struct fake_worker *w, const char *id, const char *principal, uint64_t ttl_ms, unsigned flags,
    const char *blob, const char *job);
unsigned fake_task_put(struct fake_worker *w, const char *id, unsigned task_state, const char *blob, uint64_t *version);
struct fake_task {
	uint64_t version, created_ms, updated_ms, ttl_ms;
	unsigned state;
	char blob[64]; /* its first bytes */
};
unsigned fake_task_get(
    struct fake_worker *w, const char *id, const char *principal, uint64_t seen, struct fake_task *task);
/* ids, each followed by a comma, and "more" if there are further ones. */
unsigned fake_task_list(
    struct fake_worker *w, const char *principal, const char *after, uint16_t max, char *ids, size_t size);
unsigned fake_task_send(struct fake_worker *w, const char *id, const char *principal, unsigned what, const char *body);
unsigned fake_once(struct fake_worker *w, const char *mark, uint32_t keep_s);
/* As above, for owner: whose share of the limits is used. */
unsigned fake_session_put_for(struct fake_worker *w, const char *key, const char *principal, const char *owner);
unsigned fake_task_new_for(struct fake_worker *w, const char *id, const char *principal, const char *owner);
/* Passes fd, which stays the caller's. */
int fake_caller(struct fake_worker *w); /* our end of it */
void fake_adopt_fd(
    struct fake_worker *w, uint64_t stream, enum link_kind kind, uint64_t cursor, uint32_t heartbeat_ms, int fd);
/* Passes one end of a new socket pair; the other one is returned. */
int fake_adopt(struct fake_worker *w, uint64_t stream, enum link_kind kind, uint64_t cursor, uint32_t heartbeat_ms);

#define FAKE_HEAD     "Content-Type: text/event-stream\r\n\r\n"
#define FAKE_RETRY_MS 1234

/* A web server's end of a connection. */
struct fake_server {
	int fd;
	struct buf raw, text; /* bytes not parsed yet; all of FCGI_STDOUT */
	bool ended, closed;   /* END_REQUEST came; EOF came */
};
void fake_server_init(struct fake_server *s, int fd);
/* Reads until text holds what (NULL: until END_REQUEST and EOF). False: it did not come. */
bool fake_server_expect(struct fake_server *s, const char *what, int wait_ms);
void fake_server_release(struct fake_server *s);

#endif
