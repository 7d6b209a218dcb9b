#include "config.h"

#include "fcgi/level.h"
#include "common/banned.h"

static const char *const names[MCP_LEVEL__COUNT] = {
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"};

int level_find(struct slice name)
{
	for (int i = 0; i < MCP_LEVEL__COUNT; i++) {
		if (name.p && slice_is(name, names[i]))
			return i;
	}
	return -1;
}
