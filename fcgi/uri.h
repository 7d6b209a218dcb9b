/* fcgi/uri.h - references resolved as RFC 3986, section 5.2, says. For identifiers of schemas: nothing is fetched. */
#ifndef MCP_FCGI_URI_H
#define MCP_FCGI_URI_H

#include "common/buf.h"

/* Appends to out what ref means where base is the base: strictly by section 5.2.2, and without the fragment. base may
 * be empty or relative; the result is then relative too. */
void uri_resolve(struct buf *out, struct slice base, struct slice ref);

#endif
