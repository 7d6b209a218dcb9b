/* The smallest module: one tool that greets.  cc -shared -fPIC $(pkg-config --cflags mcp-fcgi-module) -o hello.so hello.c */
#include <mcp-fcgi/module.h>

static int hello(struct mcp_call *call)
{
	mcp_print(call, "Hello, %s!", mcp_get(call, "/arguments/name", NULL));
	return MCP_OK;
}

static const struct mcp_tool tools[] = {
	{"hello", "Greets somebody by name", "{\"name\": {\"type\": \"string\"}}", hello, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, NULL, NULL, NULL, NULL};
