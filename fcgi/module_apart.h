/* fcgi/module_apart.h - one call of a module's handler, in a process of its own.
 *
 * For the runner: what works there lasts, and a module that crashes must not take the tasks of others along. The
 * process is mcp-runner again, started through mcp-launch for this one call; it gets the module as the runner has
 * loaded it. It is the handler's thread and nothing else: what the handler wants of its call goes to the runner, which
 * has the call. To the handler it is as if it ran in a worker. */
#ifndef MCP_FCGI_MODULE_APART_H
#define MCP_FCGI_MODULE_APART_H

#include "fcgi/module_run.h"

#define MODULE_APART_OPTION "module-call" /* with which a program that calls module_run_apart() is started for it */

/* As module_run(). 1 also when the process ended before it had answered. */
int module_run_apart(
    struct call *call, const struct module_input *input, struct module_answer *answer, struct err *err);

/* All of that process. Returns what it is to exit with. */
int module_serve_apart(void);

#endif
