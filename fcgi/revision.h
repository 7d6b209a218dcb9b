/* fcgi/revision.h - the names of enum revision. */
#ifndef MCP_FCGI_REVISION_H
#define MCP_FCGI_REVISION_H

#include "fcgi/call.h"

#define REVISION_NEWEST_LEGACY REV_2025_11
/* JSON array of all we serve, newest first (V-09). */
#define REVISION_LIST_JSON "[\"2026-07-28\",\"2025-11-25\",\"2025-06-18\",\"2025-03-26\",\"2024-11-05\"]"

int revision_find(struct slice name);       /* enum revision, or -1 */
const char *revision_name(enum revision r); /* "2025-11-25" */

#endif
