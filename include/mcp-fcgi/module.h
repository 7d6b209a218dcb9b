/* <mcp-fcgi/module.h> - tools, resources and prompts of an MCP server from a shared object. C11, or C++11 and later.
 *
 * A module is a shared object that exports one symbol, mcp_fcgi_module: a table of what it offers. "modules" of mcp.json
 * names its file. Everything that it is told and says is UTF-8; what is structured is JSON text. It links against
 * nothing of ours: what it may call comes with each call. See mcp-fcgi-module(3), and doc/tools.md for a guide.
 *
 *	cc -shared -fPIC -fvisibility=hidden $(pkg-config --cflags mcp-fcgi-module) -o hello.so hello.c
 *
 * A handler runs in a thread of the worker that does nothing else meanwhile; several run at a time, of one tool too. As
 * a task it runs in a process of its own, which begins with start().
 * What it is lent is its own until it returns. It calls the host from its own thread only.
 *
 * What may change: a later version appends members to these structs, whose sizes both sides say. Anything else raises
 * MCP_MODULE_ABI, and a module of another ABI is refused. */
#ifndef MCP_MODULE_H
#define MCP_MODULE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MCP_MODULE_ABI 1

#if defined(__GNUC__)
#define MCP_MODULE_EXPORT	  __attribute__((visibility("default")))
#define MCP_MODULE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MCP_MODULE_EXPORT
#define MCP_MODULE_PRINTF(fmt, args)
#endif

/* What handlers return, and functions of the host. */
enum mcp_status {
	MCP_OK = 0,
	MCP_FAILED = -1,     /* a handler: the text that it has added says why */
	MCP_CANCELLED = -2,  /* nobody waits any more */
	MCP_NOT_FOUND = -3,  /* read: there is nothing at this URI */
	MCP_BAD_PARAMS = -4, /* read, get: these arguments can't be; the text says why */
	MCP_ANSWERED = 1     /* mcp_ask(): the answer is there */
};

struct mcp_call;

/* What the host does for a module. The functions below call it; what they do is said there. */
struct mcp_host {
	size_t size; /* of this struct, as the host knows it */
	const char *(*get)(struct mcp_call *call, const char *pointer, size_t *len);
	int (*get_int)(struct mcp_call *call, const char *pointer, int64_t *value);
	int (*get_double)(struct mcp_call *call, const char *pointer, double *value);
	int (*add_text)(struct mcp_call *call, const char *text, size_t len);
	int (*add_print)(struct mcp_call *call, const char *format, va_list args);
	int (*add_data)(struct mcp_call *call, const char *mime_type, const void *data, size_t len);
	int (*set_structured)(struct mcp_call *call, const char *json, size_t len);
	int (*set_result)(struct mcp_call *call, const char *json, size_t len);
	int (*progress)(struct mcp_call *call, double progress, double total, const char *message);
	int (*log)(struct mcp_call *call, const char *level, const char *text, size_t len);
	int (*notify)(struct mcp_call *call, const char *method, const char *params, size_t len);
	int (*ask)(struct mcp_call *call, const char *key, const char *method, const char *params, size_t len);
	int (*keep)(struct mcp_call *call, const char *json, size_t len);
	int (*wait)(struct mcp_call *call, int64_t timeout_ms);
	int (*cancel_fd)(struct mcp_call *call);
	int64_t (*time_left_ms)(struct mcp_call *call);
	const char *(*why)(struct mcp_call *call);
};

/* Whether the host knows a function that a later header has added. */
#define MCP_HOST_HAS(host, member) ((host)->size >= offsetof(struct mcp_host, member) + sizeof((host)->member))

/* One call of a handler. */
struct mcp_call {
	size_t size; /* of this struct, as the host knows it */
	const struct mcp_host *host;
	void *state;	  /* what start() made */
	const char *name; /* of the tool or prompt; the URI that is read */
};

/* All three lists end with an element whose name (or uri) is NULL. "members" is a JSON object of what a definition in
 * mcp.json may have beside (title, annotations, output_schema, timeout_s, task ...), or NULL. */
struct mcp_tool {
	const char *name;
	const char *description; /* or NULL */
	const char *input;	 /* JSON: the arguments, or a whole JSON Schema, as in mcp.json; NULL: none */
	int (*run)(struct mcp_call *call);
	const char *members;
};

struct mcp_resource {
	const char *uri;	 /* or a URI template: its variables are /arguments */
	const char *description; /* or NULL */
	const char *mime_type;	 /* or NULL */
	int (*read)(struct mcp_call *call);
	const char *members;
};

struct mcp_prompt {
	const char *name;
	const char *description; /* or NULL */
	const char *arguments;	 /* JSON, as in mcp.json; NULL: none */
	int (*get)(struct mcp_call *call);
	const char *members;
};

struct mcp_module {
	uint32_t abi, size, tool_size, resource_size, prompt_size; /* MCP_MODULE_HEAD */
	const struct mcp_tool *tools;				   /* NULL: none; so below */
	const struct mcp_resource *resources;
	const struct mcp_prompt *prompts;
	/* Called once in each process before the first call there, with the call's host and /settings; what it puts
	 * into *state is what calls have as theirs. Not MCP_OK: the call fails with the text that was added, and the
	 * next one tries again. NULL: not needed. */
	int (*start)(struct mcp_call *call, void **state);
	/* At the orderly end of a process, when no call runs. A process may also just die. NULL: not needed. */
	void (*stop)(void *state);
};

#define MCP_MODULE_HEAD                                                                                                \
	MCP_MODULE_ABI, sizeof(struct mcp_module), sizeof(struct mcp_tool), sizeof(struct mcp_resource),               \
	    sizeof(struct mcp_prompt)

