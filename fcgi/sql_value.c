/* What databases send, as JSON. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "common/ascii.h"
#include "common/base64.h"
#include "common/jx.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define JSON_DEPTH_MAX 64

json_object *sql_value_bytes(struct slice bytes)
{
	json_object *val;
	struct buf text;

	buf_init(&text, SIZE_MAX / 2);
	base64_encode(&text, BASE64_PADDED, bytes);
	val = text.fault ? NULL : jx_new_str(buf_slice(&text));
	buf_release(&text);
	return val;
}

json_object *sql_value_integer(const char *text)
{
	return *text == '-' ? json_object_new_int64(strtoll(text, NULL, 10))
			    : json_object_new_uint64(strtoull(text, NULL, 10));
}

/* It keeps the digits that the database gave it. */
json_object *sql_value_number(const char *text, bool *is_null)
{
	double number = strtod(text, NULL);

	*is_null = !isfinite(number);                   /* JSON has no infinity */
	while (*text == '0' && ascii_is_digit(text[1])) /* nor ZEROFILL */
		text++;
	return *is_null ? NULL : json_object_new_double_s(number, text);
}

/* JSON that we don't read, as it is too deep or has a name twice, stays a string. */
json_object *sql_value_json(struct slice text, bool *is_null)
{
	struct err err;
	json_object *val;

	*is_null = slice_is(text, "null");
	if (*is_null)
		return NULL;
	val = jx_parse(text, JSON_DEPTH_MAX, &err);
	return val || err.code == ERR_NOMEM ? val : jx_new_str(text);
}
