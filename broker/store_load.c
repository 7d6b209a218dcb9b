/* broker/store_load.c - what an earlier start has left in the file: read, checked, handed to the keeper. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/store_disk_priv.h"
#include "broker/store_joint.h"
#include "broker/store_sum.h"
#include "broker/store_wal.h"
#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define PROGRESS_MS    1000
#define BOOT_ID_FILE   "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_SIZE   40
#define EVENTS_PER_ASK 1024 /* between two looks at the clock */

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

/* Those of a row. */
static int index_add_row(struct index *x, struct store_event e, struct slice bytes, struct err *err)
{
	struct slice places = joint_cut_places(e.seq, &bytes);
	bool bad = false;

	e.len = (uint32_t)bytes.len;
	if (places.len == 0) {
		if (e.seq > INT64_MAX) /* it was of several, and nobody can say of which */
			e.stream = e.seq = 0;
		return index_add(x, &e, err);
	}
	while (places.len > 0) {
		e.stream = link_get_u64(&places, &bad);
		e.seq = link_get_u64(&places, &bad);
		if (index_add(x, &e, err))
			return -1;
	}
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
		struct slice bytes = disk_column(st, 4);
		struct store_event e = {.position = (uint64_t)sqlite3_column_int64(st, 0),
		    .stream = (uint64_t)sqlite3_column_int64(st, 1),
		    .seq = (uint64_t)sqlite3_column_int64(st, 2)};

		e.is_lost = (uint64_t)sqlite3_column_int64(st, 3) != sum_event(e.position, e.stream, e.seq, bytes);
		rc = index_add_row(x, e, bytes, err) ? SQLITE_NOMEM : SQLITE_OK;
		if (x->count % EVENTS_PER_ASK == 0 && now_ms() - said_ms >= PROGRESS_MS) {
			LOG(INFO, "store.recovering", "events=%zu bytes=%" PRIu64, x->count, x->bytes);
			said_ms = now_ms();
		}
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return SQLITE_OK;
	disk_fail(d, rc, "read", err);
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
		struct slice key = disk_column(st, 1), value = disk_column(st, 3);

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
	disk_fail(d, rc, "read", err);
	return rc;
}

/* A page can lose rows without becoming unreadable: SQLite looks only when it is asked. */
static int check_pages(struct disk *d, struct err *err)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(d->db, "PRAGMA quick_check(1)", -1, &st, NULL);
	const char *text = NULL;

	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		text = (const char *)sqlite3_column_text(st, 0);
	if (text && strcmp(text, "ok") != 0) {
		err_set(err, ERR_SYS, "check %s: %s", d->path, text);
		rc = SQLITE_CORRUPT;
	} else if (rc == SQLITE_ROW) {
		rc = SQLITE_OK;
	} else {
		disk_fail(d, rc, "check", err);
	}
	sqlite3_finalize(st);
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

/* The last broker did not close the file: so there must be a WAL. */
static bool misses_wal(struct disk *d)
{
	int64_t flags = DISK_EPOCH_CLOSED;

	return disk_exec(d, "SELECT is_synced FROM epoch ORDER BY epoch DESC LIMIT 1", &flags) == SQLITE_OK &&
	       !(flags & DISK_EPOCH_CLOSED) && !d->had_wal;
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
	has_lost = wal_has_more(path, frames > 0 ? (uint64_t)frames : 0) || misses_wal(d);
	if (has_lost)
		LOG(ERROR, "store.damaged", "file=\"%s\" lost=\"what was committed last\" do=\"look at the disk\"",
		    path);
	mem_free(path);
	return has_lost;
}

/* Those of before, with where they end. The boot of each tells whether anything of it may have been lost since. */
static int load_epochs(struct disk *d, const char *boot, struct disk_loaded *l)
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
			(sqlite3_column_int(st, 3) & DISK_EPOCH_SYNCED) || (boot[0] && then && strcmp(boot, then) == 0),
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
	int rc = SQLITE_OK;

	read_boot_id(boot);
	if (has_lost) /* of none of them can anybody say any more that it is whole, at no later start */
		rc = disk_exec(d, "UPDATE epoch SET is_synced = 0, boot = ''", NULL);
	if (rc == SQLITE_OK)
		rc = load_epochs(d, boot, l);
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
		sqlite3_bind_int(st, 4, d->sync_each ? DISK_EPOCH_SYNCED : 0);
		rc = sqlite3_step(st);
		rc = rc == SQLITE_DONE ? SQLITE_OK : rc;
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_OK)
		rc = disk_exec(d,
		    "DELETE FROM epoch WHERE epoch NOT IN (SELECT epoch FROM epoch ORDER BY epoch DESC LIMIT 64)",
		    NULL);
	d->has_epoch = rc == SQLITE_OK;
	return rc == SQLITE_OK ? disk_sync(d, err) : disk_fail(d, rc, "begin an epoch in", err);
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

/* All of them, before the first is handed over and may be forgotten. */
static int count_joints(const struct index *x, struct joints *joints, struct err *err)
{
	for (size_t i = 1; i < x->count; i++) {
		const struct store_event *e = &x->events[i];

		if (e->position == e[-1].position && !e->is_lost && joints_add(joints, e->position, 1))
			return err_set(err, ERR_NOMEM, "events that several streams have");
	}
	return 0;
}

int disk_load(
    struct disk *d, const struct store_keeper *keeper, struct joints *joints, struct disk_loaded *l, struct err *err)
{
	size_t lost_objects = 0;
	struct index x = {0};
	struct err why = {0};
	bool has_lost = has_lost_commits(d); /* before anything is written */
	int rc, ret = -1;

	rc = check_pages(d, &why);
	if (rc == SQLITE_OK)
		rc = load_events(d, &x, &why);
	if (rc == SQLITE_OK)
		rc = load_objects(d, NULL, &lost_objects, &why);
	if (disk_is_corrupt(rc)) {
		mem_free(x.events);
		x = (struct index){0};
		lost_objects = 0;
		if (disk_begin_anew(d, why.msg, err))
			return -1;
	} else if (rc != SQLITE_OK) {
		if (err)
			*err = why;
		goto out;
	}
	*l = (struct disk_loaded){.epoch = clock_ms(CLOCK_REALTIME), .bytes = x.bytes};
	l->next_position = x.count ? x.events[x.count - 1].position + 1 : 1;
	if (begin_epoch(d, has_lost, l, err) || (x.lost && forget_lost(d, &x, err)) || count_joints(&x, joints, err))
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

int disk_resume(struct disk *d, struct err *err)
{
	int rc;

	rc = disk_exec(d,
	    d->sync_each ? "UPDATE epoch SET is_synced = is_synced & 1 WHERE epoch = (SELECT max(epoch) FROM epoch)"
			 : "UPDATE epoch SET is_synced = 0 WHERE epoch = (SELECT max(epoch) FROM epoch)",
	    NULL);
	d->has_epoch = rc == SQLITE_OK;
	return rc != SQLITE_OK ? disk_fail(d, rc, "go on in", err) : d->sync_each ? disk_sync(d, err) : 0;
}
