/* fcgi/yaml.h - YAML 1.2 as far as it is JSON: what people write descriptions of APIs in.
 *
 * Plain scalars mean what the core schema says (null, true, 12, 1.5; "yes" and a date are strings), keys are strings.
 * Aliases become copies, counted as such, so that nothing grows by them beyond nodes_max values. Refused, as what no
 * JSON can hold: a second document, a key twice, keys that are no scalars, merge keys (<<), tags of an application,
 * .inf and .nan. */
#ifndef MCP_FCGI_YAML_H
#define MCP_FCGI_YAML_H

#include <json-c/json.h>

#include "common/buf.h"

/* NULL: *err, ERR_PARSE with the line, or ERR_NOMEM. The caller owns the result. */
json_object *yaml_parse(struct slice text, size_t depth_max, size_t nodes_max, struct err *err);

#endif
