/* [schema, instance]: a schema is taken or refused with an error; the verdict on the instance does not depend on how
 * much room there is for reasons, is given with a reason, and is the same for the instance written and read again. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/schema.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

static enum err_code check(const struct schema *schema, json_object *val, size_t why_max)
{
	struct err err = {0};
	struct buf why;
	int ret;

	buf_init(&why, why_max);
	ret = schema_check(schema, val, &why, &err);
	if ((ret == 0) != (err.code == ERR_NONE) || why.len > why_max || (why.fault && why_max > 100))
		abort();
	if (err.code == ERR_PARAMS && why_max > 100 && why.len == 0)
		abort();
	buf_release(&why);
	return err.code;
}

static void try(json_object *doc, json_object *val)
{
	struct err err = {0};
	struct buf where, text;
	struct schema *schema;
	json_object *again;
	enum err_code code;

	buf_init(&where, 1 << 20);
	schema = schema_new(doc, &where, &err);
	if ((schema == NULL) != (err.code != ERR_NONE))
		abort();
	if (schema) {
		code = check(schema, val, 2000);
		if (check(schema, val, 10) != code)
			abort();
		buf_init(&text, 1 << 20);
		buf_adds(&text, "[");
		jx_write(&text, val);
		buf_adds(&text, "]");
		again = jx_parse(buf_slice(&text), 64, &err);
		if (!again || check(schema, json_object_array_get_idx(again, 0), 2000) != code)
			abort();
		json_object_put(again);
		buf_release(&text);
	}
	schema_free(&schema);
	buf_release(&where);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_object *pair = size > 65536 ? NULL : jx_parse((struct slice){(const char *)data, size}, 48, NULL);

	if (json_object_is_type(pair, json_type_array) && json_object_array_length(pair) == 2)
		try(json_object_array_get_idx(pair, 0), json_object_array_get_idx(pair, 1));
	json_object_put(pair);
	return 0;
}
