/* fcgi/ask_round.h - what lies between two runs of a handler that asks its client.
 *
 * A round is one run. What was asked and answered so far, and what the handler keeps, is a JSON text then: in the era
 * of sessions the broker has it (ask_legacy.c), in the modern one the client (ask_modern.c), and a task's runner may
 * have it too. */
#ifndef MCP_FCGI_ASK_ROUND_H
#define MCP_FCGI_ASK_ROUND_H

#include "fcgi/call.h"

/* Between two rounds. Zeroed, it is what lies before the first. */
struct ask_round {
	int number;           /* rounds that have been */
	json_object *answers; /* owned; key -> result, or {"error": ...} of a legacy client; NULL: none */
	json_object *kept;    /* owned; NULL: nothing */
	json_object *pending; /* owned; key -> what its answer has to be */
	double progress;      /* the last one that was reported, if has_progress */
	bool has_progress;
};

/* Lends call what came so far. call_release() doesn't end that: round has to live as long as call. With a session it is
 * still the same request, whose progress has to grow. */
void ask_round_lend(const struct ask_round *round, struct call *call);
/* Appends the JSON text of the round to come, after a run of call that asked. ERR_LIMIT: ask_rounds_max. */
int ask_round_put(const struct call *call, struct buf *out, struct err *err);
/* What ask_round_put() wrote. round is to be released in any case. */
int ask_round_read(json_object *val, struct ask_round *round, struct err *err);
/* Takes val (borrowed) for an answer to the question key, if it is one: it will be asked again otherwise. An unknown
 * key is ignored. */
int ask_round_answer(struct ask_round *round, const char *key, json_object *val, struct err *err);
/* A JSON-RPC error (borrowed) is an answer too: the handler finds {"error": error}. */
int ask_round_fail(struct ask_round *round, const char *key, json_object *error, struct err *err);
void ask_round_release(struct ask_round *round);

#endif
