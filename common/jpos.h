/* common/jpos.h - where a JSON pointer stands in a text: for complaints about a configuration that json-c has read already, which
 * keeps no lines. The text may hold comments. Nothing here allocates. */
#ifndef MCP_COMMON_JPOS_H
#define MCP_COMMON_JPOS_H

#include "common/util.h"

#define JPOS_POINTER_MAX 512 /* bytes of a pointer with its NUL; what lies deeper is found at its parent */

/* Line, from 1, of the value (for a member: of its name) at pointer; 0: it is not there. "" is the whole text. */
unsigned jpos_line(struct slice text, const char *pointer);
/* Line of a byte offset. */
unsigned jpos_line_of_byte(struct slice text, size_t offset);
/* True if there is nothing but white space and comments. */
bool jpos_is_blank(struct slice text);
/* Members that all objects name, together: more than json-c has kept, if one is named twice. */
size_t jpos_count_members(struct slice text);
/* The first member that its object names a second time: its line and pointer; 0: there is none. Slow: walks an object once for each
 * of its members. */
unsigned jpos_find_duplicate(struct slice text, char pointer[JPOS_POINTER_MAX]);

#endif
