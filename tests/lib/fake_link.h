/* tests/lib/fake_link.h - fcgi/link_client.h without a broker: sessions, calls, streams and tasks in memory, for the
 * test to look at. What the broker would do does happen (an answer gives a parked call back, a notification reaches
 * streams), but no time passes: nothing expires. */
#ifndef MCP_TESTS_FAKE_LINK_H
#define MCP_TESTS_FAKE_LINK_H

#include "fcgi/link_client.h"

enum fake_op {
	FAKE_SESSION_PUT,
	FAKE_SESSION_DEL,
	FAKE_CALL_BEGIN,
	FAKE_CANCEL,
	FAKE_OPEN_STREAM,
	FAKE_ATTACH,
	FAKE_ADOPT,
	FAKE_APPEND,
	FAKE_FINISH,
	FAKE_PARK,
	FAKE_ANSWER,
	FAKE_CLOSE_CONN,
	FAKE_SUBSCRIBE,
	FAKE_UNSUBSCRIBE,
	FAKE_NOTIFY,
	FAKE_ONCE,
	FAKE_TASK_NEW,
	FAKE_TASK_GET,
	FAKE_TASK_LIST,
	FAKE_TASK_SEND,
	FAKE_TASK_PUT,
	FAKE_JOIN,
	FAKE_RUNNER_ENSURE,
	FAKE_CHECK,
	FAKE__COUNT
};

#define FAKE_SESSIONS_MAX 16
#define FAKE_STREAMS_MAX  32
#define FAKE_ASKS_MAX     8
#define FAKE_TASKS_MAX    16

struct fake_session {
	char id[LINK_KEY_MAX + 1]; /* "" is a free place */
	char principal[65];
	uint64_t version, stream; /* stream: handle of its own */
	unsigned flags;
	struct buf blob;
	struct buf topics; /* one a line */
};

struct fake_stream {
	char session[LINK_KEY_MAX + 1];
	bool is_modern, is_listen, is_finished, is_adopted;
	uint64_t cursor;
	uint32_t heartbeat_ms, retry_ms;
	struct buf head, events; /* events: one a line */
	size_t events_count;
	struct buf topics; /* one a line */
	struct buf insert;
	struct buf closings; /* what link_close_conn() wrote */
	unsigned closings_count;
};

struct fake_call {
	struct link_call base;
	char session[LINK_KEY_MAX + 1];
	struct buf ids, wills, cancelled; /* one a line */
	uint64_t stream;                  /* where its wills go; 0: nowhere */
	bool is_finished;
	unsigned flags;
	struct fake_call *next;
	/* Of a parked one: */
	uint32_t wait_ms;
	struct buf too_late, blob;
	struct fake_ask {
		struct buf id, answer;
		bool is_answered;
	} asks[FAKE_ASKS_MAX];
	size_t asks_count;
};

struct fake_task {
	char id[LINK_KEY_MAX + 1]; /* "" is a free place */
	char principal[65];
	uint64_t version, ttl_ms, created_ms, updated_ms;
	enum link_task_state state;
	unsigned flags;
	struct buf blob, job;
	struct buf inputs; /* of link_task_send(): number of what, space, body; one a line */
	int watch_fd;      /* of link_task_get(); -1: nobody watches */
};

struct link {
	struct fake_session sessions[FAKE_SESSIONS_MAX];
	struct fake_stream streams[FAKE_STREAMS_MAX + 1]; /* by handle; 0 is none */
	uint64_t streams_count;
	struct fake_call *calls; /* open ones */
	struct fake_call *parked;
	struct fake_task tasks[FAKE_TASKS_MAX];
	char owner[LINK_KEY_MAX + 1];     /* whose share the last session, modern stream or task is of */
	struct buf marks;                 /* of link_once(), one a line */
	const struct link_runner *runner; /* who joined; NULL: nobody, and tasks are kept all the same */
	struct buf wills;                 /* of the last call that left some; one a line */
	size_t event_max;                 /* longer ones are ERR_TOO_BIG; 0: no limit */
	enum err_code fail[FAKE__COUNT];  /* each operation fails with that, while it is not ERR_NONE */
	unsigned asked[FAKE__COUNT];      /* how often */
	unsigned conflicts_count;         /* so many times somebody else changes a session before we do */
	const char *counted;              /* by link_count(): the last one, and how many */
	enum link_outcome counted_outcome;
	unsigned counted_count;
};

struct fake_session *fake_link_session(struct link *l, struct slice id); /* NULL: no such session */
/* All streams, parked calls, tasks and marks; faults and counts too. Sessions stay, with new streams of their own. */
void fake_link_forget(struct link *l);
struct fake_task *fake_link_task(struct link *l, struct slice id); /* NULL: no such task */

/* For fake_link*.c only. Counts; -1 when the operation is to fail. */
int fake_link_asked(struct link *l, enum fake_op op, struct err *err);
void fake_link_owned(struct link *l, struct slice owner);
bool fake_link_has_line(const struct buf *lines, struct slice line);
int fake_link_add_line(struct buf *lines, struct slice line, struct err *err); /* all of it, or ERR_NOMEM */
int fake_link_copy(struct buf *to, struct slice from, struct err *err);        /* to holds from alone, or what it had */
void fake_link_forget_tasks(struct link *l);

#endif
