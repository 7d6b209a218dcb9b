#include "config.h"

#include <errno.h>
#include <inttypes.h>

#include "broker/store_disk_priv.h"
#include "broker/store_joint.h"
#include "broker/store_sum.h"
#include "common/banned.h"

static const char *const statements[DISK_STATEMENTS] = {
    [DISK_BEGIN] = "BEGIN IMMEDIATE",
    [DISK_COMMIT] = "COMMIT",
    [DISK_ROLLBACK] = "ROLLBACK",
    [DISK_APPEND] = "INSERT OR REPLACE INTO log(position, stream, seq, sum, bytes) VALUES(?, ?, ?, ?, ?)",
    [DISK_FORGET] = "DELETE FROM log WHERE position = ?",
    [DISK_PUT] = "INSERT OR REPLACE INTO object(kind, key, sum, value) VALUES(?, ?, ?, ?)",
    [DISK_DEL] = "DELETE FROM object WHERE kind = ? AND key = ?",
    [DISK_READ] = "SELECT stream, seq, sum, bytes FROM log WHERE position = ?",
};

/* Nobody looks up numbers at night. */
int disk_fail(struct disk *d, int rc, const char *what, struct err *err)
{
	const char *advice = "";
	int sys = sqlite3_system_errno(d->db);

	d->is_damaged = disk_is_corrupt(rc);
	switch (rc & 0xff) {
	case SQLITE_FULL:
		advice = "; make room on that file system: it goes on by itself";
		break;
	case SQLITE_IOERR:
		advice = sys == ENOSPC || sys == EDQUOT
			     ? "; make room on that file system: it goes on by itself"
			     : "; look at the disk and the kernel's log: it goes on by itself";
		break;
	case SQLITE_READONLY:
		advice = "; make that file system and file writable: it goes on by itself";
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		advice = "; look at the disk: the file is set aside, and a new one begun";
		break;
	}
	err_set(err, (rc & 0xff) == SQLITE_NOMEM ? ERR_NOMEM : ERR_SYS, "%s %s: %s%s%s%s", what, d->path,
	    sqlite3_errstr(rc), sys ? ": " : "", sys ? strerror(sys) : "", advice);
	return -1;
}

bool disk_is_corrupt(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

struct slice disk_column(sqlite3_stmt *st, int i)
{
	struct slice s = {sqlite3_column_blob(st, i), 0};

	s.len = (size_t)sqlite3_column_bytes(st, i);
	return s;
}

int disk_exec(struct disk *d, const char *sql, int64_t *number)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->db, sql, -1, &st, NULL);

	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (number)
			*number = sqlite3_column_int64(st, 0);
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int disk_prepare(struct disk *d)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; rc == SQLITE_OK && i < DISK_STATEMENTS; i++)
		rc = sqlite3_prepare_v3(d->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &d->prepared[i], NULL);
	return rc;
}

void disk_finalize(struct disk *d)
{
	for (size_t i = 0; i < DISK_STATEMENTS; i++) {
		sqlite3_finalize(d->prepared[i]);
		d->prepared[i] = NULL;
	}
}

static int bind_slice(sqlite3_stmt *st, int i, struct slice s)
{
	return sqlite3_bind_blob64(st, i, s.len ? s.p : "", s.len, SQLITE_STATIC);
}

/* Runs what was bound. */
static int run(struct disk *d, enum disk_statement which, struct err *err)
{
	sqlite3_stmt *st = d->prepared[which];
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : disk_fail(d, rc, "write", err);
}

int disk_begin(struct disk *d, struct err *err)
{
	return run(d, DISK_BEGIN, err);
}

int disk_append(struct disk *d, uint64_t position, uint64_t stream, uint64_t seq, struct slice event, struct err *err)
{
	sqlite3_stmt *st = d->prepared[DISK_APPEND];

	sqlite3_bind_int64(st, 1, (int64_t)position);
	sqlite3_bind_int64(st, 2, (int64_t)stream);
	sqlite3_bind_int64(st, 3, (int64_t)seq);
	sqlite3_bind_int64(st, 4, (int64_t)sum_event(position, stream, seq, event));
	bind_slice(st, 5, event);
	return run(d, DISK_APPEND, err);
}

