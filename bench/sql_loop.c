/* bench/sql_loop - what SQLite can do at most: one prepared query for a row, by number, in a loop of one thread.
 *
 *   sql_loop DATABASE QUERY SECONDS     the query has one parameter, which goes from 1 to 1000 over and over
 *
 * Prints "rate N": rows found a second. */
#include "config.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/target.h"
#include "common/util.h"
#include "common/banned.h"

#define KEYS 1000

static void fail(sqlite3 *db, const char *what)
{
	fprintf(stderr, "sql_loop: %s: %s\n", what, db ? sqlite3_errmsg(db) : "no memory");
	exit(1);
}

/* Reads all columns of the row as text, as whoever answers with it has to. */
static size_t run_once(sqlite3 *db, sqlite3_stmt *stmt, int key)
{
	size_t bytes = 0;

	if (sqlite3_bind_int(stmt, 1, key) != SQLITE_OK || sqlite3_step(stmt) != SQLITE_ROW)
		fail(db, "no row");
	for (int i = 0; i < sqlite3_column_count(stmt); i++) {
		if (sqlite3_column_text(stmt, i))
			bytes += (size_t)sqlite3_column_bytes(stmt, i);
	}
	sqlite3_reset(stmt);
	return bytes;
}

int main(int argc, char **argv)
{
	uint64_t begun_us, end_us, count = 0;
	sqlite3_stmt *stmt;
	size_t bytes = 0;
	sqlite3 *db;

	if (argc != 4) {
		fprintf(stderr, "usage: sql_loop DATABASE QUERY SECONDS\n");
		return 2;
	}
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
		fail(db, argv[1]);
	if (sqlite3_prepare_v2(db, argv[2], -1, &stmt, NULL) != SQLITE_OK)
		fail(db, argv[2]);
	begun_us = now_us();
	end_us = begun_us + option_seconds_us(argv[3], "SECONDS");
	while (now_us() < end_us) {
		for (int key = 1; key <= KEYS; key++)
			bytes += run_once(db, stmt, key);
		count += KEYS;
	}
	printf("rate %.0f bytes %zu\n", (double)count * 1e6 / (double)(now_us() - begun_us), bytes);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return 0;
}
