/* broker/store_disk.h - the file of the durable store: an SQLite database of one connection, used by one thread at a
 * time.
 *
 * Three tables: log (events, by position), object (by kind and key), epoch (by number). Every row has a checksum, for
 * SQLite has none. A file that can't be read is set aside under another name, never deleted. */
#ifndef MCP_BROKER_STORE_DISK_H
#define MCP_BROKER_STORE_DISK_H

#include "broker/store.h"

#define DISK_EPOCHS_MAX 64 /* that are remembered */

struct disk;
struct joints;

struct disk_loaded {
	uint64_t epoch;         /* of this start */
	uint64_t next_position; /* of its first event */
	uint64_t bytes;         /* of all events */
	struct store_epoch epochs[DISK_EPOCHS_MAX];
	size_t epochs_count;
};

/* Makes dir and file, locks them; lock_fd, which is taken, if it isn't 0, has the lock of dir. sync_each: a commit is
 * on the disk, else in the system until disk_sync(). NULL: *err.
 */
struct disk *disk_open(const char *dir, bool sync_each, int lock_fd, struct err *err);
int disk_lock_fd(const struct disk *d);
void disk_close(struct disk **dp);

/* Reads all that is there, begins a new epoch, then hands it to the keeper; joints, which is empty, knows by then what
 * several streams have. */
int disk_load(struct disk *d, const struct store_keeper *keeper, struct joints *joints, struct disk_loaded *loaded,
    struct err *err);

/* In the place of disk_load(), for who goes on in the epoch that was begun last: what was committed in it may not be on
 * the disk yet, and from now on need not be. */
int disk_resume(struct disk *d, struct err *err);
/* What a new file has of an old one's log: positions up to first_end, and those from begin to end, if end isn't 0. */
struct disk_copied {
	uint64_t first_end, begin, end;
};
/* Sets the file aside and begins a new one with all that can be read of its log, and no objects. -1: neither is there;
 * to be tried again. */
int disk_renew(
    struct disk *d, const struct disk_loaded *loaded, const char *why, struct disk_copied *copied, struct err *err);

/* One transaction: begin, any number of changes, commit. Each says -1 and *err when it failed; then disk_undo(). */
int disk_begin(struct disk *d, struct err *err);
int disk_append(struct disk *d, uint64_t position, uint64_t stream, uint64_t seq, struct slice event, struct err *err);
int disk_forget(struct disk *d, uint64_t position, struct err *err);
int disk_put(struct disk *d, enum store_kind kind, struct slice key, struct slice value, struct err *err);
int disk_del(struct disk *d, enum store_kind kind, struct slice key, struct err *err);
int disk_commit(struct disk *d, struct err *err);
void disk_undo(struct disk *d);

/* Whether what failed last says that the file is damaged, not only that it can't be written now. */
bool disk_is_damaged(const struct disk *d);

/* What was committed is on the disk. -1: nobody knows what is. A system that could not write a page takes it for
 * written from then on, so a later success would say nothing: the file is not to be trusted any more. */
int disk_sync(struct disk *d, struct err *err);
/* Writes the WAL back, if it is long enough. Only after disk_sync(). -1: to be tried again. */
bool disk_is_due(const struct disk *d);
int disk_write_back(struct disk *d, struct err *err);

/* Lends the bytes of an event until disk_read_end(), which comes soon: meanwhile the WAL can't be begun anew. */
enum disk_found {
	DISK_FOUND,
	DISK_DAMAGED,    /* it is not there as it was written */
	DISK_UNREADABLE, /* the disk does not give it */
	DISK_NOT_NOW     /* no memory */
};
enum disk_found disk_read(struct disk *d, uint64_t position, struct slice *event, struct err *err);
void disk_read_end(struct disk *d);

#endif
