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
	buf_addf(out, "{\"revision\":\"%s\",\"logLevel\":%d,\"capabilities\":", revision_name(s->revision), s->log_level);
	if (s->capabilities)
		jx_write(out, s->capabilities);
	else
		buf_adds(out, "{}");
	buf_adds(out, "}");
}

int session_read(struct slice blob, struct session *out, struct err *err)
{
	json_object *root = jx_parse(blob, BLOB_DEPTH_MAX, err);
	int revision;

	*out = (struct session){.revision = REV_2024_11, .log_level = MCP_LEVEL_INFO};
	if (!root)
		return err_wrap(err, "session blob");
	revision = revision_find(jx_get_str(root, "revision"));
	if (revision >= 0) {
		out->initialized = true;
		out->revision = (enum revision)revision;
		out->log_level = json_object_get_int(jx_get(root, "logLevel"));
		out->capabilities = json_object_get(jx_get_object(root, "capabilities"));
	}
	json_object_put(root);
	return 0;
}

void session_release(struct session *s)
{
	json_object_put(s->capabilities);
	s->capabilities = NULL;
}
