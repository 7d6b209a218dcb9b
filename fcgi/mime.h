/* fcgi/mime.h - media types of files, by the ends of their names and by whether they are text.
 *
 * The list is short and built in, so that a site says the same on every machine; doc/decisions.md has the reasons. */
#ifndef MCP_FCGI_MIME_H
#define MCP_FCGI_MIME_H

#include "common/buf.h"

/* What stands behind the last dot of a name, if that is neither its first nor its last character; else "". */
const char *mime_extension(const char *name);

/* The type that files with this extension have, in any case of letters; NULL: not in the list. */
const char *mime_of_extension(const char *extension);

/* For what is in no list: text/plain or application/octet-stream. */
const char *mime_of_text(bool is_text);

/* Whether bytes can be given as text: UTF-8 without NUL. If is_front, then a character may be cut off at the end. */
bool mime_is_text(struct slice bytes, bool is_front);

/* Pictures, sounds, films and fonts are no texts, even if their bytes happen to be some; but "image/svg+xml" is one. */
bool mime_is_binary(struct slice type);

#endif
