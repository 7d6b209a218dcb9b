#include "config.h"

#include "common/jx.h"
#include "fcgi/escape.h"
#include "fcgi/uri.h"
#include "common/banned.h"

void escape_put_percent(struct buf *out, struct slice value)
{
	for (size_t i = 0; i < value.len; i++) {
		if (uri_is_unreserved(value.p[i]))
			buf_add(out, value.p + i, 1);
		else
			buf_addf(out, "%%%02X", (unsigned)(unsigned char)value.p[i]);
	}
}

static const char *xml_entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&apos;";
	case '\t':
	case '\n':
		return NULL;
	case '\r':
		return "&#13;";
	}
	return (unsigned char)c < ' ' ? "\xef\xbf\xbd" : NULL;
}

void escape_put_xml(struct buf *out, struct slice value)
{
	for (size_t i = 0; i < value.len; i++) {
		const char *entity = xml_entity(value.p[i]);

		if (entity)
			buf_adds(out, entity);
		else
			buf_add(out, value.p + i, 1);
	}
}

void escape_put_json(struct buf *out, struct slice value)
{
	struct buf quoted;

	buf_init(&quoted, out->max);
	jx_write_str(&quoted, value);
	if (quoted.fault)
		out->fault = quoted.fault;
	else
		buf_add(out, quoted.data + 1, quoted.len - 2); /* less its quotes */
	buf_release(&quoted);
}

bool escape_fits_header(struct slice value)
{
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c < ' ' || c == 0x7f)
			return false;
	}
	return true;
}
