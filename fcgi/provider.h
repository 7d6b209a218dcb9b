/* fcgi/provider.h - where tools come from. One interface; builtin and exec implement it.
 *
 * A tool is made when the configuration is read and then only read, by any thread. */
#ifndef MCP_FCGI_PROVIDER_H
#define MCP_FCGI_PROVIDER_H

#include "fcgi/call.h"
#include "fcgi/schema.h"

struct tool;

struct provider {
	const char *name;           /* "exec": also the member of a definition that chooses this provider */
	const char *const *members; /* NULL-terminated: what a definition may hold beside the common members */
	/* JSON text of common members for when the definition leaves them out (description, input); NULL: none. */
	const char *(*defaults)(json_object *def);
	/* Reads def (borrowed) into tool->priv. pointer is def's place in the configuration. Complains through
	 * cfg_complain and returns -1. */
	int (*tool_init)(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
	void (*tool_release)(struct tool *tool);
	/* Runs the tool. args is an object, already checked against the schema. 0: *result is a CallToolResult object
	 * (content, isError, structuredContent), owned by the caller. -1: ERR_CANCELLED, or what went wrong inside us;
	 * a tool's own failure is a result with isError. */
	int (*call)(
	    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);
};

/* An argument that 2026-07-28 clients mirror in a header: x-mcp-header in the input schema. */
struct tool_header {
	char *env;        /* "HTTP_MCP_PARAM_REGION": the annotation folded as web servers fold header names */
	char *annotation; /* "Region" */
	char **path;      /* member names from the arguments' root to the value */
	size_t path_count;
	enum { TOOL_HEADER_STRING, TOOL_HEADER_INTEGER, TOOL_HEADER_BOOLEAN } type;
};

struct tool {
	char *name;
	const struct provider *provider;
	struct schema *input;  /* never NULL */
	struct schema *output; /* NULL: results are not structured */
	char *listing[2];      /* JSON text of its entry in tools/list: [ERA_LEGACY], [ERA_MODERN]; made once */
	struct tool_header *headers;
	size_t headers_count;
	int64_t timeout_s;
	void *priv; /* the provider's */
};

extern const struct provider provider_builtin, provider_exec;

#endif
