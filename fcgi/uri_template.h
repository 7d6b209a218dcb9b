/* fcgi/uri_template.h - URI templates (RFC 6570, levels 1 to 3): "docs:///{+path}", "db:///t{?from,to}".
 *
 * A template is used in both directions: to find the values of its variables in a URI, and to make a URI of values.
 * RFC 6570 defines only the second; what it leaves open is settled so that both agree. Values are texts: UTF-8 without
 * NUL, never percent-encoded beforehand.
 *   - {;x} {?x} {&x} name their variables: these may be absent, be empty, and come in any order. All others have to be
 *     there, and not empty.
 *   - A URI that can be read in several ways is read with each variable as long as it can be, from the left: "{a}.{b}"
 *     takes "x.tar.gz" as a=x.tar, b=gz. The URI that uri_template_expand() makes of the values found has them again.
 *   - In a URI a value may hold delimiters raw (":", "@", "+"; with {+x} and {#x} also "/", "?") that the template
 *     doesn't use itself behind its first variable.
 *   - {+x} and {#x} keep what may stand in a path and encode the rest: "?", "#", "[", "]" and every "%".
 * Refused with a reason: the levels above ({x:3}, {x*}), operators that the RFC reserves, a variable twice, two
 * variables with nothing between them, characters that no URI holds. */
#ifndef MCP_FCGI_URI_TEMPLATE_H
#define MCP_FCGI_URI_TEMPLATE_H

#include <json-c/json.h>

#include "common/buf.h"

#define URI_TEMPLATE_PARTS_MAX 63   /* texts and variables */
#define URI_TEMPLATE_URI_MAX   8192 /* bytes of a URI: a longer one never matches and is never made */

struct uri_template; /* read-only once made; any thread */

/* NULL: *err says what is wrong (ERR_PARAMS), or ERR_NOMEM. */
struct uri_template *uri_template_new(struct slice text, struct err *err);
void uri_template_free(struct uri_template **tplp);

/* The names of its variables, in their order; NULL behind the last. Borrowed from tpl. */
const char *uri_template_variable(const struct uri_template *tpl, size_t i);
bool uri_template_has_variable(const struct uri_template *tpl, struct slice name);

/* Adds each variable that the URI has to vars, as a string. Time and memory grow with the URI's length times the
 * template's parts, never more. ERR_NOT_FOUND: it is no URI of this template; else ERR_NOMEM. After a failure vars may
 * hold some of them. */
int uri_template_match(const struct uri_template *tpl, struct slice uri, json_object *vars, struct err *err);

/* Appends the URI. vars holds strings; further members don't matter. ERR_PARAMS: a variable is missing or empty, isn't
 * UTF-8 or holds a NUL; ERR_TOO_BIG: the URI is longer than URI_TEMPLATE_URI_MAX. After a failure out holds a part. */
int uri_template_expand(const struct uri_template *tpl, json_object *vars, struct buf *out, struct err *err);

#endif
