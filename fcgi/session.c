#include "config.h"

#include "common/jx.h"
#include "fcgi/revision.h"
#include "fcgi/session.h"
#include "common/banned.h"

#define BLOB_DEPTH_MAX 512

void session_put(const struct session *s, struct buf *out)
{
	if (!s->initialized) {
		buf_adds(out, "{}");
		return;
	}
	buf_addf(
	    out, "{\"revision\":\"%s\",\"logLevel\":%d,\"capabilities\":", revision_name(s->revision), s->log_level);
	if (s->capabilities)
		jx_write(out, s->capabilities);
	else
		buf_adds(out, "{}");
	buf_adds(out, "}");
}

int session_read(struct slice blob, struct session *out, struct err *err)
{
	json_object *root = jx_parse(blob, BLOB_DEPTH_MAX, err), *level;
	int revision, ret = 0;

	*out = (struct session){.revision = REV_2024_11, .log_level = MCP_LEVEL_INFO};
	if (!root)
		return err_wrap(err, "session blob");
	revision = revision_find(jx_get_str(root, "revision"));
	level = jx_get(root, "logLevel");
	if (revision >= 0 && json_object_is_type(level, json_type_int) && json_object_get_int(level) >= 0 &&
	    json_object_get_int(level) < MCP_LEVEL__COUNT) {
		out->initialized = true;
		out->revision = (enum revision)revision;
		out->log_level = json_object_get_int(level);
		out->capabilities = json_object_get(jx_get_object(root, "capabilities"));
	} else if (!json_object_is_type(root, json_type_object) || json_object_object_length(root) > 0) {
		ret = err_set(err, ERR_INTERNAL, "session blob: not one of ours, or of another version's");
	}
	json_object_put(root);
	return ret;
}

void session_release(struct session *s)
{
	json_object_put(s->capabilities);
	s->capabilities = NULL;
}
