/* fcgi/escape.h - values put where a syntax of its own rules, so that they stay values and become nothing else. */
#ifndef MCP_FCGI_ESCAPE_H
#define MCP_FCGI_ESCAPE_H

#include "common/buf.h"

/* Into a segment of a URL's path, or a name or value of its query or of a form: %41 for all but A-Z a-z 0-9 - . _ ~ */
void escape_put_percent(struct buf *out, struct slice value);
/* Between or into the attributes of XML: & < > " ' as entities, what XML 1.0 can't hold as U+FFFD. */
void escape_put_xml(struct buf *out, struct slice value);
/* Between the quotes of a JSON string. */
void escape_put_json(struct buf *out, struct slice value);

/* Whether it may stand in a header: no control character. */
bool escape_fits_header(struct slice value);

#endif
