#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/banned.h"

#define LINE_MAX_LEN 2048

enum log_level log_level_max = LOG_LEVEL_INFO;
static const char *log_program = "mcp";
static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
static pthread_mutex_t rate_mtx = PTHREAD_MUTEX_INITIALIZER;

void log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_level_max = level;
}

bool log_parse_level(const char *name, enum log_level *level)
{
	for (int i = 0; i < LOG_LEVEL__COUNT; i++) {
		if (strcasecmp(name, names[i]) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	int saved = errno;
	struct timespec ts;
	struct tm tm;
	va_list ap;
	size_t len, body;
	ssize_t ignored;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03ldZ %s %s[%d] %s%s", ts.tv_nsec / 1000000,
	    names[level], log_program, (int)getpid(), event, fmt[0] ? " " : "");
	body = len;
	va_start(ap, fmt);
	if (len < sizeof(line))
		vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	len = strnlen(line, sizeof(line) - 2);
	for (size_t i = body; i < len; i++) { /* the words of an error may hold a peer's */
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len++] = '\n';
	ignored = write(STDERR_FILENO, line, len); /* a log that can't be written has nowhere to complain */
	(void)ignored;
	errno = saved;
}

const char *log_quote(char *out, size_t size, struct slice s)
{
	size_t used = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';

		if (size - used < 4 + 4) { /* room for one escape, or for the dots, and the NUL */
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		if (plain)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, size - used, "\\x%02x", c);
	}
	out[used] = '\0';
	return out;
}

bool log_rate_ok(struct log_rate *rate, unsigned limit_count, uint64_t window_ms, unsigned *dropped)
{
	uint64_t now = now_ms();
	bool ok;

	pthread_mutex_lock(&rate_mtx);
	if (now - rate->window_start_ms >= window_ms) {
		rate->window_start_ms = now;
		rate->count = 0;
	}
	ok = rate->count < limit_count;
	*dropped = 0;
	if (ok) {
		rate->count++;
		*dropped = rate->dropped;
		rate->dropped = 0;
	} else {
		rate->dropped++;
	}
	pthread_mutex_unlock(&rate_mtx);
	return ok;
}

void die(const char *file, int line, const char *what)
{
	log_line(LOG_LEVEL_ERROR, "bug", "at=%s:%d what=\"%s\"", file, line, what);
	abort();
}
