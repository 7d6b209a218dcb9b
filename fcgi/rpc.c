#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/rpc.h"
#include "common/banned.h"

int rpc_id_text(json_object *id, char out[RPC_ID_MAX + 1], struct err *err)
{
	struct buf text;
	int ret;

	if (!json_object_is_type(id, json_type_string) && !json_object_is_type(id, json_type_int))
		return err_set(err, ERR_INVALID, "id must be a string or an integer");
	buf_init(&text, RPC_ID_MAX);
	jx_write(&text, id);
	ret = buf_check(&text, err);
	if (ret == 0)
		memcpy(out, text.data, text.len + 1);
	else if (text.fault == ERR_TOO_BIG)
		err_set(err, ERR_INVALID, "id is longer than %d bytes", RPC_ID_MAX);
	buf_release(&text);
	return ret;
}

enum member { JSONRPC, ID, METHOD, PARAMS, RESULT, ERROR, MEMBERS_COUNT };

static const char *const names[MEMBERS_COUNT] = {"jsonrpc", "id", "method", "params", "result", "error"};

static int read_response(const struct jx_member *m, struct err *err)
{
	if (!m[RESULT].is_there && !m[ERROR].is_there)
		return err_set(err, ERR_INVALID, "neither method nor result nor error");
	if (m[RESULT].is_there && !json_object_is_type(m[RESULT].val, json_type_object))
		return err_set(err, ERR_INVALID, "result must be an object");
	if (m[ERROR].is_there &&
	    (!jx_is_integer(jx_get(m[ERROR].val, "code")) || !jx_get_str(m[ERROR].val, "message").p))
		return err_set(err, ERR_INVALID, "error must have an integer code and a message");
	if (m[RESULT].is_there && !m[ID].is_there)
		return err_set(err, ERR_INVALID, "a result without id");
	return 0;
}

int rpc_read(json_object *msg, struct rpc *out, struct err *err)
{
	struct jx_member m[MEMBERS_COUNT];

	out->kind = RPC_REQUEST;
	out->message = msg;
	out->method = SLICE("");
	out->params = out->meta = NULL;
	out->id[0] = '\0';
	if (!json_object_is_type(msg, json_type_object))
		return err_set(err, ERR_INVALID, "a message is an object");
	jx_find_members(msg, names, MEMBERS_COUNT, m);
	if (m[ID].is_there && rpc_id_text(m[ID].val, out->id, err))
		return -1;
	if (!slice_is(jx_str(m[JSONRPC].val), "2.0"))
		return err_set(err, ERR_INVALID, "jsonrpc must be \"2.0\"");
	if (m[RESULT].is_there && m[ERROR].is_there)
		return err_set(err, ERR_INVALID, "both result and error");
	if (m[METHOD].is_there && (m[RESULT].is_there || m[ERROR].is_there))
		return err_set(err, ERR_INVALID, "both a method and an answer");
	if (!m[METHOD].is_there) {
		if (read_response(m, err))
			return -1;
		out->kind = RPC_RESPONSE;
		return 0;
	}
	out->method = jx_str(m[METHOD].val);
	if (!out->method.p) {
		out->method = SLICE("");
		return err_set(err, ERR_INVALID, "method must be a string");
	}
	if (m[PARAMS].is_there && !json_object_is_type(m[PARAMS].val, json_type_object))
		return err_set(err, ERR_INVALID, "params must be an object");
	out->kind = m[ID].is_there ? RPC_REQUEST : RPC_NOTIFICATION;
	out->params = m[PARAMS].val;
	out->meta = jx_get_object(m[PARAMS].val, "_meta");
	return 0;
}

static bool is_peers_mistake(enum err_code code)
{
	return code >= ERR_PARSE && code < ERR_CONFIG;
}

static void put_head(struct buf *out, const char *id)
{
	buf_adds(out, "{\"jsonrpc\":\"2.0\",");
	if (id[0]) {
		buf_adds(out, "\"id\":");
		buf_adds(out, id);
		buf_adds(out, ",");
	}
}

void rpc_error_text(const struct err *err, char text[RPC_ERROR_TEXT_SIZE])
{
	bool is_told = is_peers_mistake(err->code);

	snprintf(text, RPC_ERROR_TEXT_SIZE, "%s%s%s", err_text(err->code), is_told && err->msg[0] ? ": " : "",
	    is_told ? err->msg : "");
}

void rpc_put_error_object(struct buf *out, const struct err *err, const char *data)
{
	char message[RPC_ERROR_TEXT_SIZE];

	rpc_error_text(err, message);
	buf_addf(out, "{\"code\":%d,\"message\":", err_rpc(err->code));
	jx_write_str(out, slice_str(message));
	if (data) {
		buf_adds(out, ",\"data\":");
		buf_adds(out, data);
	}
	buf_adds(out, "}");
}

void rpc_put_error(struct buf *out, const char *id, const struct err *err, const char *data)
{
	put_head(out, id);
	buf_adds(out, "\"error\":");
	rpc_put_error_object(out, err, data);
	buf_adds(out, "}");
}

void rpc_put_result_head(struct buf *out, const char *id)
{
	put_head(out, id);
	buf_adds(out, "\"result\":{");
}
