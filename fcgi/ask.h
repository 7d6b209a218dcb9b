/* fcgi/ask.h - questions to a client: which there are, which this client can be asked, what counts as an answer.
 *
 * A round is one run of a handler. What lies between two of them - what was asked and answered so far, what the handler
 * keeps - is a JSON text: in the era of sessions the broker has it (ask_legacy.c), in the modern one the client
 * (ask_modern.c), and a task's runner may have it too. */
#ifndef MCP_FCGI_ASK_H
#define MCP_FCGI_ASK_H

#include "fcgi/call.h"

#define ASK_MAX       64 /* questions of one round */
#define ASK_KEY_WORDS "1 to 64 of A-Z a-z 0-9 _ . -"

bool ask_is_key(const char *key);
bool ask_is_method(struct slice method); /* a question, if it is well-formed */

/* Whether this is a question that could be asked at all: for definitions. ERR_PARAMS: err says why not. */
int ask_check(const char *method, json_object *params, struct err *err);

/* The question in the form that the client of call gets: params, which may be NULL, is read; the caller owns *out.
 * ERR_PARAMS: malformed. ERR_CAPABILITY: the client can't be asked that; *required (owned by the caller) is then what
 * it would have to declare, as ClientCapabilities. */
int ask_prepare(const struct call *call, const char *method, json_object *params, json_object **out,
    json_object **required, struct err *err);

/* Whether val answers this question. -1: no memory to find out. */
int ask_is_answer(const char *method, json_object *params, json_object *val, struct err *err);

/* Appends what the client of call can be asked, as words: "elicitation elicitation.url sampling sampling.tools
 * sampling.context roots". */
void ask_put_abilities(const struct call *call, struct buf *out);

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
