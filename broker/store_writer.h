/* broker/store_writer.h - the thread that alone uses the store's file.
 *
 * It takes all batches that are there, makes one transaction of them, and gives them back. So a commit serves whatever
 * came while the one before was under way. Batches and reads belong to one thread at a time. Reads are served before
 * anything is written: an event that is forgotten later is still there.
 *
 * A file that turns out to be damaged, or of which nobody knows what is on the disk, is set aside, and a new one begun
 * (disk_renew). */
#ifndef MCP_BROKER_STORE_WRITER_H
#define MCP_BROKER_STORE_WRITER_H

#include "broker/store_batch.h"
#include "broker/store_disk.h"

struct writer;

/* disk is the thread's from now on. loaded is borrowed: of which epochs events may be. wake is called from it, when
 * writer_take() has become worth calling. sync_ms: how long after a commit it is on the disk; 0: the commit itself is,
 * or whenever the system likes. NULL: *err. */
struct writer *writer_start(struct disk *disk, const struct disk_loaded *loaded, uint64_t sync_ms,
    void (*wake)(void *arg), void *wake_arg, struct err *err);
/* Lists; both may be NULL. */
void writer_give(struct writer *w, struct batch *batch, struct store_op *reads);

struct writer_news {
	struct batch *done;     /* in the order in which they were given */
	struct store_op *reads; /* their status says whether they could be served */
	bool is_failing;
	/* The file was made anew. Nothing is written before a batch that has_all. */
	bool is_renewed;
	struct disk_copied copied;
};
bool writer_is_renewed(struct writer *w); /* the next news will say so */
void writer_take(struct writer *w, struct writer_news *news);

/* Commits what it was given, if it can; then the last news, and disk is the caller's again. */
void writer_stop(struct writer **wp, struct writer_news *news);

#endif
