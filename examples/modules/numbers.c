/* A module with one of each: a tool that reports its progress and stops when nobody waits any more, a tool that asks its
 * user, a resource, a prompt, and settings. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mcp-fcgi/module.h>

/* Made once in each process, then only read: handlers run at the same time. */
struct numbers {
	int64_t most; /* the largest that anybody may ask for */
};

static int start(struct mcp_call *call, void **state)
{
	struct numbers *numbers = malloc(sizeof(*numbers));

	if (!numbers)
		return MCP_FAILED;
	numbers->most = mcp_get_int(call, "/settings/most", 1000000);
	*state = numbers;
	return MCP_OK;
}

static void stop(void *state)
{
	free(state);
}

/* A tool that takes its time. */
static int count_primes(struct mcp_call *call)
{
	const struct numbers *numbers = call->state;
	int64_t below = mcp_get_int(call, "/arguments/below", 0), count = 0;
	char *composite, json[64];

	if (below > numbers->most) {
		mcp_print(call, "I count up to %" PRId64 " only.", numbers->most);
		return MCP_FAILED;
	}
	composite = calloc((size_t)below + 2, 1);
	if (!composite)
		return MCP_FAILED;
	for (int64_t n = 2; n < below; n++) {
		if (n % 65536 == 0 && mcp_progress(call, (double)n, (double)below, NULL) == MCP_CANCELLED) {
			free(composite);
			return MCP_CANCELLED;
		}
		if (composite[n])
			continue;
		count++;
		for (int64_t k = 2 * n; k < below; k += n)
			composite[k] = 1;
	}
	free(composite);
	snprintf(json, sizeof(json), "{\"count\":%" PRId64 "}", count);
	return mcp_structured(call, json, strlen(json));
}

/* A tool that asks. It runs again from its beginning after each answer, perhaps in another process: what it has to
 * remember goes by mcp_keep(). */
static int guess_number(struct mcp_call *call)
{
	static const char form[] = "{\"message\": \"What is my number, from 1 to 100?%s\", \"requestedSchema\": "
				   "{\"type\": \"object\", \"properties\": {\"number\": {\"type\": \"integer\"}}, "
				   "\"required\": [\"number\"]}}";
	int64_t number = mcp_get_int(call, "/kept/number", 0), round = mcp_get_int(call, "/kept/round", 0), said;
	char key[32], pointer[64], text[sizeof(form) + 32];
	const char *action, *hint = "";

	if (round == 0) {
		number = 1 + time(NULL) % 100;
	} else {
		snprintf(pointer, sizeof(pointer), "/answers/guess%" PRId64 "/action", round);
		action = mcp_get(call, pointer, NULL);
		if (!action || strcmp(action, "accept") != 0) {
			mcp_print(call, "You gave up: it was %" PRId64 ".", number);
			return MCP_OK;
		}
		snprintf(pointer, sizeof(pointer), "/answers/guess%" PRId64 "/content/number", round);
		said = mcp_get_int(call, pointer, 0);
		if (said == number) {
			mcp_print(call, "%" PRId64 " it is, after %" PRId64 " guesses.", number, round);
			return MCP_OK;
		}
		hint = said < number ? " It is larger." : " It is smaller.";
	}
	round++;
	snprintf(key, sizeof(key), "guess%" PRId64, round);
	snprintf(text, sizeof(text), form, hint);
	if (mcp_ask(call, key, "elicitation/create", text, strlen(text)) < 0)
		return MCP_FAILED; /* without a word of ours, the client is told what it lacks */
	snprintf(text, sizeof(text), "{\"number\": %" PRId64 ", \"round\": %" PRId64 "}", number, round);
	return mcp_keep(call, text, strlen(text));
}

/* number:///{n} */
static int read_number(struct mcp_call *call)
{
	const char *text = mcp_get(call, "/arguments/n", NULL);
	int64_t n = text ? strtoll(text, NULL, 10) : 0;

	if (n < 1 || n > ((const struct numbers *)call->state)->most)
		return MCP_NOT_FOUND;
	mcp_print(call, "%" PRId64 " = 1", n);
	for (int64_t factor = 2; n > 1; factor++) {
		for (; n % factor == 0; n /= factor)
			mcp_print(call, " * %" PRId64, factor);
	}
	return MCP_OK;
}

static int explain_number(struct mcp_call *call)
{
	mcp_print(call, "What is special about the number %s?", mcp_get(call, "/arguments/n", NULL));
	return MCP_OK;
}

static const struct mcp_tool tools[] = {
	{"count_primes", "Counts the primes below a number", "{\"below\": {\"type\": \"integer\", \"minimum\": 0}}",
	    count_primes,
	    "{\"title\": \"Count primes\", \"annotations\": {\"readOnlyHint\": true}, \"task\": \"optional\","
	    " \"output_schema\": {\"type\": \"object\", \"properties\": {\"count\": {\"type\": \"integer\"}}}}"},
	{"guess_number", "Lets the user guess a number", NULL, guess_number, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_resource resources[] = {
	{"number:///{n}", "The prime factors of a number", "text/plain", read_number, "{\"name\": \"number\"}"},
	{NULL, NULL, NULL, NULL, NULL},
};

static const struct mcp_prompt prompts[] = {
	{"explain_number", "Asks what is special about a number", "{\"n\": {\"values\": [\"6\", \"28\", \"1729\"]}}",
	    explain_number, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

const struct mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, resources, prompts, start, stop};
