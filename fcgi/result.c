#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/content.h"
#include "fcgi/result.h"
#include "fcgi/shape.h"
#include "common/banned.h"

json_object *result_new_text(struct slice text, bool is_error, struct err *err)
{
	json_object *result = json_object_new_object(), *content = json_object_new_array();
	json_object *block = json_object_new_object();
	int failed;

	/* Each step takes what it is given, also when it fails, and all must run: json-c says NULL for "no memory". */
	failed = jx_add_str(block, "type", "text", err);
	failed |= jx_add(block, "text", jx_new_str(text), err);
	failed |= jx_append(content, block, err);
	failed |= jx_add(result, "content", content, err);
	if (is_error)
		failed |= jx_add(result, "isError", json_object_new_boolean(true), err);
	if (!failed)
		return result;
	json_object_put(result);
	return NULL;
}

json_object *result_new_prompt(struct slice text, struct err *err)
{
	json_object *result = json_object_new_object(), *messages = json_object_new_array();
	json_object *message = json_object_new_object(), *block = json_object_new_object();
	int failed;

	failed = jx_add_str(block, "type", "text", err);
	failed |= jx_add(block, "text", jx_new_str(text), err);
	failed |= jx_add_str(message, "role", "user", err);
	failed |= jx_add(message, "content", block, err);
	failed |= jx_append(messages, message, err);
	failed |= jx_add(result, "messages", messages, err);
	if (!failed)
		return result;
	json_object_put(result);
	return NULL;
}

static int check_outside(json_object *val, struct err *err)
{
	if (!json_object_is_type(val, json_type_object))
		return err_set(err, ERR_INVALID, "a result must be an object");
	if (jx_has(val, "_meta") && !jx_get_object(val, "_meta"))
		return err_set(err, ERR_INVALID, "_meta must be an object");
	return 0;
}

int result_check_shape(json_object *val, struct err *err)
{
	json_object *content = jx_get_array(val, "content");
	char where[32];

	if (check_outside(val, err))
		return -1;
	if (!content)
		return err_set(err, ERR_INVALID, "content must be an array");
	if (jx_has(val, "isError") && !json_object_is_type(jx_get(val, "isError"), json_type_boolean))
		return err_set(err, ERR_INVALID, "isError must be true or false");
	for (size_t i = 0; i < json_object_array_length(content); i++) {
		snprintf(where, sizeof(where), "content[%zu]", i);
		if (content_check_block(json_object_array_get_idx(content, i), where, false, err))
			return -1;
	}
	return 0;
}

int result_check_messages(json_object *messages, bool is_draft, struct err *err)
{
	char where[48];

	if (!json_object_is_type(messages, json_type_array))
		return err_set(err, ERR_INVALID, "messages must be an array");
	for (size_t i = 0; i < json_object_array_length(messages); i++) {
		json_object *message = json_object_array_get_idx(messages, i);
		struct slice role = jx_get_str(message, "role");

		if (!role.p || !(slice_is(role, "user") || slice_is(role, "assistant")))
			return err_set(err, ERR_INVALID, "messages[%zu].role must be \"user\" or \"assistant\"", i);
		snprintf(where, sizeof(where), "messages[%zu].content", i);
		if (content_check_block(jx_get(message, "content"), where, is_draft, err))
			return -1;
	}
	return 0;
}

int result_check_prompt(json_object *val, struct err *err)
{
	if (check_outside(val, err))
		return -1;
	if (jx_has(val, "description") && !jx_get_str(val, "description").p)
		return err_set(err, ERR_INVALID, "description must be a string");
	return result_check_messages(jx_get(val, "messages"), false, err);
}

static void put_member(struct buf *out, const char *comma, const char *key, json_object *val)
{
	buf_adds(out, comma);
	jx_write_str(out, slice_str(key));
	buf_adds(out, ":");
	jx_write(out, val);
}

void result_put_members(
    struct buf *out, json_object *result, enum revision revision, const char *server_info, struct slice related_task)
{
	json_object *meta = jx_get_object(result, "_meta");
	bool is_modern = revision >= REV_2026_07;
	const char *comma = "";

	shape_put_members(out, SHAPE_RESULT, result, revision);
	if (!is_modern && !meta && related_task.len == 0)
		return;
	buf_adds(out, ",\"_meta\":{");
	if (is_modern) {
		buf_adds(out, "\"" RESULT_SERVER_INFO "\":");
		buf_adds(out, server_info);
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

int result_add_related(json_object *params, struct slice task, struct err *err)
{
	json_object *meta = jx_get_object(params, "_meta"), *related = json_object_new_object();
	int ret = jx_add(related, "taskId", json_object_new_string_len(task.p, (int)task.len), err);

	if (ret == 0 && !meta) {
		meta = json_object_new_object();
		ret = jx_add(params, "_meta", meta, err);
	}
	if (ret == 0)
		return jx_add(meta, RESULT_RELATED_TASK, related, err);
	json_object_put(related);
	return -1;
}
