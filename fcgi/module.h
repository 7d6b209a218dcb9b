/* fcgi/module.h - the modules of a configuration: shared objects that offer tools, resources and prompts.
 *
 * include/mcp-fcgi/module.h is what they are built with. Here they are found, looked at and loaded; how one of their
 * handlers runs is fcgi/module_run.h.
 *
 *   "modules": {"hello": {"file": "hello.so", "settings": ANY, "timeout_s": 10}}
 *
 * A file is looked at in a process of its own first: one that crashes or hangs while it is loaded takes that along, not
 * us. What is loaded then is a copy in memory, so that the file can be overwritten while it runs, and that a file that
 * has changed is another module, beside the one that still has calls. One whose code has run is never unloaded: it may
 * have left threads, or destructors of threads. */
#ifndef MCP_FCGI_MODULE_H
#define MCP_FCGI_MODULE_H

#include "include/mcp-fcgi/module.h"
#include "fcgi/definition.h"

struct module;

/* One tool, resource or prompt of a module. */
struct module_offer {
	struct module *module; /* borrowed: module_get() keeps it */
	int (*handler)(struct mcp_call *call);
};

/* Calls add for each offer of this kind of each module, with a definition as it could stand in the configuration: its
 * place is "/modules/NAME/KIND/OFFER", its member "module" is what module_offer_of() knows. Tools are to be asked for
 * first: then the modules are loaded, and those that can't be complained about. -1: ERR_NOMEM. */
int module_each(struct cfg *cfg, enum definition_kind kind,
    int (*add)(void *set, const struct definition *d, struct slice name, struct err *err), void *set, struct err *err);

/* The offer that a definition came from; NULL: a person wrote it. It lives as long as its module. */
const struct module_offer *module_offer_of(json_object *def);

struct module *module_get(struct module *m); /* one more user */
void module_put(struct module *m);           /* NULL is harmless */

/* In the process that serves, when it ends. False: a call still runs, and what it uses has to stay. */
bool module_stop_all(void);

#endif
