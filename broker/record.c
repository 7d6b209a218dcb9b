#include "config.h"

#include "broker/record.h"
#include "common/banned.h"

#define HEADER_LEN 8

enum { FCGI_VERSION = 1, FCGI_TYPE_END_REQUEST = 3, FCGI_TYPE_STDOUT = 6 };

static void put_header(struct buf *out, int type, uint16_t request_id, size_t len, size_t padding)
{
	unsigned char h[HEADER_LEN] = {
	    FCGI_VERSION,
	    (unsigned char)type,
	    (unsigned char)(request_id >> 8),
	    (unsigned char)request_id,
	    (unsigned char)(len >> 8),
	    (unsigned char)len,
	    (unsigned char)padding,
	    0,
	};

	buf_add(out, h, sizeof(h));
}

void record_put_stdout(struct buf *out, enum link_kind kind, uint16_t request_id, struct slice content)
{
	static const char zeros[8];

	if (kind != LINK_KIND_FCGI) {
		buf_add_slice(out, content);
		return;
	}
	while (content.len > 0) {
		size_t len = content.len < RECORD_CONTENT_MAX ? content.len : RECORD_CONTENT_MAX;
		size_t padding = -len & 7;

		put_header(out, FCGI_TYPE_STDOUT, request_id, len, padding);
		buf_add(out, content.p, len);
		buf_add(out, zeros, padding);
		content.p += len;
		content.len -= len;
	}
}

size_t record_stdout_len(enum link_kind kind, size_t len)
{
	size_t records = (len + RECORD_CONTENT_MAX - 1) / RECORD_CONTENT_MAX;

	return kind == LINK_KIND_FCGI ? len + records * HEADER_LEN : len;
}

void record_put_end(struct buf *out, enum link_kind kind, uint16_t request_id)
{
	static const char complete[8]; /* application status 0, FCGI_REQUEST_COMPLETE */

	if (kind != LINK_KIND_FCGI)
		return;
	put_header(out, FCGI_TYPE_STDOUT, request_id, 0, 0);
	put_header(out, FCGI_TYPE_END_REQUEST, request_id, sizeof(complete), 0);
	buf_add(out, complete, sizeof(complete));
}
