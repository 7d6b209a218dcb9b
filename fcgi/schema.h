/* fcgi/schema.h - JSON Schema 2020-12, for the arguments and results of tools.
 *
 * A schema is compiled once, when the configuration is read, and then only read, by any thread. What 2020-12 does not
 * know is an annotation, and so are title, description, default, examples, format, deprecated, readOnly, writeOnly,
 * content*, $comment, $vocabulary. Nothing is fetched: another dialect, or a reference to what is not in the document
 * itself (the metaschema too), is refused rather than passed in silence.
 * Patterns are those of ECMA-262 with its flag u, by PCRE2: \d and \w are ASCII, \s is all white space, "." is a
 * character and not a byte. What PCRE2 has beyond that (atomic groups, recursion) works too.
 * Bounds: SCHEMA_DEPTH_MAX levels of a schema, SCHEMA_STEPS_MAX checks and SCHEMA_FRAMES_MAX levels per validation;
 * each place where a part of a pattern is tried is a check too. */
#ifndef MCP_FCGI_SCHEMA_H
#define MCP_FCGI_SCHEMA_H

#include <json-c/json.h>

#include "common/buf.h"

#define SCHEMA_DEPTH_MAX  64
#define SCHEMA_STEPS_MAX  1000000
#define SCHEMA_FRAMES_MAX 1024

struct schema; /* opaque */

/* doc is read, not kept. NULL: *err (ERR_CONFIG, ERR_NOMEM) says what is wrong, and where (may be NULL) gets the JSON
 * pointer of that place in doc appended. */
struct schema *schema_new(json_object *doc, struct buf *where, struct err *err);
void schema_free(struct schema **schemap);

/* 0: valid. -1 with ERR_PARAMS: why says, in words a model can act on, which instance paths are wrong and what was
 * expected, several problems if there are several ("/city: must be one of \"bern\", \"thun\"; /days: must be at most
 * 7"). why starts empty and has a ceiling of the caller's; problems that don't fit become "; ...". ERR_LIMIT: a bound.
 */
int schema_check(const struct schema *schema, json_object *instance, struct buf *why, struct err *err);

/* False when the schema's root names its members, allows no others, and this one is not among them. */
bool schema_allows_member(const struct schema *schema, struct slice name);
/* True when the schema's root itself says that this member has to be there. */
bool schema_requires_member(const struct schema *schema, struct slice name);

#endif
