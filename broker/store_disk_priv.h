/* broker/store_disk_priv.h - the database's connection: what store_disk.c (changes and reads), store_file.c (directory,
 * lock, the file's making) and store_load.c (recovery) share. */
#ifndef MCP_BROKER_STORE_DISK_PRIV_H
#define MCP_BROKER_STORE_DISK_PRIV_H

#include <sqlite3.h>

#include "broker/store_disk.h"

/* Of the column epoch.is_synced. */
enum disk_epoch_flag {
	DISK_EPOCH_SYNCED = 1, /* what was committed was on the disk */
	DISK_EPOCH_CLOSED = 2, /* all is in the one file: a WAL need not be there */
};

#define DISK_WAL_PAGES 4096 /* 16 MB of new pages are written back at a time */

enum disk_statement {
	DISK_BEGIN,
	DISK_COMMIT,
	DISK_ROLLBACK,
	DISK_APPEND,
	DISK_FORGET,
	DISK_PUT,
	DISK_DEL,
	DISK_READ,
	DISK_STATEMENTS
};

struct disk {
	sqlite3 *db;
	sqlite3_stmt *prepared[DISK_STATEMENTS];
	int lock_fd;
	bool sync_each, is_damaged;
	bool had_wal; /* when it was opened */
	bool has_epoch;
	int wal_pages; /* of which the file does not have all */
	char *path;    /* owned */
	char *aside;   /* owned: name of a file that was set aside, of which something is still to be copied; or NULL */
};

/* -1, *err says what and what is to be done about it. rc is SQLite's. */
int disk_fail(struct disk *d, int rc, const char *what, struct err *err);
bool disk_is_corrupt(int rc);

/* SQL that gives nothing, or one row with a number (may be NULL). These return SQLite's codes. */
int disk_exec(struct disk *d, const char *sql, int64_t *number);
int disk_prepare(struct disk *d);
void disk_finalize(struct disk *d);
struct slice disk_column(sqlite3_stmt *st, int i);

/* Gives the file another name, which "sqlite3 NAME .recover" reads, and makes a new one. */
int disk_set_aside(struct disk *d, const char *why, struct err *err);
int disk_begin_anew(struct disk *d, const char *why, struct err *err); /* the same, at a start: nothing comes back */
int disk_open_aside(struct disk *d, sqlite3 **db);                     /* SQLite's code */

#endif
