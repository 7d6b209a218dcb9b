#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/store_disk.h"
#include "broker/store_wal.h"
#include "common/cfg.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define FILE_NAME      "broker.db"
#define LOCK_NAME      "store.lock" /* not the one of run_dir, which may be the same directory */
#define FORMAT         1            /* of the tables */
#define WAL_PAGES      4096         /* 16 MB of new pages are written back at a time */
#define PROGRESS_MS    1000
#define BOOT_ID_FILE   "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE   40
#define EVENTS_PER_ASK 1024 /* between two looks at the clock */

enum statement { BEGIN, COMMIT, ROLLBACK, APPEND, FORGET, PUT, DEL, READ, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [APPEND] = "INSERT OR REPLACE INTO log(position, stream, seq, sum, bytes) VALUES(?, ?, ?, ?, ?)",
    [FORGET] = "DELETE FROM log WHERE position = ?",
    [PUT] = "INSERT OR REPLACE INTO object(kind, key, sum, value) VALUES(?, ?, ?, ?)",
    [DEL] = "DELETE FROM object WHERE kind = ? AND key = ?",
    [READ] = "SELECT stream, seq, sum, bytes FROM log WHERE position = ?",
};

struct disk {
	sqlite3 *db;
	sqlite3_stmt *prepared[STATEMENTS];
	int lock_fd;
	bool sync_each;
	char *path; /* owned */
};

/* Each step can be undone, so whatever single word of eight bytes is not as it was, the sum is another one. */
static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15;
	return sum ^ sum >> 29;
}

static uint64_t sum_bytes(uint64_t sum, struct slice s)
{
	uint64_t word;

	sum = mix(sum, s.len);
	for (; s.len >= sizeof(word); s.p += sizeof(word), s.len -= sizeof(word)) {
		memcpy(&word, s.p, sizeof(word));
		sum = mix(sum, word);
	}
	word = 0;
	if (s.len)
		memcpy(&word, s.p, s.len);
	return mix(sum, word);
}

static uint64_t sum_event(uint64_t position, uint64_t stream, uint64_t seq, struct slice event)
{
	return sum_bytes(mix(mix(mix(1, position), stream), seq), event);
}

static uint64_t sum_object(enum store_kind kind, struct slice key, struct slice value)
{
	return sum_bytes(sum_bytes(mix(2, kind), key), value);
}

/* -1. What is to be done about it stands beside what it is: nobody looks up numbers at night. */
static int fail(struct disk *d, int rc, const char *what, struct err *err)
{
	const char *advice = "";
	int sys = sqlite3_system_errno(d->db);

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
		advice = "; restart mcp-broker: it sets the file aside and begins a new one";
		break;
	}
	err_set(err, (rc & 0xff) == SQLITE_NOMEM ? ERR_NOMEM : ERR_SYS, "%s %s: %s%s%s%s", what, d->path,
	    sqlite3_errstr(rc), sys ? ": " : "", sys ? strerror(sys) : "", advice);
	return -1;
}

