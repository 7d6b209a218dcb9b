/* common/util.h - the few things that every file needs: slices, attributes, clocks, descriptors, die(). */
#ifndef MCP_COMMON_UTIL_H
#define MCP_COMMON_UTIL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN	  __attribute__((noreturn))
#define FALLTHROUGH	  __attribute__((fallthrough)) /* clang doesn't take a comment for it */
#define COUNT_OF(a)	  (sizeof(a) / sizeof((a)[0]))

/* Borrowed bytes: never freed, never outlive their owner, need no NUL. */
struct slice {
	const char *p;
	size_t len;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})

static inline struct slice slice_str(const char *s) /* NULL is the empty slice */
{
	return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

static inline uint64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Milliseconds of CLOCK_MONOTONIC: the same in every process of a host, untouched by clock steps. */
static inline uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* From now until end_ms, for poll(); -1 without an end (UINT64_MAX). */
static inline int ms_until(uint64_t end_ms, uint64_t now)
{
	if (end_ms == UINT64_MAX)
		return -1;
	if (end_ms <= now)
		return 0;
	return end_ms - now > INT_MAX ? INT_MAX : (int)(end_ms - now);
}

/* The same clock, for how long something took. */
static inline uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline void fd_close(int *fd) /* -1: it is closed */
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/* A bug of ours: says where and aborts. Never for anything that a peer can cause. */
void die(const char *file, int line, const char *what) NORETURN;
#define DIE_UNLESS(claim) ((claim) ? (void)0 : die(__FILE__, __LINE__, #claim))

#endif