int disk_forget(struct disk *d, uint64_t position, struct err *err)
{
	sqlite3_bind_int64(d->prepared[DISK_FORGET], 1, (int64_t)position);
	return run(d, DISK_FORGET, err);
}

int disk_put(struct disk *d, enum store_kind kind, struct slice key, struct slice value, struct err *err)
{
	sqlite3_stmt *st = d->prepared[DISK_PUT];

	sqlite3_bind_int(st, 1, (int)kind);
	bind_slice(st, 2, key);
	sqlite3_bind_int64(st, 3, (int64_t)sum_object(kind, key, value));
	bind_slice(st, 4, value);
	return run(d, DISK_PUT, err);
}

int disk_del(struct disk *d, enum store_kind kind, struct slice key, struct err *err)
{
	sqlite3_stmt *st = d->prepared[DISK_DEL];

	sqlite3_bind_int(st, 1, (int)kind);
	bind_slice(st, 2, key);
	return run(d, DISK_DEL, err);
}

int disk_commit(struct disk *d, struct err *err)
{
	return run(d, DISK_COMMIT, err);
}

void disk_undo(struct disk *d)
{
	if (d->db && !sqlite3_get_autocommit(d->db))
		run(d, DISK_ROLLBACK, NULL);
}

bool disk_is_damaged(const struct disk *d)
{
	return d->is_damaged;
}

int disk_sync(struct disk *d, struct err *err)
{
	sqlite3_file *wal = NULL;
	int rc = sqlite3_file_control(d->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);

	if (rc == SQLITE_OK && wal && wal->pMethods)
		rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	return rc == SQLITE_OK ? 0 : disk_fail(d, rc, "sync", err);
}

bool disk_is_due(const struct disk *d)
{
	return d->wal_pages >= DISK_WAL_PAGES;
}

/* Only that a later one makes good what this one did not: SQLite notes a page as written back when the file is synced.
 */
int disk_write_back(struct disk *d, struct err *err)
{
	int rc = sqlite3_wal_checkpoint_v2(d->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);

	d->wal_pages = 0;
	return rc == SQLITE_OK ? 0 : disk_fail(d, rc, "write back", err);
}

enum disk_found disk_read(struct disk *d, uint64_t position, struct slice *event, struct err *err)
{
	sqlite3_stmt *st = d->prepared[DISK_READ];
	uint64_t seq;
	int rc;

	d->is_damaged = false; /* of what is missing or changed only that is lost */
	sqlite3_bind_int64(st, 1, (int64_t)position);
	rc = sqlite3_step(st);
	if (rc == SQLITE_DONE) {
		err_set(err, ERR_SYS, "read %s: event %" PRIu64 " is not there; look at the disk", d->path, position);
		return DISK_DAMAGED;
	}
	if (rc != SQLITE_ROW) {
		disk_fail(d, rc, "read", err);
		return (rc & 0xff) == SQLITE_NOMEM ? DISK_NOT_NOW : DISK_UNREADABLE;
	}
	*event = disk_column(st, 3);
	seq = (uint64_t)sqlite3_column_int64(st, 1);
	if ((uint64_t)sqlite3_column_int64(st, 2) !=
	    sum_event(position, (uint64_t)sqlite3_column_int64(st, 0), seq, *event)) {
		err_set(
		    err, ERR_SYS, "read %s: event %" PRIu64 " has changed on the disk; look at it", d->path, position);
		return DISK_DAMAGED;
	}
	joint_cut_places(seq, event);
	return DISK_FOUND;
}

void disk_read_end(struct disk *d)
{
	sqlite3_reset(d->prepared[DISK_READ]); /* as long as it lends bytes nothing goes from the WAL into the file */
}