static bool is_corrupt(int rc)
{
	return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static struct slice column(sqlite3_stmt *st, int i)
{
	struct slice s = {sqlite3_column_blob(st, i), 0};

	s.len = (size_t)sqlite3_column_bytes(st, i);
	return s;
}

static int bind_slice(sqlite3_stmt *st, int i, struct slice s)
{
	return sqlite3_bind_blob64(st, i, s.len ? s.p : "", s.len, SQLITE_STATIC);
}

/* Runs what was bound. */
static int run(struct disk *d, enum statement which, struct err *err)
{
	sqlite3_stmt *st = d->prepared[which];
	int rc = sqlite3_step(st);

	sqlite3_reset(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(d, rc, "write", err);
}

int disk_begin(struct disk *d, struct err *err)
{
	return run(d, BEGIN, err);
}

int disk_append(struct disk *d, uint64_t position, uint64_t stream, uint64_t seq, struct slice event, struct err *err)
{
	sqlite3_stmt *st = d->prepared[APPEND];

	sqlite3_bind_int64(st, 1, (int64_t)position);
	sqlite3_bind_int64(st, 2, (int64_t)stream);
	sqlite3_bind_int64(st, 3, (int64_t)seq);
	sqlite3_bind_int64(st, 4, (int64_t)sum_event(position, stream, seq, event));
	bind_slice(st, 5, event);
	return run(d, APPEND, err);
}

int disk_forget(struct disk *d, uint64_t position, struct err *err)
{
	sqlite3_bind_int64(d->prepared[FORGET], 1, (int64_t)position);
	return run(d, FORGET, err);
}

int disk_put(struct disk *d, enum store_kind kind, struct slice key, struct slice value, struct err *err)
{
	sqlite3_stmt *st = d->prepared[PUT];

	sqlite3_bind_int(st, 1, (int)kind);
	bind_slice(st, 2, key);
	sqlite3_bind_int64(st, 3, (int64_t)sum_object(kind, key, value));
	bind_slice(st, 4, value);
	return run(d, PUT, err);
}

int disk_del(struct disk *d, enum store_kind kind, struct slice key, struct err *err)
{
	sqlite3_stmt *st = d->prepared[DEL];

	sqlite3_bind_int(st, 1, (int)kind);
	bind_slice(st, 2, key);
	return run(d, DEL, err);
}

int disk_commit(struct disk *d, struct err *err)
{
	return run(d, COMMIT, err);
}

void disk_undo(struct disk *d)
{
	if (!sqlite3_get_autocommit(d->db))
		run(d, ROLLBACK, NULL);
}

int disk_sync(struct disk *d, struct err *err)
{
	sqlite3_file *wal = NULL;
	int rc = sqlite3_file_control(d->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);

	if (rc == SQLITE_OK && wal && wal->pMethods)
		rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	return rc == SQLITE_OK ? 0 : fail(d, rc, "sync", err);
}

int disk_read(struct disk *d, uint64_t position, struct slice *event, struct err *err)
{
	sqlite3_stmt *st = d->prepared[READ];
	int rc;

	sqlite3_bind_int64(st, 1, (int64_t)position);
	rc = sqlite3_step(st);
	if (rc == SQLITE_DONE)
		return err_set(err, ERR_SYS, "read %s: event %" PRIu64 " is not there", d->path, position);
	if (rc != SQLITE_ROW)
		return fail(d, rc, "read", err);
	*event = column(st, 3);
	if ((uint64_t)sqlite3_column_int64(st, 2) !=
	    sum_event(position, (uint64_t)sqlite3_column_int64(st, 0), (uint64_t)sqlite3_column_int64(st, 1), *event))
		return err_set(err, ERR_SYS, "read %s: event %" PRIu64 " has changed on the disk", d->path, position);
	return 0;
}

void disk_read_end(struct disk *d)
{
	sqlite3_reset(d->prepared[READ]); /* as long as it lends bytes nothing goes from the WAL into the file */
}

/* SQL that gives nothing, or one row with a number. */
static int exec(struct disk *d, const char *sql, int64_t *number)
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

static void close_db(struct disk *d)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(d->prepared[i]);
		d->prepared[i] = NULL;
	}
	sqlite3_close(d->db);
	d->db = NULL;
}

