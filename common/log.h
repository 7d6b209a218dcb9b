/* common/log.h - one line per event, to stderr (or syslog's format under systemd, which adds the time itself).
 *
 *     2026-11-21T10:00:00.123Z WARN mcp-worker[4711] request.refused status=403 why="Origin http://evil"
 *
 * A dotted event name, then key=value. Values from a peer go through log_quote() first; control characters that get in
 * all the same become '?'. Never log bodies, tokens, or headers that we did not choose. Levels by reader: ERROR wakes
 * someone, WARN is a peer or a limit, INFO is life cycle, DEBUG is for us. Safe from any thread; a line is one write().
 * Keeps errno. */
#ifndef MCP_COMMON_LOG_H
#define MCP_COMMON_LOG_H

#include "common/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL__COUNT };

void log_init(const char *program, enum log_level level); /* program is borrowed for ever */
bool log_parse_level(const char *name, enum log_level *level); /* "error" .. "debug" */
void log_line(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

extern enum log_level log_level_max; /* set by log_init() before any thread starts, read by LOG */

#define LOG(level, ...)                                                                                               \
	do {                                                                                                          \
		if (LOG_LEVEL_##level <= log_level_max)                                                               \
			log_line(LOG_LEVEL_##level, __VA_ARGS__);                                                     \
	} while (0)

/* Copies s into out (size bytes, always terminated) with everything outside printable ASCII, and '"' and '\', as
 * \xHH; cut with "..." when too long. Returns out. */
const char *log_quote(char *out, size_t size, struct slice s);

/* For lines that a peer can provoke: true at most limit_count times in each window_ms; when it turns true again,
 * *dropped says how many were not logged since. The struct starts zeroed and may be static; safe from any thread. */
struct log_rate {
	uint64_t window_start_ms;
	unsigned count, dropped;
};
bool log_rate_ok(struct log_rate *rate, unsigned limit_count, uint64_t window_ms, unsigned *dropped);

#endif
