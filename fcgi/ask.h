/* fcgi/ask.h - questions to a client: which there are, which this client can be asked, what counts as an answer. */
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

/* Whether val answers a question by this method; schema is the requestedSchema of a form, or NULL. -1: no memory to
 * find out. */
int ask_is_answer(struct slice method, json_object *schema, json_object *val, struct err *err);

/* Appends what the client of call can be asked, as words: "elicitation elicitation.url sampling sampling.tools
 * sampling.context roots". */
void ask_put_abilities(const struct call *call, struct buf *out);

#endif
