#include "config.h"

#include <stdlib.h>
#include <strings.h>

#include "common/base64.h"
#include "common/utf8.h"
#include "fcgi/header.h"
#include "common/banned.h"

static struct slice trim(struct slice s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* Cuts what stands before sep off the front of *rest. */
static struct slice cut(struct slice *rest, char sep)
{
	const char *at = rest->len ? memchr(rest->p, sep, rest->len) : NULL;
	struct slice s = {rest->p, at ? (size_t)(at - rest->p) : rest->len};
	size_t skip = at ? s.len + 1 : s.len;

	rest->p += skip;
	rest->len -= skip;
	return trim(s);
}

static bool is_nocase(struct slice s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

/* "q=0", "q=0.0" ... as a parameter */
static bool is_q_zero(struct slice param)
{
	if (param.len < 3 || (param.p[0] | 0x20) != 'q' || param.p[1] != '=')
		return false;
	for (size_t i = 2; i < param.len; i++) {
		if (param.p[i] != '0' && param.p[i] != '.')
			return false;
	}
	return true;
}

struct header_accept header_accept(const char *value)
{
	/* The more specific range wins, so that "text/event-stream;q=0, * / *" excludes: rank 1 to 3, 0 is no match. */
	struct {
		int rank;
		bool yes;
	} json = {0, false}, sse = {0, false};
	struct slice rest = slice_str(value);
	bool named = false;

	if (trim(rest).len == 0)
		return (struct header_accept){true, true, false};
	while (rest.len > 0) {
		struct slice range = cut(&rest, ',');
		struct slice type = cut(&range, ';');
		bool yes = true;
		int rank_json, rank_sse;

		while (range.len > 0)
			yes = !is_q_zero(cut(&range, ';')) && yes;
		rank_json = is_nocase(type, "application/json") ? 3
			    : is_nocase(type, "application/*")  ? 2
			    : is_nocase(type, "*/*")            ? 1
								: 0;
		rank_sse = is_nocase(type, "text/event-stream") ? 3
			   : is_nocase(type, "text/*")          ? 2
			   : is_nocase(type, "*/*")             ? 1
								: 0;
		if (rank_json > json.rank)
			json.rank = rank_json, json.yes = yes;
		if (rank_sse > sse.rank)
			sse.rank = rank_sse, sse.yes = yes;
		named = named || (rank_sse == 3 && yes);
	}
	return (struct header_accept){json.yes, sse.yes, named};
}

bool header_is_media_type(const char *value, const char *type)
{
	struct slice rest = slice_str(value);

	return is_nocase(cut(&rest, ';'), type);
}

int header_decode(const char *value, struct buf *out, struct err *err)
{
	struct slice s = trim(slice_str(value));
	const struct slice open = SLICE("=?base64?"), close = SLICE("?=");

	if (s.len >= open.len + close.len && memcmp(s.p, open.p, open.len) == 0 &&
	    memcmp(s.p + s.len - close.len, close.p, close.len) == 0) {
		if (!base64_decode(
			out, BASE64_PADDED, (struct slice){s.p + open.len, s.len - open.len - close.len}))
			return err_set(err, ERR_MISMATCH, "not Base64 with padding");
		if (!utf8_is_valid(buf_slice(out)))
			return err_set(err, ERR_MISMATCH, "Base64 of something that is not UTF-8");
		return buf_check(out, err);
	}
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 0x20 && c != '\t') || c > 0x7e)
			return err_set(err, ERR_MISMATCH,
			    "a character outside visible ASCII; such values are sent as =?base64?...?=");
	}
	buf_add_slice(out, s);
	return buf_check(out, err);
}
