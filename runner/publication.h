/* runner/publication.h - what a script has to say, as JSON, and who hears it.
 *
 *   {"resource": "shop://orders/7"}                       this resource was updated
 *   {"lists": ["tools", "prompts", "resources"]}          these lists changed
 *   {"log": {"level": "info", "logger": "cron", "data": ...}}
 *
 * one of them, and beside it whom it is for, or everybody: "session" (an id, or its beginning) or "principal". */
#ifndef MCP_RUNNER_PUBLICATION_H
#define MCP_RUNNER_PUBLICATION_H

#include "fcgi/worker.h"

/* Tells them. *reached: how many streams, those of several lists added up. Errors are for whoever wrote text: ERR_PARSE
 * and ERR_PARAMS name what is wrong with it; ERR_NO_SESSION, ERR_DUPLICATE are about "session"; the others are ours. */
int publication_send(const struct worker *w, struct slice text, uint64_t *reached, struct err *err);

#endif
