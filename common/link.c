#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/link.h"
#include "common/banned.h"

size_t link_body_max(const struct cfg *cfg)
{
	int64_t max = 2 * cfg->task_blob_max_bytes;

	if (cfg->body_max_bytes > max)
		max = cfg->body_max_bytes;
	if (cfg->session_blob_max_bytes > max)
		max = cfg->session_blob_max_bytes;
	return (size_t)max + LINK_FRAME_SLACK;
}

void link_put_u8(struct buf *out, uint8_t n)
{
	buf_add(out, &n, 1);
}

static void put_le(struct buf *out, uint64_t n, unsigned len)
{
	unsigned char b[8];

	for (unsigned i = 0; i < len; i++)
		b[i] = (unsigned char)(n >> (8 * i));
	buf_add(out, b, len);
}

void link_put_u16(struct buf *out, uint16_t n)
{
	put_le(out, n, 2);
}

void link_put_u32(struct buf *out, uint32_t n)
{
	put_le(out, n, 4);
}

void link_put_u64(struct buf *out, uint64_t n)
{
	put_le(out, n, 8);
}

void link_put_bytes(struct buf *out, struct slice s)
{
	DIE_UNLESS(s.len <= UINT32_MAX); /* every caller's ceiling is far below */
	link_put_u32(out, (uint32_t)s.len);
	buf_add_slice(out, s);
}

static uint64_t get_le(struct slice *in, unsigned len, bool *bad)
{
	uint64_t n = 0;

	if (in->len < len) {
		*bad = true;
		in->len = 0;
		return 0;
	}
	for (unsigned i = 0; i < len; i++)
		n |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
	in->p += len;
	in->len -= len;
	return n;
}

uint8_t link_get_u8(struct slice *in, bool *bad)
{
	return (uint8_t)get_le(in, 1, bad);
}

uint16_t link_get_u16(struct slice *in, bool *bad)
{
	return (uint16_t)get_le(in, 2, bad);
}

uint32_t link_get_u32(struct slice *in, bool *bad)
{
	return (uint32_t)get_le(in, 4, bad);
}

uint64_t link_get_u64(struct slice *in, bool *bad)
{
	return get_le(in, 8, bad);
}

struct slice link_get_bytes(struct slice *in, bool *bad)
{
	uint32_t len = link_get_u32(in, bad);
	struct slice s;

	if (len > in->len) {
		*bad = true;
		in->len = 0;
		return SLICE("");
	}
	s = (struct slice){in->p, len};
	in->p += len;
	in->len -= len;
	return s;
}

void link_put_header(struct buf *out, const struct link_header *h)
{
	link_put_u32(out, LINK_MAGIC);
	link_put_u8(out, h->version);
	link_put_u8(out, h->type);
	link_put_u16(out, h->flags);
	link_put_u64(out, h->producer);
	link_put_u64(out, h->seq);
	link_put_u64(out, h->corr);
	link_put_u64(out, h->deadline_ms);
	link_put_u64(out, h->stream);
	link_put_u32(out, h->body_len);
	link_put_u32(out, h->count);
}

int link_get_header(struct slice in, struct link_header *h, struct err *err)
{
	bool bad = false;
	uint32_t magic = link_get_u32(&in, &bad);

	h->version = link_get_u8(&in, &bad);
	h->type = link_get_u8(&in, &bad);
	h->flags = link_get_u16(&in, &bad);
	h->producer = link_get_u64(&in, &bad);
	h->seq = link_get_u64(&in, &bad);
	h->corr = link_get_u64(&in, &bad);
	h->deadline_ms = link_get_u64(&in, &bad);
	h->stream = link_get_u64(&in, &bad);
	h->body_len = link_get_u32(&in, &bad);
	h->count = link_get_u32(&in, &bad);
	if (bad)
		return err_set(err, ERR_LINK, "short header");
	if (magic != LINK_MAGIC)
		return err_set(err, ERR_LINK, "magic %08x", magic);
	if (h->version != LINK_VERSION &&
	    (h->version != LINK_VERSION_HELLO || (h->type != LINK_HELLO && h->type != LINK_NACK)))
		return err_set(err, ERR_LINK, "link version %d, ours is %d", h->version, LINK_VERSION);
	if (link_type_name(h->type)[0] == '?')
		return err_set(err, ERR_LINK, "message type %d", h->type);
	return 0;
}

void link_event_id(uint64_t stream, uint64_t epoch, uint64_t seq, char out[LINK_EVENT_ID_SIZE])
{
	snprintf(out, LINK_EVENT_ID_SIZE, "%" PRIu64 ".%" PRIu64 ".%" PRIu64, stream, epoch, seq);
}

void link_routing_id(uint64_t producer, uint32_t connection, unsigned char out[LINK_ROUTING_LEN])
{
	out[0] = 'P'; /* ZeroMQ keeps ids that begin with a zero byte for itself */
	for (unsigned i = 0; i < 8; i++)
		out[1 + i] = (unsigned char)(producer >> (8 * i));
	for (unsigned i = 0; i < 4; i++)
		out[9 + i] = (unsigned char)(connection >> (8 * i));
}

const char *link_type_name(unsigned type)
{
	switch (type) {
#define LINK(name, number, sender, channel)                                                                            \
	case number:                                                                                                   \
		return #name;
#include "common/link_tbl.h"
#undef LINK
	default:
		return "?";
	}
}

static const struct {
	const char *name;
	enum err_code err;
} nacks[LINK_NACK__COUNT] = {
    [0] = {"none", ERR_LINK},
    [LINK_NACK_BUSY] = {"busy", ERR_BUSY},
    [LINK_NACK_NO_SESSION] = {"no-session", ERR_NO_SESSION},
    [LINK_NACK_DUPLICATE_ID] = {"duplicate-id", ERR_DUPLICATE},
    [LINK_NACK_CLOSED] = {"closed", ERR_GONE},
    [LINK_NACK_TOO_BIG] = {"too-big", ERR_TOO_BIG},
    [LINK_NACK_EXPIRED] = {"expired", ERR_EXPIRED},
    [LINK_NACK_VERSION] = {"version", ERR_BUSY},
    [LINK_NACK_LIMIT] = {"limit", ERR_LIMIT},
    [LINK_NACK_GAP] = {"gap", ERR_GAP},
    [LINK_NACK_DELIVERED] = {"delivered", ERR_DELIVERED},
    [LINK_NACK_BAD] = {"bad", ERR_LINK},
    [LINK_NACK_NO_TASK] = {"no-task", ERR_NO_TASK},
    [LINK_NACK_NO_RUNNER] = {"no-runner", ERR_RUNNER},
};

const char *link_nack_name(unsigned code)
{
	return nacks[code < LINK_NACK__COUNT ? code : 0].name;
}

const char *link_outcome_name(unsigned outcome)
{
	static const char *const names[LINK_OUTCOME__COUNT] = {
	    [LINK_OUTCOME_OK] = "ok",
	    [LINK_OUTCOME_ERROR] = "error",
	    [LINK_OUTCOME_CANCELLED] = "cancelled",
	    [LINK_OUTCOME_ASKED] = "asked",
	    [LINK_OUTCOME_REFUSED] = "refused",
	};

	return outcome < LINK_OUTCOME__COUNT ? names[outcome] : "?";
}

enum err_code link_nack_err(unsigned code)
{
	return nacks[code < LINK_NACK__COUNT ? code : 0].err;
}
