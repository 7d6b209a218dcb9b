/* broker/store_file.c - the directory of the store, its lock, and the database in it: made, opened, set aside. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/store_disk_priv.h"
#include "common/cfg.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define FILE_NAME "broker.db"
#define LOCK_NAME "store.lock" /* not the one of run_dir, which may be the same directory */
#define FORMAT    2            /* of the tables; in 1 no row was of several streams */
#define PROGRAM   1835233325   /* "mcp-", by which the file is known as ours */

static void close_db(struct disk *d)
{
	disk_finalize(d);
	sqlite3_close(d->db);
	d->db = NULL;
}

/* In the place of SQLite's own, which does not tell whether writing back failed. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct disk *d = arg;

	(void)db, (void)name;
	d->wal_pages = pages;
	return SQLITE_OK;
}

/* Beside what it tells, rc of SQLite: whether the file is the culprit. */
static int open_db(struct disk *d, struct err *err)
{
	const char *const sync = d->sync_each ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL";
	const char *const how[] = {
	    "PRAGMA journal_mode = WAL",
	    "BEGIN IMMEDIATE",
	    "CREATE TABLE IF NOT EXISTS log(position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT "
	    "NULL, "
	    "sum INTEGER NOT NULL, bytes BLOB NOT NULL)",
	    "CREATE TABLE IF NOT EXISTS object(kind INTEGER NOT NULL, key BLOB NOT NULL, sum INTEGER NOT NULL, "
	    "value BLOB NOT NULL, PRIMARY KEY(kind, key)) WITHOUT ROWID",
	    "CREATE TABLE IF NOT EXISTS epoch(epoch INTEGER PRIMARY KEY, first INTEGER NOT NULL, boot TEXT NOT NULL, "
	    "is_synced INTEGER NOT NULL)",
	    "PRAGMA application_id = 1835233325",
	    "PRAGMA user_version = 2",
	    "COMMIT",
	};
	int64_t version = 0, program = 0, tables = 0, epochs = 0;
	int rc;

	rc = sqlite3_open_v2(d->path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_extended_result_codes(d->db, 1);
	if (rc == SQLITE_OK) /* first: there is no shared memory then, and nobody else can open it */
		rc = disk_exec(d, "PRAGMA locking_mode = EXCLUSIVE", NULL);
	if (rc == SQLITE_OK)
		rc = disk_exec(d, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK)
		rc = disk_exec(d, "PRAGMA application_id", &program);
	if (rc == SQLITE_OK)
		rc = disk_exec(d, "SELECT count(*) FROM sqlite_master", &tables);
	if (rc == SQLITE_OK && tables > 0 && program != PROGRAM) {
		err_set(err, ERR_CONFIG, "%s is of another program: set another store_dir", d->path);
		return SQLITE_MISMATCH;
	}
	if (rc == SQLITE_OK && version > FORMAT) {
		err_set(err, ERR_CONFIG, "%s is of a newer mcp-broker: use that, or another store_dir", d->path);
		return SQLITE_MISMATCH;
	}
	if (rc == SQLITE_OK)
		sqlite3_wal_hook(d->db, on_commit, d);
	/* A new file is synced as a whole, before anybody relies on it: one that power loss leaves half made is set
	 * aside, and held nothing. It is new until it has an epoch, for who made it may have been killed before that.
	 */
	if (rc == SQLITE_OK && tables > 0)
		rc = disk_exec(d, "SELECT count(*) FROM epoch", &epochs);
	if (rc == SQLITE_OK)
		rc = disk_exec(d, epochs > 0 ? sync : "PRAGMA synchronous = OFF", NULL);
	for (size_t i = 0; rc == SQLITE_OK && i < COUNT_OF(how); i++)
		rc = disk_exec(d, how[i], NULL);
	if (rc == SQLITE_OK && epochs == 0)
		rc = disk_exec(d, sync, NULL);
	if (rc == SQLITE_OK && epochs == 0)
		rc = disk_exec(d, "PRAGMA wal_checkpoint(PASSIVE)", NULL);
	if (rc == SQLITE_OK)
		rc = disk_prepare(d);
	if (rc != SQLITE_OK)
		disk_fail(d, rc, "open", err);
	return rc;
}

/* A file that is wrong is left as it is: closing it would write the WAL back. */
static void let_go(struct disk *d)
{
	if (d->db)
		sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	close_db(d);
}

int disk_set_aside(struct disk *d, const char *why, struct err *err)
{
	size_t size = strlen(d->path) + 48;
	char *from = mem_alloc(1, size), *to = mem_alloc(1, size), *name = mem_alloc(1, size);
	static const char *const tails[] = {"", "-wal"};
	int rc = -1;

	let_go(d);
	if (!from || !to || !name) {
		err_set(err, ERR_NOMEM, "name of a bad file");
		goto out;
	}
	snprintf(name, size, "%s.bad-%" PRIu64, d->path, clock_ms(CLOCK_REALTIME));
	for (size_t i = 0; i < COUNT_OF(tails); i++) { /* the file first: without its WAL it would be an older one */
		snprintf(from, size, "%s%s", d->path, tails[i]);
		snprintf(to, size, "%s%s", name, tails[i]);
		if (rename(from, to) == 0) {
			if (i > 0)
				continue;
			LOG(ERROR, "store.set_aside",
			    "file=\"%s\" kept_as=\"%s\" why=\"%s\" do=\"look at the disk; then delete that file\"",
			    d->path, name, why);
			mem_free(d->aside);
			d->aside = name;
			name = NULL;
		} else if (errno != ENOENT) {
			err_sys(err, "set %s aside", from);
			goto out;
		}
	}
	rc = open_db(d, err) == SQLITE_OK ? 0 : -1;
out:
	mem_free(from);
	mem_free(to);
	mem_free(name);
	return rc;
}

int disk_begin_anew(struct disk *d, const char *why, struct err *err)
{
	if (disk_set_aside(d, why, err))
		return -1;
	LOG(ERROR, "store.lost", "what=\"all sessions, streams and tasks: clients begin anew\"");
	mem_free(d->aside);
	d->aside = NULL;
	return 0;
}

int disk_open_aside(struct disk *d, sqlite3 **db)
{
	struct disk old = {.path = d->aside};
	int rc = sqlite3_open_v2(old.path, &old.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(old.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = disk_exec(&old, "PRAGMA locking_mode = EXCLUSIVE", NULL);
	*db = old.db;
	return rc;
}

/* What was made in it is there after a power loss too. */
static int sync_dir(const char *dir, struct err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd == -1) /* it may be one that we can't read, if we can't do more about it */
		return errno == EACCES ? 0 : err_sys(err, "open %s", dir);
	rc = fsync(fd);
	if (rc)
		err_sys(err, "sync %s", dir);
	close(fd);
	return rc ? -1 : 0;
}

static int make_dir(const char *dir, struct err *err)
{
	char *parent;
	int rc;

	if (mkdir(dir, 0700))
		return errno == EEXIST ? 0
				       : err_sys(err,
					     "make store_dir %s: make it for this user, or set another one, or "
					     "store_kind to memory",
					     dir);
	parent = cfg_path_join(dir, "..");
	if (!parent)
		return err_set(err, ERR_NOMEM, "path of store_dir");
	rc = sync_dir(parent, err);
	mem_free(parent);
	return rc;
}

static int lock_dir(struct disk *d, const char *dir, const char *path, struct err *err)
{
	if (d->lock_fd != -1)
		return 0;
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd == -1)
		return err_sys(err,
		    "%s: store_dir must be writable for this user; or set another one, or store_kind to memory", path);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK
		   ? err_set(err, ERR_CONFIG, "another mcp-broker uses store_dir %s: give each one of its own", dir)
		   : err_sys(err, "lock store_dir %s", dir);
}

static int take_dir(struct disk *d, const char *dir, struct err *err)
{
	char *lock = cfg_path_join(dir, LOCK_NAME), *wal = cfg_path_join(dir, FILE_NAME "-wal");
	int rc = -1;

	d->path = cfg_path_join(dir, FILE_NAME);
	if (!lock || !wal || !d->path)
		err_set(err, ERR_NOMEM, "paths of store_dir");
	else if (make_dir(dir, err) == 0)
		rc = lock_dir(d, dir, lock, err);
	d->had_wal = wal && access(wal, F_OK) == 0;
	mem_free(lock);
	mem_free(wal);
	return rc;
}

/* One that SQLite takes for a file of another version, or that it must not write though it may, is damaged too. */
static bool is_wrong(const struct disk *d, int rc)
{
	return disk_is_corrupt(rc) || (rc & 0xff) == SQLITE_ERROR ||
	       (rc == SQLITE_READONLY && access(d->path, W_OK) == 0);
}

struct disk *disk_open(const char *dir, bool sync_each, int lock_fd, struct err *err)
{
	struct disk *d = mem_alloc(1, sizeof(*d));
	struct err why = {0};
	int rc;

	if (!d) {
		err_set(err, ERR_NOMEM, "store");
		return NULL;
	}
	d->lock_fd = lock_fd ? lock_fd : -1;
	d->sync_each = sync_each;
	if (take_dir(d, dir, err))
		goto fail;
	rc = open_db(d, &why);
	if (is_wrong(d, rc)) {
		rc = disk_begin_anew(d, why.msg, err);
	} else if (rc != SQLITE_OK && err) {
		*err = why;
	}
	if (rc != SQLITE_OK)
		goto fail;
	if (sync_dir(dir, err))
		goto fail;
	return d;
fail:
	disk_close(&d);
	return NULL;
}

int disk_lock_fd(const struct disk *d)
{
	return d->lock_fd;
}

void disk_close(struct disk **dp)
{
	struct disk *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	if (d->db && d->has_epoch) /* without that it may have gone down at any moment, and the WAL is needed */
		disk_exec(
		    d, "UPDATE epoch SET is_synced = is_synced | 2 WHERE epoch = (SELECT max(epoch) FROM epoch)", NULL);
	close_db(d);
	if (d->lock_fd != -1)
		close(d->lock_fd);
	mem_free(d->path);
	mem_free(d->aside);
	mem_free(d);
}
