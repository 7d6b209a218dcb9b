/* fcgi/schema.h - JSON Schema 2020-12, for the arguments and results of tools.
 *
 * A schema is compiled once, when the configuration is read, and then only read, by any thread. Keywords we don't know
 * are annotations. Bounds: SCHEMA_DEPTH_MAX levels, SCHEMA_STEPS_MAX checks per validation. */
#ifndef MCP_FCGI_SCHEMA_H
#define MCP_FCGI_SCHEMA_H

#include <json-c/json.h>

#include "common/buf.h"

#define SCHEMA_DEPTH_MAX 64
#define SCHEMA_STEPS_MAX 1000000

struct schema; /* opaque */

/* doc is read, not kept. NULL: *err (ERR_CONFIG) names the JSON pointer inside the schema and what is wrong. */
struct schema *schema_new(json_object *doc, struct err *err);
void schema_free(struct schema **schemap);

/* 0: valid. -1 with ERR_PARAMS: why says, in words a model can act on, which instance paths are wrong and what was
 * expected, several problems if there are several ("/city: must be one of \"bern\", \"thun\"; /days: must be at most 7").
 * why is a buffer with a ceiling of the caller's; going past it cuts the text. Other codes: NOMEM, LIMIT. */
int schema_check(const struct schema *schema, json_object *instance, struct buf *why, struct err *err);

#endif