/* Beside what it tells, rc of SQLite: whether the file is the culprit. */
static int open_db(struct disk *d, struct err *err)
{
	char wal_pages[64];
	const char *const how[] = {
	    "PRAGMA journal_mode = WAL",
	    d->sync_each ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
	    wal_pages,
	    "BEGIN IMMEDIATE",
	    "CREATE TABLE IF NOT EXISTS log(position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT "
	    "NULL, "
	    "sum INTEGER NOT NULL, bytes BLOB NOT NULL)",
	    "CREATE TABLE IF NOT EXISTS object(kind INTEGER NOT NULL, key BLOB NOT NULL, sum INTEGER NOT NULL, "
	    "value BLOB NOT NULL, PRIMARY KEY(kind, key)) WITHOUT ROWID",
	    "CREATE TABLE IF NOT EXISTS epoch(epoch INTEGER PRIMARY KEY, first INTEGER NOT NULL, boot TEXT NOT NULL, "
	    "is_synced INTEGER NOT NULL)",
	    "COMMIT",
	};
	int64_t version = 0;
	int rc;

	snprintf(wal_pages, sizeof(wal_pages), "PRAGMA wal_autocheckpoint = %d", WAL_PAGES);
	rc = sqlite3_open_v2(d->path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_extended_result_codes(d->db, 1);
	if (rc == SQLITE_OK) /* first: there is no shared memory then, and nobody else can open it */
		rc = exec(d, "PRAGMA locking_mode = EXCLUSIVE", NULL);
	if (rc == SQLITE_OK)
		rc = exec(d, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK && version > FORMAT) {
		err_set(err, ERR_CONFIG, "%s is of a newer mcp-broker: use that, or another store_dir", d->path);
		return SQLITE_MISMATCH;
	}
	for (size_t i = 0; rc == SQLITE_OK && i < COUNT_OF(how); i++)
		rc = exec(d, how[i], NULL);
	if (rc == SQLITE_OK && version == 0)
		rc = exec(d, "PRAGMA user_version = 1", NULL);
	for (size_t i = 0; rc == SQLITE_OK && i < STATEMENTS; i++)
		rc = sqlite3_prepare_v3(d->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &d->prepared[i], NULL);
	if (rc != SQLITE_OK)
		fail(d, rc, "open", err);
	return rc;
}

/* Gives the file another name, which "sqlite3 NAME .recover" reads, and makes a new one. */
static int set_aside(struct disk *d, const char *why, struct err *err)
{
	char *from = mem_alloc(1, strlen(d->path) + 8), *to = mem_alloc(1, strlen(d->path) + 48);
	static const char *const tails[] = {"", "-wal"};
	uint64_t now = clock_ms(CLOCK_REALTIME);
	int rc = -1;

	close_db(d);
	if (!from || !to) {
		err_set(err, ERR_NOMEM, "name of a bad file");
		goto out;
	}
	for (size_t i = 0; i < COUNT_OF(tails); i++) {
		snprintf(from, strlen(d->path) + 8, "%s%s", d->path, tails[i]);
		snprintf(to, strlen(d->path) + 48, "%s.bad-%" PRIu64 "%s", d->path, now, tails[i]);
		if (rename(from, to) && errno != ENOENT) {
			err_sys(err, "set %s aside", from);
			goto out;
		}
	}
	LOG(ERROR, "store.set_aside",
	    "file=\"%s\" kept_as=\"%s.bad-%" PRIu64
	    "\" why=\"%s\" lost=\"all sessions, streams and tasks: clients begin "
	    "anew\" do=\"look at the disk; then delete the file\"",
	    d->path, d->path, now, why);
	rc = open_db(d, err) == SQLITE_OK ? 0 : -1;
out:
	mem_free(from);
	mem_free(to);
	return rc;
}

static int take_dir(struct disk *d, const char *dir, struct err *err)
{
	char *path;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_sys(
		    err, "make store_dir %s: make it for this user, or set another one, or store_kind to memory", dir);
	path = cfg_path_join(dir, LOCK_NAME);
	d->path = cfg_path_join(dir, FILE_NAME);
	if (!path || !d->path) {
		mem_free(path);
		return err_set(err, ERR_NOMEM, "paths of store_dir");
	}
	d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock_fd == -1) {
		err_sys(err,
		    "%s: store_dir must be writable for this user; or set another one, or store_kind to memory", path);
		mem_free(path);
		return -1;
	}
	mem_free(path);
	if (flock(d->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK
		   ? err_set(err, ERR_CONFIG, "another mcp-broker uses store_dir %s: give each one of its own", dir)
		   : err_sys(err, "lock store_dir %s", dir);
}

struct disk *disk_open(const char *dir, bool sync_each, struct err *err)
{
	struct disk *d = mem_alloc(1, sizeof(*d));
	struct err why = {0};
	int rc;

	if (!d) {
		err_set(err, ERR_NOMEM, "store");
		return NULL;
	}
	d->lock_fd = -1;
	d->sync_each = sync_each;
	if (take_dir(d, dir, err))
		goto fail;
	rc = open_db(d, &why);
	if (is_corrupt(rc) ? set_aside(d, why.msg, err) : rc != SQLITE_OK) {
		if (!is_corrupt(rc) && err)
			*err = why;
		goto fail;
	}
	return d;
fail:
	disk_close(&d);
	return NULL;
}

void disk_close(struct disk **dp)
{
	struct disk *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	close_db(d);
	if (d->lock_fd != -1)
		close(d->lock_fd);
	mem_free(d->path);
	mem_free(d);
}

/* All events, as they stand in the log. */
struct index {
	struct store_event *events; /* owned */
	size_t count, cap;
	uint64_t bytes;
	size_t lost;
};

static int index_add(struct index *x, const struct store_event *e, struct err *err)
{
	if (x->count == x->cap) {
		size_t cap = x->cap ? 2 * x->cap : 1024;
		struct store_event *events = mem_realloc(x->events, cap * sizeof(*events));

		if (!events)
			return err_set(err, ERR_NOMEM, "index of %zu events", cap);
		x->events = events;
		x->cap = cap;
	}
	x->events[x->count++] = *e;
	x->bytes += e->len;
	x->lost += e->is_lost;
	return 0;
}

/* SQLITE_OK, or why not; *err is set then. */
static int load_events(struct disk *d, struct index *x, struct err *err)
{
	uint64_t said_ms = now_ms();
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(
	    d->db, "SELECT position, stream, seq, sum, bytes FROM log ORDER BY position", -1, &st, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct slice bytes = column(st, 4);
		struct store_event e = {.position = (uint64_t)sqlite3_column_int64(st, 0),
		    .stream = (uint64_t)sqlite3_column_int64(st, 1),
		    .seq = (uint64_t)sqlite3_column_int64(st, 2),
		    .len = (uint32_t)bytes.len};

		e.is_lost = (uint64_t)sqlite3_column_int64(st, 3) != sum_event(e.position, e.stream, e.seq, bytes);
		rc = index_add(x, &e, err) ? SQLITE_NOMEM : SQLITE_OK;
		if (x->count % EVENTS_PER_ASK == 0 && now_ms() - said_ms >= PROGRESS_MS) {
			LOG(INFO, "store.recovering", "events=%zu bytes=%" PRIu64, x->count, x->bytes);
			said_ms = now_ms();
		}
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return SQLITE_OK;
	fail(d, rc, "read", err);
	return rc;
}

/* keeper NULL: only looks whether they can be read. lost: counts those that have changed. */
static int load_objects(struct disk *d, const struct store_keeper *keeper, size_t *lost, struct err *err)
{
	sqlite3_stmt *st = NULL;
	int rc =
	    sqlite3_prepare_v2(d->db, "SELECT kind, key, sum, value FROM object ORDER BY kind, key", -1, &st, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		enum store_kind kind = (enum store_kind)sqlite3_column_int(st, 0);
		struct slice key = column(st, 1), value = column(st, 3);

		rc = SQLITE_OK;
		if ((uint64_t)sqlite3_column_int64(st, 2) == sum_object(kind, key, value)) {
			if (keeper)
				keeper->object(keeper->arg, kind, key, value);
			continue;
		}
		++*lost;
		if (keeper && disk_del(d, kind, key, err))
			rc = SQLITE_IOERR;
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return SQLITE_OK;
	fail(d, rc, "read", err);
	return rc;
}

static void read_boot_id(char out[BOOT_ID_SIZE])
{
	int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? 0 : read(fd, out, BOOT_ID_SIZE - 1);

	if (fd != -1)
		close(fd);
	out[n > 0 ? strcspn(out, "\n") < (size_t)n ? strcspn(out, "\n") : (size_t)n : 0] = '\0';
}

/* What was committed and is not there any more, though no machine went down. */
static bool has_lost_commits(struct disk *d)
{
	char *path = mem_alloc(1, strlen(d->path) + 8);
	sqlite3_stmt *st = NULL;
	int frames = 0, rc = sqlite3_prepare_v2(d->db, "PRAGMA wal_checkpoint(PASSIVE)", -1, &st, NULL);
	bool has_lost;

	if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
		frames = sqlite3_column_int(st, 1);
	sqlite3_finalize(st);
	if (!path)
		return true; /* it can't be told */
	snprintf(path, strlen(d->path) + 8, "%s-wal", d->path);
	has_lost = wal_has_more(path, frames > 0 ? (uint64_t)frames : 0);
	if (has_lost)
		LOG(ERROR, "store.damaged", "file=\"%s\" lost=\"what was committed last\" do=\"look at the disk\"",
		    path);
	mem_free(path);
	return has_lost;
}

/* Those of before, with where they end. The boot of each tells whether anything of it may have been lost since. */
static int load_epochs(struct disk *d, const char *boot, bool has_lost, struct disk_loaded *l)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->db,
	    "SELECT epoch, first, boot, is_synced FROM (SELECT * FROM epoch ORDER BY epoch DESC LIMIT ?) ORDER BY "
	    "epoch",
	    -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int(st, 1, DISK_EPOCHS_MAX);
	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		uint64_t first = (uint64_t)sqlite3_column_int64(st, 1);
		const char *then = (const char *)sqlite3_column_text(st, 2);

		if (l->epochs_count > 0)
			l->epochs[l->epochs_count - 1].end = first;
		l->epochs[l->epochs_count++] = (struct store_epoch){
		    .epoch = (uint64_t)sqlite3_column_int64(st, 0),
		    .is_whole =
			!has_lost && (sqlite3_column_int(st, 3) || (boot[0] && then && strcmp(boot, then) == 0)),
		};
		if (first > l->next_position)
			l->next_position = first;
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* On the disk before anybody hears of it. */
static int begin_epoch(struct disk *d, bool has_lost, struct disk_loaded *l, struct err *err)
{
	char boot[BOOT_ID_SIZE];
	sqlite3_stmt *st = NULL;
	int rc;

	read_boot_id(boot);
	rc = load_epochs(d, boot, has_lost, l);
	if (l->epochs_count > 0) {
		l->epochs[l->epochs_count - 1].end = l->next_position;
		if (l->epoch <= l->epochs[l->epochs_count - 1].epoch)
			l->epoch = l->epochs[l->epochs_count - 1].epoch + 1;
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(
		    d->db, "INSERT INTO epoch(epoch, first, boot, is_synced) VALUES(?, ?, ?, ?)", -1, &st, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_bind_int64(st, 1, (int64_t)l->epoch);
		sqlite3_bind_int64(st, 2, (int64_t)l->next_position);
		sqlite3_bind_text(st, 3, boot, -1, SQLITE_STATIC);
		sqlite3_bind_int(st, 4, d->sync_each);
		rc = sqlite3_step(st);
		rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_OK)
		rc = exec(d,
		    "DELETE FROM epoch WHERE epoch NOT IN (SELECT epoch FROM epoch ORDER BY epoch DESC LIMIT 64)",
		    NULL);
	return rc == SQLITE_OK ? disk_sync(d, err) : fail(d, rc, "begin an epoch in", err);
}

/* A row that has changed is of no use to anybody. */
static int forget_lost(struct disk *d, const struct index *x, struct err *err)
{
	if (disk_begin(d, err))
		return -1;
	for (size_t i = 0; i < x->count; i++) {
		if (x->events[i].is_lost && disk_forget(d, x->events[i].position, err))
			return -1;
	}
	return disk_commit(d, err);
}

int disk_load(struct disk *d, const struct store_keeper *keeper, struct disk_loaded *l, struct err *err)
{
	size_t lost_objects = 0;
	struct index x = {0};
	struct err why = {0};
	bool has_lost = has_lost_commits(d); /* before anything is written */
	int rc, ret = -1;

	rc = load_events(d, &x, &why);
	if (rc == SQLITE_OK)
		rc = load_objects(d, NULL, &lost_objects, &why);
	if (is_corrupt(rc)) {
		mem_free(x.events);
		x = (struct index){0};
		lost_objects = 0;
		if (set_aside(d, why.msg, err))
			return -1;
	} else if (rc != SQLITE_OK) {
		if (err)
			*err = why;
		goto out;
	}
	*l = (struct disk_loaded){.epoch = clock_ms(CLOCK_REALTIME), .bytes = x.bytes};
	l->next_position = x.count ? x.events[x.count - 1].position + 1 : 1;
	if (begin_epoch(d, has_lost, l, err) || (x.lost && forget_lost(d, &x, err)))
		goto out;
	if (x.lost || lost_objects)
		LOG(ERROR, "store.damaged",
		    "file=\"%s\" events_lost=%zu objects_lost=%zu do=\"look at the disk: bytes have changed on it\"",
		    d->path, x.lost, lost_objects);
	lost_objects = 0;
	if (load_objects(d, keeper, &lost_objects, err) != SQLITE_OK)
		goto out;
	for (size_t i = 0; i < x.count; i++) {
		if (x.events[i].is_lost)
			l->bytes -= x.events[i].len;
		keeper->event(keeper->arg, &x.events[i]);
	}
	ret = 0;
out:
	mem_free(x.events);
	return ret;
}
