/* A module that can't be loaded, in as many ways as BROKEN_... says. */
#include <signal.h>
#include <string.h>
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
#ifdef BROKEN_pointer
__attribute__((constructor)) static void expect_crash(void)
{
	signal(SIGSEGV, SIG_DFL);
}
#endif
#if defined(BROKEN_large) /* which is not broken */
#define TEXT_BYTES (1 << 18)
#elif defined(BROKEN_larger)
#define TEXT_BYTES (1 << 20)
#elif defined(BROKEN_largest)
#define TEXT_BYTES (1 << 24)
#endif
#ifdef TEXT_BYTES
static char text[TEXT_BYTES + 1];
__attribute__((constructor)) static void fill(void)
{
	memset(text, 'd', sizeof(text) - 1);
	text[0] = '\xff';
}
#endif
#ifdef BROKEN_endless
static struct mcp_tool many[10002];
__attribute__((constructor)) static void fill(void)
{
	for (int i = 0; i < 10001; i++)
		many[i] = (struct mcp_tool){"broken", NULL, NULL, run, NULL};
}
#endif
#ifdef BROKEN_exit
__attribute__((constructor)) static void leave(void)
{
	_exit(0);
}
#endif

#ifndef BROKEN_endless
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
    {"", NULL, NULL, run, NULL},
    {"\xff", NULL, NULL, run, NULL},
#endif
#ifdef BROKEN_pointer
    {"pointer", (const char *)16, NULL, run, NULL},
#endif
#ifdef TEXT_BYTES
    {"large", text, NULL, run, NULL},
#endif
    {"broken", "Twice", NULL, run, NULL},
#ifdef BROKEN_twice
    {"broken", NULL, NULL, run, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};
#endif

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
#elif defined(BROKEN_endless)
const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, many, resources, prompts, NULL, NULL};
#elif defined(BROKEN_symbol)
MCP_MODULE_EXPORT const void *const another_symbol[] = {tools, resources, prompts};
#else
const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, resources, prompts, NULL, NULL};
#endif
