/* A description of an API: it becomes tools or says why not, the same each time; no tool names a secret that nobody
 * gave, and each has an input that is a schema. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/openapi.h"
#include "fcgi/schema.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

static void count(void *arg, const char *place, const char *text)
{
	if (!place || !*text)
		abort();
	++*(size_t *)arg;
}

static json_object *convert(struct slice text, size_t *said)
{
	const struct openapi_listener listener = {count, count, count, said};
	struct openapi_counts counts;
	struct err err;
	json_object *def = json_object_new_object(), *tools;

	if (jx_add_str(def, "server", "https://h", &err))
		abort();
	tools = openapi_convert(text, def, &listener, &counts, &err);
	if (!tools && *said == 0)
		abort();
	json_object_put(def);
	return tools;
}

/* No text in val, which is a part of a request, is to be filled in with a file. */
static void check_texts(json_object *val)
{
	const char *p = jx_str(val).p;

	for (; p && (p = strchr(p, '{')); p++) { /* "{{" is a plain one */
		if (p[1] == '{')
			p++;
		else if (strncmp(p, "{file:", 6) == 0 || strncmp(p, "{basic:", 7) == 0)
			abort();
	}
	if (json_object_is_type(val, json_type_object)) {
		json_object_object_foreach(val, name, child) {
			(void)name;
			check_texts(child);
		}
	}
}

static void check_tools(json_object *tools)
{
	json_object_object_foreach(tools, name, tool) {
		struct err err;
		struct schema *schema = schema_new(jx_get(tool, "input"), NULL, &err);

		if (!schema || strlen(name) > 64)
			abort();
		check_texts(jx_get(tool, "http"));
		schema_free(&schema);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	size_t said[2] = {0};
	json_object *tools, *again;

	if (size > 65536)
		return 0;
	tools = convert(text, &said[0]);
	again = convert(text, &said[1]);
	if (said[0] != said[1] || (tools == NULL) != (again == NULL) || (tools && !json_object_equal(tools, again)))
		abort();
	if (tools)
		check_tools(tools);
	json_object_put(tools);
	json_object_put(again);
	return 0;
}
