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

/* Reads all that is there, begins a new epoch, then hands it to the keeper. */
int disk_load(struct disk *d, const struct store_keeper *keeper, struct disk_loaded *loaded, struct err *err);

/* In the place of disk_load(), for who goes on in the epoch that was begun last: what was committed in it may not be on
 * the disk yet, and from now on need not be. */
int disk_resume(struct disk *d, struct err *err);

/* One transaction: begin, any number of changes, commit. Each says -1 and *err when it failed; then disk_undo(). */
int disk_begin(struct disk *d, struct err *err);
int disk_append(struct disk *d, uint64_t position, uint64_t stream, uint64_t seq, struct slice event, struct err *err);
int disk_forget(struct disk *d, uint64_t position, struct err *err);
int disk_put(struct disk *d, enum store_kind kind, struct slice key, struct slice value, struct err *err);
int disk_del(struct disk *d, enum store_kind kind, struct slice key, struct err *err);
int disk_commit(struct disk *d, struct err *err);
void disk_undo(struct disk *d);

/* What was committed is on the disk. */
int disk_sync(struct disk *d, struct err *err);

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
