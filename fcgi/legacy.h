/* fcgi/legacy.h - 2025-03-26 to 2025-11-25 over Streamable HTTP, and what HTTP+SSE (oldsse.c) shares with it.
 * Rows DT-50 .. DT-104 of differences.md. version is the MCP-Protocol-Version header or NULL. */
#ifndef MCP_FCGI_LEGACY_H
#define MCP_FCGI_LEGACY_H

#include "fcgi/ask_round.h"
#include "fcgi/exchange.h"
#include "fcgi/session.h"

/* rpc NULL: json is a batch. */
void legacy_post(struct exchange *x, json_object *json, struct rpc *rpc, const char *version);
void legacy_get(struct exchange *x, const char *version);
void legacy_delete(struct exchange *x, const char *version);

/* What a POST holds, read and counted, with room for its answers: once a request is accepted, nothing but writing the
 * answer itself can fail for lack of memory. */
struct legacy_batch {
	struct rpc *items; /* owned; count entries */
	size_t count, requests, notifications, responses;
	bool has_initialize;
	const char **ids;       /* owned; of the requests, in their order */
	struct buf *answers;    /* owned; one for each request */
	struct slice *messages; /* owned; room for those answers that there are */
};

/* Reads one message (rpc) or an array. ERR_INVALID: a batch that DT-68 refuses; ERR_NOMEM. batch is to be released in
 * any case. */
int legacy_batch_read(
    struct legacy_batch *batch, json_object *json, const struct rpc *rpc, size_t count_max, struct err *err);
void legacy_batch_release(struct legacy_batch *batch);

/* ERR_LEGACY when the version header names something unknown (DT-50). */
int legacy_check_version(const char *version, struct err *err);

/* Asks the broker for the session, registers the requests of the batch with their wills, reads what the session
 * remembers. On success x->lcall is set. */
int legacy_begin(
    struct exchange *x, const struct legacy_batch *batch, unsigned flags, struct session *session, struct err *err);

/* Answers what legacy_begin, link_attach and the like could not do, by DT-55, 60, 75, 77. id "" or that of the only
 * request. */
void legacy_refuse(struct exchange *x, const char *id, const struct err *err);

/* Cancellations of a batch of notifications; everything else in it is acceptable and has no effect. */
int legacy_take_notifications(struct exchange *x, const struct legacy_batch *batch, struct err *err);

/* Runs the requests one after the other and ends the exchange with their answers, or parks the one that asks its client.
 * round: what its client answered before; NULL: the first time. */
void legacy_run(
    struct exchange *x, struct legacy_batch *batch, struct session *session, const struct ask_round *round);

/* initialize: reads params into session; ERR_PARAMS. Then the answer to it. */
int legacy_read_initialize(const struct rpc *rpc, struct session *session, struct err *err);
void legacy_put_initialize_result(
    const struct worker *w, const struct rpc *rpc, const struct session *session, struct buf *out);

/* Changes the session in the broker to what session says. */
int legacy_store_session(struct exchange *x, const struct session *session, struct err *err);

#endif
