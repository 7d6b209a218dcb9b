/* broker/store_renew.c - from a file that can't be trusted any more into a new one, under a running broker: what can be
 * read of the log is copied; objects, and the newest events, are in the memory of who writes them again. */
#include "config.h"

#include <inttypes.h>

#include "broker/store_disk_priv.h"
#include "broker/store_sum.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define EVENTS_PER_COMMIT 4096

struct copy {
	struct disk *to;
	sqlite3 *from;
	size_t copied, changed;
	struct err *err;
};

static int copy_row(struct copy *c, sqlite3_stmt *st)
{
	uint64_t position = (uint64_t)sqlite3_column_int64(st, 0), stream = (uint64_t)sqlite3_column_int64(st, 1),
		 seq = (uint64_t)sqlite3_column_int64(st, 2);
	struct slice bytes = disk_column(st, 4);

	if ((uint64_t)sqlite3_column_int64(st, 3) != sum_event(position, stream, seq, bytes)) {
		c->changed++;
		return 0;
	}
	if (disk_append(c->to, position, stream, seq, bytes, c->err))
		return -1;
	if (++c->copied % EVENTS_PER_COMMIT)
		return 0;
	return disk_commit(c->to, c->err) || disk_begin(c->to, c->err) ? -1 : 0;
}

/* Copies rows until there are no more (*is_whole), or one can't be read. first, last: of those that could be; else 0.
 * -1: the new file can't be written. */
static int copy_rows(struct copy *c, const char *sql, uint64_t after, uint64_t *first, uint64_t *last, bool *is_whole)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(c->from, sql, -1, &st, NULL), ret = 0;

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 1, (int64_t)after);
	while (rc == SQLITE_OK && ret == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		*last = (uint64_t)sqlite3_column_int64(st, 0);
		if (*first == 0)
			*first = *last;
		ret = copy_row(c, st);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	*is_whole = rc == SQLITE_DONE;
	return ret;
}

/* From both ends, so that one bad page costs what is on it. */
static int copy_log(struct copy *c, struct disk_copied *copied)
{
	uint64_t first = 0;
	bool is_whole;

	if (copy_rows(c, "SELECT position, stream, seq, sum, bytes FROM log WHERE position > ? ORDER BY position", 0,
		&first, &copied->first_end, &is_whole))
		return -1;
	return is_whole
		   ? 0
		   : copy_rows(c,
			 "SELECT position, stream, seq, sum, bytes FROM log WHERE position > ? ORDER BY position DESC",
			 copied->first_end, &copied->end, &copied->begin, &is_whole);
}

/* Nobody can say of an earlier epoch any more that nothing of it is missing. */
static int copy_epochs(struct disk *d, const struct disk_loaded *l)
{
	sqlite3_stmt *st = NULL;
	uint64_t first = 1;
	int rc = sqlite3_prepare_v2(
	    d->db, "INSERT OR REPLACE INTO epoch(epoch, first, boot, is_synced) VALUES(?, ?, '', 0)", -1, &st, NULL);

	for (size_t i = 0; i <= l->epochs_count && rc == SQLITE_OK; i++) {
		bool is_own = i == l->epochs_count;

		sqlite3_bind_int64(st, 1, (int64_t)(is_own ? l->epoch : l->epochs[i].epoch));
		sqlite3_bind_int64(st, 2, (int64_t)(is_own ? l->next_position : first));
		rc = sqlite3_step(st) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(d->db);
		sqlite3_reset(st);
		first = is_own ? first : l->epochs[i].end;
	}
	sqlite3_finalize(st);
	return rc;
}

int disk_renew(
    struct disk *d, const struct disk_loaded *loaded, const char *why, struct disk_copied *copied, struct err *err)
{
	struct copy c = {.to = d, .err = err};
	uint64_t began_ms = now_ms();
	int rc;

	*copied = (struct disk_copied){0};
	if (disk_set_aside(d, why, err))
		return -1;
	rc = copy_epochs(d, loaded);
	if (rc != SQLITE_OK)
		return disk_fail(d, rc, "write", err);
	if (disk_begin(d, err))
		return -1;
	rc = 0;
	if (d->aside && disk_open_aside(d, &c.from) == SQLITE_OK)
		rc = copy_log(&c, copied);
	sqlite3_close(c.from);
	if (rc || disk_commit(d, err) || disk_sync(d, err)) {
		disk_undo(d);
		return -1;
	}
	LOG(ERROR, "store.renewed", "file=\"%s\" events_copied=%zu events_changed=%zu ms=%" PRIu64, d->path, c.copied,
	    c.changed, now_ms() - began_ms);
	mem_free(d->aside);
	d->aside = NULL;
	return 0;
}
