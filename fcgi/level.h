/* fcgi/level.h - the names of enum mcp_level (RFC 5424, MCP utilities/logging). */
#ifndef MCP_FCGI_LEVEL_H
#define MCP_FCGI_LEVEL_H

#include "fcgi/call.h"

int level_find(struct slice name); /* enum mcp_level, or -1 */

#endif
