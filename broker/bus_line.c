#include "config.h"

#include "broker/bus_line.h"
#include "common/mem.h"
#include "common/banned.h"

int line_add(struct producer *p, const void *header, struct slice key, struct slice body, bool is_hold)
{
	struct bus_message *m = mem_alloc(1, sizeof(*m) + LINK_HEADER_LEN + key.len + body.len);

	if (!m)
		return -1;
	m->is_hold = is_hold;
	m->key_len = key.len;
	m->body_len = body.len;
	memcpy(m->bytes, header, LINK_HEADER_LEN);
	if (key.len)
		memcpy(m->bytes + LINK_HEADER_LEN, key.p, key.len);
	if (body.len)
		memcpy(m->bytes + LINK_HEADER_LEN + key.len, body.p, body.len);
	*p->waiting_tail = m;
	p->waiting_tail = &m->next;
	p->waiting_count++;
	p->broker->line_count++;
	return 0;
}

void line_take_first(struct producer *p)
{
	struct bus_message *m = p->waiting;

	p->waiting = m->next;
	if (!p->waiting)
		p->waiting_tail = &p->waiting;
	p->waiting_count--;
	p->broker->line_count--;
	mem_free(m);
}

/* HOLD is not for anybody any more. */
void line_save(const struct producer *p, struct buf *out)
{
	uint32_t count = 0;

	for (const struct bus_message *m = p->waiting; m; m = m->next)
		count += !m->is_hold;
	link_put_u32(out, count);
	for (const struct bus_message *m = p->waiting; m; m = m->next) {
		if (m->is_hold)
			continue;
		link_put_bytes(out, (struct slice){m->bytes, LINK_HEADER_LEN});
		link_put_bytes(out, (struct slice){m->bytes + LINK_HEADER_LEN, m->key_len});
		link_put_bytes(out, (struct slice){m->bytes + LINK_HEADER_LEN + m->key_len, m->body_len});
	}
}

int line_load(struct producer *p, struct slice *in)
{
	bool bad = false;
	uint32_t count = link_get_u32(in, &bad);

	for (uint32_t i = 0; i < count && !bad; i++) {
		struct slice header = link_get_bytes(in, &bad), key = link_get_bytes(in, &bad);
		struct slice body = link_get_bytes(in, &bad);

		bad = bad || header.len != LINK_HEADER_LEN || line_add(p, header.p, key, body, false);
	}
	return bad ? -1 : 0;
}
