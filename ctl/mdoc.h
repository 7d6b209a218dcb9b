/* ctl/mdoc.h - text for the manual pages whose lists are made of our tables. */
#ifndef MCP_CTL_MDOC_H
#define MCP_CTL_MDOC_H

#include "common/buf.h"

/* Lines of text in mdoc: a backslash is an escape, and a line must not begin with a control character. */
void mdoc_add_text(struct buf *out, const char *text);

#endif
