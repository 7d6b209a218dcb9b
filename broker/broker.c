#include "config.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "broker/accept.h"
#include "broker/admin.h"
#include "broker/broker.h"
#include "broker/call.h"
#include "broker/conn.h"
#include "broker/once.h"
#include "broker/producer.h"
#include "broker/recover.h"
#include "broker/session.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "broker/task.h"
#include "common/link.h"
#include "common/log.h"
#include "common/rnd.h"
#include "common/banned.h"

#define EXPANSION_MAX 8 /* an event of nothing but line breaks: seven bytes, "data: " and LF, for each */

static void wake(void *arg)
{
	loop_wake(arg);
}

size_t broker_frame_max(const struct broker *b)
{
	return link_body_max(b->cfg);
}

int broker_init(struct broker *b, const struct cfg *cfg, bool (*turn)(void *arg), void *turn_arg, struct err *err)
{
	memset(b, 0, sizeof(*b));
	b->cfg = cfg;
	b->last_task = &b->first_task;
	b->last_runner = &b->runners;
	/* A worker that still holds a handle of an earlier broker must not meet a stream of this one. */
	b->next_handle = (rnd_u64() & 0xffffffffff) + 1;
	buf_init(&b->events, EXPANSION_MAX * broker_frame_max(b) * 2);
	buf_init(&b->frame, EXPANSION_MAX * broker_frame_max(b) * 2);
	if (table_init(&b->producers) || table_init(&b->sessions) || table_init(&b->calls) || table_init(&b->streams) ||
	    table_init(&b->topics) || table_init(&b->subscriptions) || table_init(&b->tasks) || table_init(&b->marks) ||
	    table_init(&b->owners)) {
		err_set(err, ERR_NOMEM, "tables");
		goto fail;
	}
	if (loop_init(&b->loop, turn, turn_arg, err))
		goto fail;
	b->stats.started_ms = loop_now(&b->loop);
	return 0;
fail:
	broker_release(b);
	return -1;
}

/* lock_fd: as in store_sqlite_how. */
static int open_store(struct broker *b, int lock_fd, struct err *err)
{
	const struct cfg *cfg = b->cfg;
	const struct store_sqlite_how how = {
	    .dir = cfg->store_dir,
	    .sync_each = strcmp(cfg->store_sync, "group") == 0,
	    .sync_ms = (uint64_t)cfg->store_sync_ms,
	    .cache_bytes = (uint64_t)cfg->store_cache_bytes,
	    .lock_fd = lock_fd,
	};

	b->store = strcmp(cfg->store_kind, "sqlite") == 0 ? store_sqlite_open(&how, wake, &b->loop, err)
							  : store_memory_open(err);
	if (!b->store)
		return -1;
	b->store->on_renewed = recover_again;
	b->store->on_renewed_arg = b;
	return 0;
}

int broker_open(struct broker *b, struct err *err)
{
	if (open_store(b, 0, err))
		return -1;
	return recover(b, err);
}

int broker_resume(struct broker *b, struct slice saved, struct err *err)
{
	bool bad = false, is_durable = strcmp(b->cfg->store_kind, "sqlite") == 0;
	int lock_fd = is_durable ? snapshot_get_fd(&saved, true, &bad) : (int)link_get_u32(&saved, &bad);

	if (bad || b->store)
		return err_set(err, ERR_LINK, "not this store");
	if (open_store(b, lock_fd, err))
		return -1;
	return b->store->resume(b->store, saved, err);
}

bool broker_keeps(const struct broker *b)
{
	return b->store->is_durable && !b->is_leaving;
}

void broker_keep(struct broker *b, enum store_kind kind, struct slice key, struct buf *value)
{
	if (broker_keeps(b))
		b->store->put(b->store, kind, key, value);
	buf_release(value);
}

void broker_unkeep(struct broker *b, enum store_kind kind, struct slice key)
{
	if (broker_keeps(b))
		b->store->del(b->store, kind, key);
}

void broker_release(struct broker *b)
{
	struct table_node *n;

	b->is_leaving = true;
	while ((n = table_any(&b->calls)) != NULL)
		call_close(TABLE_OF(n, struct call, node));
	while ((n = table_any(&b->tasks)) != NULL)
		task_close(TABLE_OF(n, struct task, node), "shutdown");
	once_forget_all(b);
	while ((n = table_any(&b->sessions)) != NULL)
		session_close(TABLE_OF(n, struct session, node), "shutdown");
	while ((n = table_any(&b->streams)) != NULL)
		stream_close(TABLE_OF(n, struct stream, node), "shutdown");
	while (b->conns)
		conn_close(b->conns, STAT_CLOSE_DRAINED);
	while ((n = table_any(&b->producers)) != NULL)
		producer_close(TABLE_OF(n, struct producer, node));
	if (b->store)
		b->store->close(&b->store);
	loop_release(&b->loop);
	stats_release(&b->stats);
	table_release(&b->producers);
	table_release(&b->sessions);
	table_release(&b->calls);
	table_release(&b->streams);
	table_release(&b->topics);
	table_release(&b->tasks);
	table_release(&b->marks);
	table_release(&b->owners);
	table_release(&b->subscriptions);
	buf_release(&b->frame);
	buf_release(&b->events);
}

/* What we have open for ourselves: log, loop, lock, listeners, libzmq. None of it is beyond the first few hundred. */
static size_t count_open_fds(void)
{
	size_t count = 0;

	for (int fd = 0; fd < OWN_FDS_MAX; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

int broker_budget_fds(struct broker *b, struct err *err)
{
	struct rlimit lim;
	size_t kept;

	if (b->own_fds == 0)
		b->own_fds = count_open_fds();
	kept = (size_t)b->cfg->broker_fd_reserve + ADMIN_CONNS_MAX + b->own_fds;
	if (getrlimit(RLIMIT_NOFILE, &lim))
		return err_sys(err, "descriptor limit");
	if (lim.rlim_cur < lim.rlim_max) {
		struct rlimit wanted = {lim.rlim_max, lim.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
			lim = wanted;
	}
	if (lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur > 1 << 20)
		lim.rlim_cur = 1 << 20;
	if (lim.rlim_cur <= kept)
		return err_set(err, ERR_LIMIT,
		    "RLIMIT_NOFILE %ju leaves nothing beside broker_fd_reserve and our own: %zu",
		    (uintmax_t)lim.rlim_cur, kept);
	b->fd_max = (size_t)lim.rlim_cur - kept;
	/* Whom we know of stays below the reserve; the store may need the rest of it. */
	accept_limit((int)lim.rlim_cur - (int)b->cfg->broker_fd_reserve / 2);
	return 0;
}

bool broker_fd_take(struct broker *b, size_t count)
{
	static struct log_rate rate;
	size_t used = b->fd_used + b->fd_reserved;
	unsigned dropped;

	if (count > b->fd_max || used > b->fd_max - count) {
		if (log_rate_ok(&rate, 1, 10000, &dropped))
			LOG(ERROR, "broker.fds_exhausted", "used=%zu max=%zu not_logged=%u", used, b->fd_max, dropped);
		return false;
	}
	b->fd_used += count;
	if ((used + count) * 10 >= b->fd_max * 9 && log_rate_ok(&rate, 1, 10000, &dropped))
		LOG(WARN, "broker.fds_short", "used=%zu max=%zu", used + count, b->fd_max);
	return true;
}

void broker_fd_give(struct broker *b, size_t count)
{
	DIE_UNLESS(count <= b->fd_used);
	b->fd_used -= count;
}
