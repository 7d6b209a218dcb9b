#include "config.h"

#include "fcgi/revision.h"
#include "common/banned.h"

static const char *const names[REV__COUNT] = {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"};

int revision_find(struct slice name)
{
	for (int i = 0; i < REV__COUNT; i++) {
		if (name.p && slice_is(name, names[i]))
			return i;
	}
	return -1;
}

const char *revision_name(enum revision r)
{
	return names[r];
}
