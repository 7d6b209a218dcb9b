/* runner/publication.h - what a script has to say, as JSON, and who hears it.
 *
 *   {"resource": "shop://orders/7"}                       this resource was updated
 *   {"lists": ["tools", "prompts", "resources"]}          these lists changed
 *   {"log": {"level": "info", "logger": "cron", "data": ...}}
 *   {"progress": {"call": MCP_CALL, "progress": 3, "total": 10, "message": "..."}}
 *
 * one of them, and beside it whom it is for, or everybody: "session" (an id, or its beginning) or "principal". Progress
 * is for the client of its call. */
#ifndef MCP_RUNNER_PUBLICATION_H
#define MCP_RUNNER_PUBLICATION_H

#include "fcgi/worker.h"

struct publication_outcome {
	uint64_t reached; /* streams, those of several lists added up */
	const char
	    *why; /* a literal: nobody was told of this progress, though nothing is wrong with it; NULL otherwise */
};

/* Tells them. Errors are for whoever wrote text: ERR_PARSE, ERR_PARAMS and ERR_TOO_BIG name what is wrong with it;
 * ERR_NO_SESSION and ERR_DUPLICATE are about "session", ERR_NOT_FOUND about "call"; the others are ours. */
int publication_send(const struct worker *w, struct slice text, struct publication_outcome *outcome, struct err *err);

#endif
