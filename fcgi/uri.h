/* fcgi/uri.h - URIs as RFC 3986 has them: what they are made of, and references resolved. Nothing is fetched. */
#ifndef MCP_FCGI_URI_H
#define MCP_FCGI_URI_H

#include "common/buf.h"

/* Whether it has a scheme, and holds nothing that no URI holds. */
bool uri_is_valid(struct slice text);

bool uri_is_unreserved(char c);          /* letters, digits and -._~ which are never encoded */
bool uri_is_reserved(char c);            /* the delimiters */
bool uri_is_in_path(char c);             /* those of them that a path may hold raw, the slash too */
int uri_encoded_byte(struct slice text); /* that a "%41" at the front of text stands for; -1: there is none */

/* Appends to out what ref means where base is the base: strictly by section 5.2.2, and without the fragment. base may
 * be empty or relative; the result is then relative too. */
void uri_resolve(struct buf *out, struct slice base, struct slice ref);

#endif
