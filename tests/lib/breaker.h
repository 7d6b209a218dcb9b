/* tests/lib/breaker.h - system calls that fail, or kill their process, when another process says so.
 *
 * breaker.c is linked into tests/fault/mcp-broker, which else is mcp-broker: its symbols come before those of libc, for
 * SQLite too. It looks at the file that MCP_BREAKER names, which the test maps as well: so a fault can be ordered, and
 * taken back, at any moment, and what was called is counted. */
#ifndef MCP_TESTS_BREAKER_H
#define MCP_TESTS_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/broker_fixture.h"

enum breaker_call {
	BREAKER_WRITE_DB = 1,  /* pwrite() of broker.db */
	BREAKER_WRITE_WAL = 2, /* of its log */
	BREAKER_SYNC_DB = 4,   /* fsync(), fdatasync() */
	BREAKER_SYNC_WAL = 8,
	BREAKER_SYNC_DIR = 16,
	BREAKER_READ_DB = 32,
	BREAKER_SEND = 64,  /* send() to a client */
	BREAKER_FILE = 128, /* unlink(), rename(), ftruncate() of store's files */
	BREAKER_DISK =
	    BREAKER_WRITE_DB | BREAKER_WRITE_WAL | BREAKER_SYNC_DB | BREAKER_SYNC_WAL | BREAKER_SYNC_DIR | BREAKER_FILE,
};

enum breaker_act {
	BREAKER_FAIL,        /* with error */
	BREAKER_KILL_BEFORE, /* SIGKILL */
	BREAKER_KILL_MIDDLE, /* half of the bytes are written */
	BREAKER_KILL_AFTER,
};

struct breaker {
	_Atomic uint32_t calls; /* enum breaker_call, or'ed: those that count */
	_Atomic int act, error; /* what is done */
	_Atomic int64_t wait;   /* after so many of these calls; -1: never */
	_Atomic int64_t times;  /* of so many */
	_Atomic int64_t seen;   /* of these calls */
	_Atomic int inside;     /* calls of which it is being decided what becomes of them */
	_Atomic bool is_killed;
	_Atomic int64_t clock_ms; /* added to CLOCK_REALTIME */
};

/* A fixture whose broker can break; *b is mapped once for all tests of a program. */
int breaker_setup(void **state, struct breaker **b, const char *const *sets, size_t count);
void breaker_set(struct breaker *b, unsigned calls, enum breaker_act act, int error, int64_t wait, int64_t times);
/* Whether it has killed, or is about to. */
bool breaker_heal(struct breaker *b);

bool breaker_is_dead(const struct fixture *f);
/* One event, by APPEND or FINISH; returns its sequence. */
uint64_t breaker_send(struct fixture *f, enum link_type type, uint64_t call, uint64_t stream, const char *text);
/* Waits. False: the broker died instead; what came before it did counts. */
bool breaker_acked(struct fixture *f, uint64_t seq);

#endif
