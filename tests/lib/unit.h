/* tests/lib/unit.h - cmocka with what it needs before it, and the few things that every unit test uses. */
#ifndef MCP_TESTS_UNIT_H
#define MCP_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/err.h"

#define TEXT(literal)                                                                                                  \
	{                                                                                                              \
		(literal), sizeof(literal) - 1                                                                         \
	} /* a slice in a table; may hold NULs */

#endif
