/* Two lines: a header's value, and JSON arguments of a tool whose "region" is mirrored in it. The call goes through if
 * and only if the value, decoded, is the argument; without an argument the header means nothing. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/header.h"
#include "tests/fuzz/target.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define TEXT_MAX 4096

static struct site site;

static void clean_up(void)
{
	site_release(&site);
}

/* What has to come of it. */
static bool is_equal(const char *value, json_object *region)
{
	struct err err = {0};
	struct buf decoded;
	bool yes;

	if (!json_object_is_type(region, json_type_string)) /* then it's the schema's business, or nobody's */
		return true;
	if (!value[0])
		return json_object_get_string_len(region) == 0; /* web servers don't pass empty headers (H-25) */
	buf_init(&decoded, 2 * TEXT_MAX);
	yes = header_decode(value, &decoded, &err) == 0 && slice_eq(buf_slice(&decoded), jx_str(region));
	buf_release(&decoded);
	return yes;
}

static void try(char *value, json_object *args)
{
	struct buf headers, body;
	struct site_answer a;

	buf_init(&headers, 4 * TEXT_MAX);
	buf_init(&body, 16 * TEXT_MAX);
	buf_adds(&headers, POSTED VERSION26 "Mcp-Method: tools/call\nMcp-Name: region\n");
	if (value[0])
		buf_addf(&headers, "Mcp-Param-Region: %s\n", value);
	buf_adds(&body, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"region\"," META
			",\"arguments\":");
	jx_write(&body, args);
	buf_adds(&body, "}}");
	if (headers.fault || body.fault)
		abort();
	site_ask(&site, POST_MCP, headers.data, body.data, &a);
	if (a.status != (is_equal(value, jx_get(args, "region")) ? 200 : 400))
		abort();
	site_answer_release(&a);
	buf_release(&headers);
	buf_release(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	size_t len = end ? (size_t)(end - data) : 0, blank = 0;
	char value[TEXT_MAX];
	json_object *args;

	if (!end || size > TEXT_MAX)
		return 0;
	memcpy(value, data, len);
	value[len] = '\0';
	len = strlen(value);
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t')) /* web servers trim */
		value[--len] = '\0';
	blank = strspn(value, " \t");
	args = jx_parse((struct slice){(const char *)end + 1, size - (size_t)(end + 1 - data)}, 8, NULL);
	if (!site.w.link) {
		site_init(&site);
		atexit(clean_up);
	}
	if (json_object_is_type(args, json_type_object) && !jx_has(args, "count") && !jx_has(args, "flag") &&
	    !jx_has(args, "a"))
		try(value + blank, args);
	json_object_put(args);
	return 0;
}