/* The one symbol of a module: const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, resources, prompts, start,
 * stop}; */
extern MCP_MODULE_EXPORT const struct mcp_module mcp_fcgi_module;

/* What a call is about: the value at a JSON pointer in
 *	/arguments  of the tool or prompt, checked against their definition; variables of the resource's template
 *	/settings   of this module in mcp.json
 *	/answers    of the client, by key of mcp_ask()
 *	/kept       by mcp_keep() in the round before
 *	/client     {"principal": whose key it came with, "" without; "revision"; "can": what it can be asked, in words}
 * A string is its bytes, anything else its JSON text; both end with a NUL that *len (may be NULL) doesn't count. NULL:
 * nothing, or null, is there. */
static inline const char *mcp_get(struct mcp_call *call, const char *pointer, size_t *len)
{
	return call->host->get(call, pointer, len);
}

/* A number there, or otherwise if there is none (for mcp_get_int: none without a fraction). */
static inline int64_t mcp_get_int(struct mcp_call *call, const char *pointer, int64_t otherwise)
{
	int64_t value;

	return call->host->get_int(call, pointer, &value) == MCP_OK ? value : otherwise;
}

static inline double mcp_get_double(struct mcp_call *call, const char *pointer, double otherwise)
{
	double value;

	return call->host->get_double(call, pointer, &value) == MCP_OK ? value : otherwise;
}

/* The answer. What can't be added (too large, no JSON) makes the call fail however its handler returns: a handler need
 * not look at each.
 *
 * Text goes on where the last ended: of a tool it is a block of text, of a resource its text, of a prompt what the user
 * says. What is no UTF-8 becomes U+FFFD. */
static inline int mcp_text(struct mcp_call *call, const char *text, size_t len)
{
	return call->host->add_text(call, text, len);
}

static inline int mcp_print(struct mcp_call *call, const char *format, ...) MCP_MODULE_PRINTF(2, 3);
static inline int mcp_print(struct mcp_call *call, const char *format, ...)
{
	va_list args;
	int ret;

	va_start(args, format);
	ret = call->host->add_print(call, format, args);
	va_end(args);
	return ret;
}

/* Bytes: of a tool or prompt an image or audio (image/..., audio/...), of a resource its blob. */
static inline int mcp_data(struct mcp_call *call, const char *mime_type, const void *data, size_t len)
{
	return call->host->add_data(call, mime_type, data, len);
}

/* Of a tool: structuredContent, which is checked against output_schema, and the same as text unless there is some. */
static inline int mcp_structured(struct mcp_call *call, const char *json, size_t len)
{
	return call->host->set_structured(call, json, len);
}

/* The whole result, for what the others can't say: a CallToolResult, ReadResourceResult or GetPromptResult. */
static inline int mcp_result(struct mcp_call *call, const char *json, size_t len)
{
	return call->host->set_result(call, json, len);
}

/* While it works. All return MCP_OK, also when the client doesn't want to hear it; MCP_CANCELLED: it is time to return;
 * MCP_FAILED: mcp_why() says why. Progress has to grow; total 0: unknown; message may be NULL. level is one of debug,
 * info, notice, warning, error, critical, alert, emergency. */
static inline int mcp_progress(struct mcp_call *call, double progress, double total, const char *message)
{
	return call->host->progress(call, progress, total, message);
}

static inline int mcp_log(struct mcp_call *call, const char *level, const char *text, size_t len)
{
	return call->host->log(call, level, text, len);
}

/* Any notification that a tool may send, with params as JSON or NULL: notifications/resources/updated,
 * notifications/tools/list_changed ... */
static inline int mcp_notify(struct mcp_call *call, const char *method, const char *params, size_t len)
{
	return call->host->notify(call, method, params, len);
}

/* Asks the client: elicitation/create, sampling/createMessage or roots/list, with its params as JSON. MCP_ANSWERED: it
 * has been answered, /answers/KEY is the result, or {"error": ...}. MCP_OK: it goes out when the handler returns MCP_OK,
 * whose answer then doesn't count: it runs again from its beginning, perhaps in another process, once the client has
 * answered. MCP_FAILED: this client can't be asked that, or the question is malformed. */
static inline int mcp_ask(struct mcp_call *call, const char *key, const char *method, const char *params, size_t len)
{
	return call->host->ask(call, key, method, params, len);
}

/* What the next round finds as /kept: any JSON but null, at most 4096 bytes. The client carries it, sealed. */
static inline int mcp_keep(struct mcp_call *call, const char *json, size_t len)
{
	return call->host->keep(call, json, len);
}

/* Whether nobody waits any more: the client cancelled or left, or timeout_s is over. Who goes on has module_grace_ms. */
static inline int mcp_is_cancelled(struct mcp_call *call)
{
	return call->host->wait(call, 0) == MCP_CANCELLED;
}

/* Sleeps, but MCP_CANCELLED as soon as nobody waits any more. */
static inline int mcp_wait(struct mcp_call *call, int64_t timeout_ms)
{
	return call->host->wait(call, timeout_ms);
}

/* For a poll() of the module's own: readable when nobody waits any more; not to be read or closed. -1: none is left. */
static inline int mcp_cancel_fd(struct mcp_call *call)
{
	return call->host->cancel_fd(call);
}

static inline int64_t mcp_time_left_ms(struct mcp_call *call)
{
	return call->host->time_left_ms(call);
}

/* Why the last function that failed did. Never NULL. */
static inline const char *mcp_why(struct mcp_call *call)
{
	return call->host->why(call);
}

#ifdef __cplusplus
}
#endif

#endif
