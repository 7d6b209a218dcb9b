#include "config.h"

#include "broker/handle_priv.h"
#include "common/banned.h"

static bool is_name(struct slice name)
{
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] <= 0x20 || name.p[i] >= 0x7f || name.p[i] == '"' || name.p[i] == '\\')
			return false;
	}
	return name.len > 0 && name.len <= LINK_STATS_NAME_MAX;
}

static void get_histogram(struct message *m, struct histogram *h)
{
	uint8_t k;

	*h = (struct histogram){.sum_us = link_get_u64(&m->body, &m->bad)};
	k = link_get_u8(&m->body, &m->bad);
	for (unsigned i = 0; i < k && !m->bad; i++) {
		uint8_t bucket = link_get_u8(&m->body, &m->bad);
		uint32_t count = link_get_u32(&m->body, &m->bad);

		if (bucket < HISTOGRAM_BUCKETS)
			h->buckets[bucket] += count;
		else
			m->bad = true;
	}
}

/* All of it or nothing: the first walk only looks. */
unsigned do_stats(struct message *m)
{
	struct slice begin = m->body;

	for (int walk = 0; walk < 2; walk++) {
		uint64_t credit_waits;
		uint16_t n;

		m->body = begin;
		credit_waits = link_get_u64(&m->body, &m->bad);
		n = link_get_u16(&m->body, &m->bad);
		if (walk == 1)
			stats_add(&m->broker->stats, STAT_CREDIT_WAITS, credit_waits);
		for (unsigned i = 0; i < n && !m->bad; i++) {
			struct slice name = link_get_bytes(&m->body, &m->bad);
			unsigned outcome = link_get_u8(&m->body, &m->bad);
			struct histogram h;

			get_histogram(m, &h);
			m->bad = m->bad || outcome >= LINK_OUTCOME__COUNT || !is_name(name);
			if (walk == 1)
				stats_add_work(&m->broker->stats, name, outcome, &h);
		}
		if (m->bad || m->body.len > 0)
			return LINK_NACK_BAD;
	}
	return 0;
}
