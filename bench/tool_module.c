/* bench/tool_module - two tools of a module: one that answers, and one whose answer is an event stream, for it says how
 * far it is before. */
#include <mcp-fcgi/module.h>

static int answer(struct mcp_call *call)
{
	mcp_print(call, "%s", mcp_get(call, "/arguments/text", NULL));
	return MCP_OK;
}

static int answer_with_progress(struct mcp_call *call)
{
	mcp_progress(call, 1, 2, "half of it");
	return answer(call);
}

#define INPUT "{\"text\": {\"type\": \"string\"}}"

static const struct mcp_tool tools[] = {
    {"module", "Answers with the text that it is given", INPUT, answer, NULL},
    {"progress", "The same, and says how far it is", INPUT, answer_with_progress, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, NULL, NULL, NULL, NULL};
