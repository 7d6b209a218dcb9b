/* tests/lib/fake_link.h - fcgi/link_client.h without a broker: sessions, calls and streams in memory, for the test to
 * look at. */
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
	FAKE__COUNT
};

#define FAKE_SESSIONS_MAX 16
#define FAKE_STREAMS_MAX  32

struct fake_session {
	char id[LINK_KEY_MAX + 1]; /* "" is a free place */
	char principal[65];
	uint64_t version, stream; /* stream: handle of its own */
	unsigned flags;
	struct buf blob;
};

struct fake_stream {
	char session[LINK_KEY_MAX + 1];
	bool is_modern, is_finished, is_adopted;
	uint64_t cursor;
	uint32_t heartbeat_ms;
	struct buf head, events; /* events: one a line */
	size_t events_count;
};

struct fake_call {
	struct link_call base;
	char session[LINK_KEY_MAX + 1];
	struct buf ids, wills, cancelled; /* one a line */
	uint64_t stream;                  /* where its wills go; 0: nowhere */
	bool is_finished;
	struct fake_call *next;
};

struct link {
	struct fake_session sessions[FAKE_SESSIONS_MAX];
	struct fake_stream streams[FAKE_STREAMS_MAX + 1]; /* by handle; 0 is none */
	uint64_t streams_count;
	struct fake_call *calls;         /* open ones */
	struct buf wills;                /* of the last call that left some; one a line */
	size_t event_max;                /* longer ones are ERR_TOO_BIG; 0: no limit */
	enum err_code fail[FAKE__COUNT]; /* each operation fails with that, while it is not ERR_NONE */
	unsigned asked[FAKE__COUNT];     /* how often */
};

struct fake_session *fake_link_session(struct link *l, struct slice id); /* NULL: no such session */
void fake_link_forget(
    struct link *l); /* all streams; faults and counts too. Sessions stay, with new streams of their own. */

#endif
