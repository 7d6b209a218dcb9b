/* A configuration's text: each member that json-c reads has a line, and a name that came twice is found. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include <json-c/json.h>

#include "common/jpos.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

#define DEPTH_MAX 60 /* jpos.c looks at 64 levels */

static bool is_plain(const char *name)
{
	return name[strcspn(name, "~/")] == '\0';
}

/* Every member below val, as far as its pointer is short and plain. */
static size_t check_members(struct slice text, json_object *val, const char *pointer)
{
	size_t count = 0;

	if (!json_object_is_type(val, json_type_object))
		return 0;
	json_object_object_foreach(val, name, member) {
		char at[JPOS_POINTER_MAX];

		count++;
		if (!is_plain(name) || strlen(pointer) + strlen(name) + 2 > sizeof(at) / 4)
			continue;
		snprintf(at, sizeof(at), "%s/%s", pointer, name);
		if (jpos_line(text, at) == 0)
			abort();
		check_members(text, member, at);
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	char pointer[JPOS_POINTER_MAX];
	json_tokener *tok;
	json_object *root;
	unsigned line;

	if (size == 0 || size > 4096)
		return 0;
	line = jpos_find_duplicate(text, pointer);
	if (line > jpos_line_of_byte(text, size) || (line && jpos_count_members(text) < 2))
		abort();
	jpos_is_blank(text);
	jpos_line(text, "/a/0/b");
	/* Escapes and NULs are json-c's to read; jpos compares names as they are written. */
	if (memchr(data, '\\', size) || memchr(data, '\0', size))
		return 0;
	tok = json_tokener_new_ex(DEPTH_MAX);
	if (!tok)
		return 0;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, text.p, (int)text.len);
	if (root && json_tokener_get_error(tok) == json_tokener_success)
		check_members(text, root, "");
	json_object_put(root);
	json_tokener_free(tok);
	return 0;
}
