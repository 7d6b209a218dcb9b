/* fcgi/toolset.h - all tools of a site, in the order of their names: those of "tools", then of exec_dirs,
 * "openapi" and "modules".
 *
 * A definition is an object with exactly one provider member, and common members:
 *   "builtin": "echo"                  or        "exec": ["/usr/bin/du", "-sh", "{path}"]
 *   "title", "description"   strings
 *   "input"    properties ({"path": {"type": "string"}}: each required unless it has a default or "optional": true),
 *              or a whole JSON Schema (an object with "type": "object")
 *   "output_schema"          a whole JSON Schema of structuredContent
 *   "annotations", "_meta"   objects, passed through;  "icons" array
 *   "timeout_s"              1 .. 86400
 *   "task"     "no" (else), "optional" or "required": whether a call of it may, or must, be made a task. Clients of
 *              revisions before 2025-11-25 don't know tasks: for them it is always called as any tool
 * A name is 1 to 128 of A-Z a-z 0-9 _ - . */
#ifndef MCP_FCGI_TOOLSET_H
#define MCP_FCGI_TOOLSET_H

#include "fcgi/provider.h"

struct toolset {
	struct tool *tools; /* owned, sorted by name (strcmp) */
	size_t count;
	json_object *made; /* owned: an array of the definitions that descriptions of APIs became; tools borrow of it */
	json_object *names; /* owned: an object with their names, to find one that comes twice; NULL once all are there */
	bool has_tasks; /* a call of one of them may become a task */
	char digest[17]; /* hex of a hash over the listings: part of a cursor, so that a cursor of another set is
			    refused */
};

/* Complains through cfg about every bad definition; -1 with ERR_CONFIG if there was one. */
int toolset_init(struct toolset *set, struct cfg *cfg, struct err *err);
void toolset_release(struct toolset *set);
const struct tool *toolset_find(const struct toolset *set, struct slice name); /* NULL: no such tool */

/* The member "NAME" or "NAME.json" of a directory of exec_dirs: a program with a manifest, the same members as above
 * less the provider's, which is the program itself; "args" (array, may hold {placeholders}) is optional. */

#endif
