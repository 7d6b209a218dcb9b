/* fcgi/provider.h - where tools, resources and prompts come from. One interface; a provider offers what it fills in.
 *
 * Tools, resources and prompts are made when the configuration is read and then only read, by any thread. In each
 * definition the member that is named like a provider chooses it. */
#ifndef MCP_FCGI_PROVIDER_H
#define MCP_FCGI_PROVIDER_H

#include "fcgi/argument.h"
#include "fcgi/call.h"
#include "fcgi/schema.h"

struct tool;
struct resource;
struct prompt;
struct filetree;     /* fcgi/filetree.h */
struct uri_template; /* fcgi/uri_template.h */

struct provider {
	const char *name; /* "exec": also the member of a definition that chooses this provider */
	bool is_unwritten; /* its definitions are made, nobody writes one */

	/* Tools. call NULL: it has none. */
	const char *const *members; /* NULL-terminated: what a definition may hold beside the common members */
	/* JSON text of common members for when the definition leaves them out (description, input); NULL: none. */
	const char *(*defaults)(json_object *def);
	/* Reads def (borrowed) into tool->priv. pointer is def's place in the configuration. Complains through
	 * cfg_complain and returns -1. */
	int (*tool_init)(struct tool *tool, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
	/* NULL: none. Adds common members (output_schema, annotations) for when the definition leaves them out, once
	 * the tool is known. */
	int (*tool_defaults)(const struct tool *tool, json_object *defaults, struct err *err);
	void (*tool_release)(struct tool *tool);
	/* Runs the tool. args is an object, already checked against the schema. 0: *result is a CallToolResult object
	 * (content, isError, structuredContent), owned by the caller. -1: ERR_CANCELLED, or what went wrong inside us;
	 * a tool's own failure is a result with isError. The call may be asking: then *result may stay NULL. */
	int (*call)(
	    struct call *call, const struct tool *tool, json_object *args, json_object **result, struct err *err);

	/* Resources. read NULL: it has none. vars is an object of strings, the values of the template's variables as
	 * they stand in the URI, decoded; empty when the resource is one URI. */
	const char *const *resource_members; /* as members */
	int (*resource_init)(
	    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
	void (*resource_release)(struct resource *resource);
	/* Appends what is at uri to contents, an array: objects with text or blob (base64). One that leaves uri or
	 * mimeType out has those of the request and of the resource. ERR_NOT_FOUND: there is nothing (not: an empty
	 * contents); ERR_PARAMS: the variables can't be, err says why; ERR_CANCELLED; else what went wrong. */
	int (*read)(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
	    json_object *contents, struct err *err);
	/* NULL: a template is only listed as such. Appends at most max Resource objects (uri, name, and what is known
	 * of mimeType, size, title, description, annotations) to items: those that this template stands for, in an
	 * order that depends on nothing but their URIs, from the first behind after on: the uri of an item that was
	 * given earlier and may be gone by now; p NULL: from the beginning. Fewer than max: there are no more. */
	int (*list)(struct call *call, const struct resource *resource, struct slice after, size_t max,
	    json_object *items, struct err *err);
	/* NULL: no suggestions. Appends strings to values that variable could be, given what has been typed so far
	 * (value) and the values of other variables (an object of strings; may be NULL). It may give too many: who asks
	 * chooses and sorts. At most COMPLETION_CANDIDATES_MAX are looked at. */
	int (*resource_complete)(struct call *call, const struct resource *resource, struct slice variable,
	    struct slice value, json_object *others, json_object *values, struct err *err);
	/* NULL, or returning NULL: nothing whose changes could be seen. Else the files that are the resources: all of a
	 * tree for a template, one file for one resource. Lives as long as resource. */
	const struct filetree *(*resource_watch)(const struct resource *resource);
	/* Appends the URI of the file at path (relative to that tree) to uri. ERR_NOT_FOUND: it is no resource. */
	int (*resource_uri)(const struct resource *resource, struct slice path, struct buf *uri, struct err *err);

	/* Prompts. get NULL: it has none. */
	const char *const *prompt_members; /* as members */
	int (*prompt_init)(
	    struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
	void (*prompt_release)(struct prompt *prompt);
	/* args is an object of strings: declared arguments alone, the required ones are there. 0: *result is a
	 * GetPromptResult object (messages), owned by the caller. ERR_PARAMS: these arguments can't be, err says why.
	 */
	int (*get)(
	    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err);
	/* As resource_complete, for an argument. */
	int (*prompt_complete)(struct call *call, const struct prompt *prompt, struct slice argument,
	    struct slice value, json_object *others, json_object *values, struct err *err);
};

#define COMPLETION_CANDIDATES_MAX 10000

/* An argument that 2026-07-28 clients mirror in a header: x-mcp-header in the input schema. */
struct tool_header {
	char *env;        /* "HTTP_MCP_PARAM_REGION": the annotation folded as web servers fold header names */
	char *annotation; /* "Region" */
	char **path;      /* member names from the arguments' root to the value */
	size_t path_count;
	enum { TOOL_HEADER_STRING, TOOL_HEADER_INTEGER, TOOL_HEADER_BOOLEAN } type;
};

/* Whether a call of a tool may become a task (2025-11-25: execution.taskSupport; 2026-07-28: the server decides). */
enum tool_task { TOOL_TASK_NO, TOOL_TASK_OPTIONAL, TOOL_TASK_REQUIRED, TOOL_TASK__COUNT };

#define TOOL_ASKS_DEPTH_MAX 64

struct tool {
	char *name;
	const struct provider *provider;
	struct schema *input;      /* never NULL */
	struct schema *output;     /* NULL: results are not structured */
	char *listing[REV__COUNT]; /* JSON text of its entry in tools/list, as clients of a revision may get it; made
				      once */
	struct tool_header *headers;
	size_t headers_count;
	enum tool_task task;
	bool is_polled;  /* takes long: clients that can are to come back for its answer */
	bool waits;      /* stays alive while a person answers its questions: runs in the runner */
	bool single_use; /* what a client of 2026-07-28 was asked may be answered once */
	char *asks; /* JSON text: what is asked before each run, key -> {method, params, optional}; NULL: nothing */
	int64_t timeout_s;
	void *priv; /* the provider's */
};

struct resource {
	char *uri;                     /* as it was written: of one resource, or a template, "docs:///{+path}" */
	struct uri_template *template; /* NULL: uri is one resource's */
	struct arguments variables;    /* those of the template of which more is known than the name */
	char *mime_type;               /* NULL: nobody said; resource_init may */
	int64_t size_bytes;            /* -1: nobody said; resource_init may */
	int64_t ttl_ms; /* how long clients of 2026-07-28 may keep what they read; 0 unless resource_init says */
	char *listing[REV__COUNT]; /* JSON text of its entry in resources/list or resources/templates/list, as clients
				    * of a revision may get it; made once */
	const struct provider *provider;
	int64_t timeout_s;
	void *priv; /* the provider's */
};

struct prompt {
	char *name;
	struct arguments arguments;
	char *listing[REV__COUNT]; /* JSON text of its entry in prompts/list; made once */
	const struct provider *provider;
	int64_t timeout_s;
	void *priv; /* the provider's */
};

extern const struct provider provider_base64, provider_builtin, provider_exec, provider_file, provider_http, provider_messages,
    provider_module, provider_sql, provider_text;

#endif
