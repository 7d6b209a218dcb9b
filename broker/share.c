#include "config.h"

#include <inttypes.h>

#include "broker/share.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

struct owner {
	struct table_node node;
	struct broker *broker; /* borrowed */
	size_t holders;
	uint64_t used[SHARE__COUNT];
	size_t name_len;
	char name[];
};

static const char *const names[SHARE__COUNT] = {
#define SHARE(id, name) [SHARE_##id] = name,
#include "broker/share_tbl.h"
#undef SHARE
};

_Static_assert(STAT_SHARE_TASKS_BYTES - STAT_SHARE_SESSIONS + 1 == SHARE__COUNT, "a row for each share");
_Static_assert(STAT_LIMIT_TASKS_BYTES - STAT_LIMIT_SESSIONS + 1 == SHARE__COUNT, "a row for each limit");

/* UINT64_MAX: any number. */
static uint64_t limit_of(const struct broker *b, enum share share)
{
	switch (share) {
	case SHARE_SESSIONS:
		return (uint64_t)b->cfg->session_max;
	case SHARE_STREAMS:
		return (uint64_t)b->cfg->stream_max;
	case SHARE_WAITING:
		return b->cfg->stream_open_max ? (uint64_t)b->cfg->stream_open_max : UINT64_MAX;
	case SHARE_DESCRIPTORS:
		return b->fd_max;
	case SHARE_LOG_BYTES:
		return (uint64_t)b->cfg->broker_log_max_bytes;
	case SHARE_TASKS:
		return (uint64_t)b->cfg->task_max;
	case SHARE_TASKS_BYTES:
		return (uint64_t)b->cfg->broker_tasks_max_bytes;
	case SHARE__COUNT:
		break;
	}
	die(__FILE__, __LINE__, "no such share");
}

int owner_join(struct broker *b, struct slice name, struct owner **owner)
{
	uint64_t hash = table_hash_bytes(&b->owners, name);
	struct owner *o;

	*owner = NULL;
	if (name.len == 0)
		return 0;
	for (struct table_node *n = table_find(&b->owners, hash); n; n = table_find_next(n)) {
		o = TABLE_OF(n, struct owner, node);
		if (slice_eq(owner_name(o), name)) {
			*owner = owner_hold(o);
			return 0;
		}
	}
	o = mem_alloc(1, sizeof(*o) + name.len);
	if (!o)
		return -1;
	o->broker = b;
	o->name_len = name.len;
	memcpy(o->name, name.p, name.len);
	table_add(&b->owners, &o->node, hash);
	*owner = owner_hold(o);
	return 0;
}

struct owner *owner_hold(struct owner *owner)
{
	if (owner)
		owner->holders++;
	return owner;
}

void owner_leave(struct owner **ownerp)
{
	struct owner *o = *ownerp;

	*ownerp = NULL;
	if (!o || --o->holders > 0)
		return;
	for (size_t i = 0; i < SHARE__COUNT; i++)
		DIE_UNLESS(o->used[i] == 0);
	table_remove(&o->broker->owners, &o->node);
	mem_free(o);
}

struct slice owner_name(const struct owner *owner)
{
	return owner ? (struct slice){owner->name, owner->name_len} : SLICE("");
}

static bool fits(uint64_t max, uint64_t used, uint64_t n)
{
	return n <= max && used <= max - n;
}

/* So much of a limit, rounded up, so that it is one at least. */
static uint64_t part_of(uint64_t max, unsigned percent)
{
	return max == UINT64_MAX ? max : max / 100 * percent + (max % 100 * percent + 99) / 100;
}

bool share_has_room(struct broker *b, const struct owner *owner, enum share share, uint64_t total, uint64_t n)
{
	uint64_t max = limit_of(b, share), part = part_of(max, (unsigned)b->cfg->principal_share_percent);
	static struct log_rate limits[SHARE__COUNT], shares[SHARE__COUNT];
	char quoted[200];
	unsigned dropped;

	if (!fits(max, total, n)) {
		stats_add(&b->stats, STAT_LIMIT_SESSIONS + share, 1);
		if (log_rate_ok(&limits[share], 1, 10000, &dropped))
			LOG(WARN, "limit.reached", "limit=%s used=%" PRIu64 " max=%" PRIu64 " not_logged=%u",
			    names[share], total, max, dropped);
		return false;
	}
	if (!owner || fits(part, owner->used[share], n))
		return true;
	stats_add(&b->stats, STAT_SHARE_SESSIONS + share, 1);
	if (log_rate_ok(&shares[share], 1, 10000, &dropped))
		LOG(WARN, "share.reached",
		    "limit=%s owner=\"%s\" used=%" PRIu64 " of=%" PRIu64
		    " why=\"principal_share_percent\" not_logged=%u",
		    names[share], log_quote(quoted, sizeof(quoted), owner_name(owner)), owner->used[share], part,
		    dropped);
	return false;
}

void share_take(struct owner *owner, enum share share, uint64_t n)
{
	if (owner)
		owner->used[share] += n;
}

void share_give(struct owner *owner, enum share share, uint64_t n)
{
	if (!owner)
		return;
	DIE_UNLESS(n <= owner->used[share]);
	owner->used[share] -= n;
}
