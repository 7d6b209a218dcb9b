/* broker/session.h - a legacy client's session: who it is (principal), what its workers want to remember of it (blob:
 * opaque here, compare-and-set by version), its own stream, its calls, and when it ends. */
#ifndef MCP_BROKER_SESSION_H
#define MCP_BROKER_SESSION_H

#include "broker/broker.h"
#include "common/link.h"

struct call;
struct owner;
struct stream;

struct session {
	struct table_node node;
	struct broker *broker;      /* borrowed */
	struct slice id, principal; /* owned, one allocation at id.p */
	struct slice blob;          /* owned */
	struct owner *owner;        /* held: whose share it uses */
	uint64_t version;
	struct stream *own;     /* exists as long as the session */
	struct stream *streams; /* all of its streams, the own one too */
	struct call *calls;
	size_t streams_count;    /* without the own one */
	size_t open_ids;         /* requests of its calls */
	size_t open_asks;        /* our requests to the client that it has not answered */
	uint64_t active_ms;      /* loop_now() of the last request */
	uint64_t kept_active_ms; /* of it, what a later start finds: never much older */
	uint64_t begun_ms;       /* CLOCK_REALTIME */
	uint64_t ends_ms;        /* loop_now() when it is over, however busy; UINT64_MAX: never */
	uint32_t idle_s;
	uint8_t level; /* 1 + the least urgent level of log lines that it hears; 0: none */
	bool ends_with_conn, hears_lists, is_closed;
	struct wheel_timer timer; /* the next of: idle, mark, grace after the connection, end */
	struct loop_doom doom;
};

/* owner: the name of whose share it uses, or empty. LINK_NACK_*; 0: *session. */
unsigned session_new(struct broker *b, struct slice id, struct slice principal, struct slice owner, unsigned flags,
    uint32_t idle_s, struct slice blob, struct session **session);
/* flags: LINK_SESSION_HEARS_LISTS is added to what it is, and never lost; a LINK_LEVEL takes the place of the last. */
unsigned session_update(
    struct session *s, uint64_t version_expected, unsigned flags, uint32_t idle_s, struct slice blob);
/* As the store has it, older by the time that passed since; its streams come after it, then it is made whole. -1: no
 * memory. */
bool session_restore(struct broker *b, struct slice id, struct slice value);
void session_keep_all(struct broker *b); /* again, for a store that began a new file; so are the other x_keep_all() */
int session_restored(struct session *s);
/* For the program that takes our place (snapshot.h), and from the one before; made whole as above. */
void session_save(const struct session *s, struct buf *out);
int session_load(struct broker *b, struct slice in);
/* NULL: unknown, or of another principal (any principal if that is NULL). */
struct session *session_find(struct broker *b, struct slice id, const struct slice *principal);
/* The one whose id begins so. NULL: none (*nack: NO_SESSION), or several (DUPLICATE_ID). */
struct session *session_find_beginning(struct broker *b, struct slice beginning, unsigned *nack);
void session_touch(struct session *s); /* a request came: the idle time begins anew */
/* A connection of one of its streams came or left. */
void session_conn_changed(struct session *s);
/* Its calls are CANCELLED, its streams end. s is good until the end of the turn. */
void session_close(struct session *s, const char *why);

#endif
