/* A module that can't be loaded, in as many ways as BROKEN_... says. */
#include <signal.h>
#include <unistd.h>

#include <mcp-fcgi/module.h>

int nobody_has_this(void);

static int run(struct mcp_call *call)
{
#ifdef BROKEN_undefined
	return mcp_print(call, "%d", nobody_has_this());
#else
	return mcp_print(call, "no");
#endif
}

#ifdef BROKEN_crash
__attribute__((constructor)) static void crash(void)
{
	signal(SIGSEGV, SIG_DFL); /* a sanitizer would write a page about it */
	raise(SIGSEGV);
}
#endif
#ifdef BROKEN_exit
__attribute__((constructor)) static void leave(void)
{
	_exit(0);
}
#endif

static const struct mcp_tool tools[] = {
#ifdef BROKEN_function
    {"broken", NULL, NULL, NULL, NULL},
#endif
#ifdef BROKEN_schema
    {"no_json", NULL, "{\"a\": {\"type\": \"string\"}", run, NULL},
    {"no_schema", NULL, "{\"a\": {\"type\": \"strng\"}}", run, NULL},
    {"members", NULL, NULL, run, "[]"},
    {"member", NULL, NULL, run, "{\"titel\": \"T\"}"},
    {"bad name", NULL, NULL, run, NULL},
#endif
    {"broken", "Twice", NULL, run, NULL},
#ifdef BROKEN_twice
    {"broken", NULL, NULL, run, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_resource resources[] = {
    {"broken:one", NULL, NULL, run, NULL},
#ifdef BROKEN_twice_resource
    {"broken:one", NULL, NULL, run, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_prompt prompts[] = {
    {"broken", NULL, NULL, run, NULL},
#ifdef BROKEN_twice_prompt
    {"broken", NULL, NULL, run, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

#if defined(BROKEN_abi)
const struct mcp_module mcp_fcgi_module = {99, sizeof(struct mcp_module), sizeof(struct mcp_tool),
    sizeof(struct mcp_resource), sizeof(struct mcp_prompt), tools, resources, prompts, NULL, NULL};
#elif defined(BROKEN_size)
const struct mcp_module mcp_fcgi_module = {
    MCP_MODULE_ABI, sizeof(struct mcp_module), 8, 8, 8, tools, resources, prompts, NULL, NULL};
#elif defined(BROKEN_symbol)
MCP_MODULE_EXPORT const void *const another_symbol[] = {tools, resources, prompts};
#else
const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, resources, prompts, NULL, NULL};
#endif
