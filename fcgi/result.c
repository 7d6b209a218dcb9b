#include "config.h"

#include <limits.h>

#include "common/jx.h"
#include "fcgi/result.h"
#include "common/banned.h"

json_object *result_new_text(struct slice text, bool is_error, struct err *err)
{
	json_object *result = json_object_new_object(), *content = json_object_new_array();
	json_object *block = json_object_new_object();
	json_object *words =
	    text.len > INT_MAX ? NULL : json_object_new_string_len(text.p ? text.p : "", (int)text.len);
	int failed;

	/* Each step takes what it is given, also when it fails, and all must run: json-c says NULL for "no memory". */
	failed = jx_add_str(block, "type", "text", err);
	failed |= jx_add(block, "text", words, err);
	failed |= jx_append(content, block, err);
	failed |= jx_add(result, "content", content, err);
	if (is_error)
		failed |= jx_add(result, "isError", json_object_new_boolean(true), err);
	if (!failed)
		return result;
	json_object_put(result);
	return NULL;
}

static int check_strings(json_object *obj, const char *const *names, size_t index, struct err *err)
{
	for (; *names; names++) {
		if (!jx_get_str(obj, *names).p)
			return err_set(err, ERR_INVALID, "content[%zu].%s must be a string", index, *names);
	}
	return 0;
}

static int check_block(json_object *block, size_t index, struct err *err)
{
	static const struct {
		const char *type, *strings[3];
	} kinds[] = {
	    {"text", {"text"}},
	    {"image", {"data", "mimeType"}},
	    {"audio", {"data", "mimeType"}},
	    {"resource_link", {"uri", "name"}},
	    {"resource", {NULL}},
	};
	struct slice type = jx_get_str(block, "type");
	json_object *resource = jx_get_object(block, "resource");
	size_t i;

	for (i = 0; i < COUNT_OF(kinds) && !slice_is(type, kinds[i].type); i++)
		;
	if (!type.p || i == COUNT_OF(kinds))
		return err_set(
		    err, ERR_INVALID, "content[%zu].type must be text, image, audio, resource_link or resource", index);
	if (slice_is(type, "resource") &&
	    (!jx_get_str(resource, "uri").p || (!jx_get_str(resource, "text").p && !jx_get_str(resource, "blob").p)))
		return err_set(err, ERR_INVALID, "content[%zu].resource must have a uri, and text or blob", index);
	return check_strings(block, kinds[i].strings, index, err);
}

int result_check_shape(json_object *val, struct err *err)
{
	json_object *content = jx_get_array(val, "content"), *block;

	if (!json_object_is_type(val, json_type_object))
		return err_set(err, ERR_INVALID, "a result must be an object");
	if (!content)
		return err_set(err, ERR_INVALID, "content must be an array");
	if (jx_has(val, "isError") && !json_object_is_type(jx_get(val, "isError"), json_type_boolean))
		return err_set(err, ERR_INVALID, "isError must be true or false");
	if (jx_has(val, "_meta") && !jx_get_object(val, "_meta"))
		return err_set(err, ERR_INVALID, "_meta must be an object");
	for (size_t i = 0; i < json_object_array_length(content); i++) {
		block = json_object_array_get_idx(content, i);
		if (!json_object_is_type(block, json_type_object))
			return err_set(err, ERR_INVALID, "content[%zu] must be an object", i);
		if (check_block(block, i, err))
			return -1;
	}
	return 0;
}

static void put_member(struct buf *out, const char *comma, const char *key, json_object *val)
{
	buf_adds(out, comma);
	jx_write_str(out, slice_str(key));
	buf_adds(out, ":");
	jx_write(out, val);
}

void result_put_members(
    struct buf *out, json_object *result, enum era era, const char *server_info, struct slice related_task)
{
	json_object *meta = jx_get_object(result, "_meta");
	const char *comma = "";

	json_object_object_foreach(result, key, value) {
		if (strcmp(key, "_meta") == 0 || (era == ERA_MODERN && strcmp(key, "resultType") == 0))
			continue;
		put_member(out, comma, key, value);
		comma = ",";
	}
	if (era == ERA_LEGACY && !meta && related_task.len == 0)
		return;
	buf_addf(out, "%s\"_meta\":{", comma);
	comma = "";
	if (era == ERA_MODERN) {
		buf_addf(out, "\"" RESULT_SERVER_INFO "\":%s", server_info);
		comma = ",";
	}
	if (related_task.len) {
		buf_addf(out, "%s\"" RESULT_RELATED_TASK "\":{\"taskId\":", comma);
		jx_write_str(out, related_task);
		buf_adds(out, "}");
		comma = ",";
	}
	if (meta) {
		json_object_object_foreach(meta, name, extra) {
			if (strcmp(name, RESULT_SERVER_INFO) == 0 || strcmp(name, RESULT_RELATED_TASK) == 0)
				continue;
			put_member(out, comma, name, extra);
			comma = ",";
		}
	}
	buf_adds(out, "}");
}
