/* Bytes on the worker's FastCGI socket, read by libfcgi and served as every request is, with fake tools and a fake
 * broker. Whatever they are, the worker answers each request once, in whole records, or has given its connection away;
 * and no call is left open. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fcgi/req_fcgi.h"
#include "tests/fuzz/target.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define INPUT_MAX  65536
#define RECORD_LEN 8

enum { END = 3, STDOUT = 6, STDERR = 7, VALUES_RESULT = 10, UNKNOWN_TYPE = 11 };

static struct site site;
static int listener = -1;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void clean_up(void)
{
	close(listener);
	unlink(address.sun_path);
	site_release(&site);
}

static void set_up(void)
{
	if (listener >= 0)
		return;
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/mcp-fuzz-fcgi.%d", (int)getpid());
	unlink(address.sun_path);
	listener =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* accept says so when nobody is left */
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    FCGX_Init())
		abort();
	site_init(&site);
	atexit(clean_up);
}

static size_t record_content(const uint8_t *record)
{
	return (size_t)record[4] << 8 | record[5];
}

/* libfcgi ends the process by an assertion when a parameter's length is absurd (doc/threat-model.md, G), and forgets
 * what it allocated for a management record that breaks off. Neither is ours to find again: no four bytes here are a
 * length of more than 64 KiB. */
static bool is_survivable(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (data[i] > 0x80 || (data[i] == 0x80 && (i + 1 == size || data[i + 1] != 0)))
			return false;
	}
	return true;
}

const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libfcgi.so";
}

/* All that came back: whole records; what is said on STDOUT begins with a status, and is ended. */
static void check_answer(const uint8_t *p, size_t size)
{
	bool is_open = false;

	while (size > 0) {
		size_t content, whole;

		if (size < RECORD_LEN || p[0] != 1)
			abort();
		content = record_content(p);
		whole = RECORD_LEN + content + p[6];
		if (whole > size)
			abort();
		switch (p[1]) {
		case STDOUT:
			if (!is_open && content > 0 && (content < 8 || memcmp(p + RECORD_LEN, "Status: ", 8) != 0))
				abort();
			is_open = true;
			break;
		case END:
			is_open = false;
			break;
		case STDERR:
		case VALUES_RESULT:
		case UNKNOWN_TYPE:
			break;
		default:
			abort();
		}
		p += whole;
		size -= whole;
	}
	if (is_open)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t answer[1 << 20];
	struct req_fcgi r;
	struct err err;
	size_t len = 0;
	ssize_t n;
	int fd;

	if (size > INPUT_MAX || !is_survivable(data, size))
		return 0;
	set_up();
	site_renew(&site);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size || shutdown(fd, SHUT_WR))
		abort();
	if (req_fcgi_init(&r, listener, &err))
		abort();
	while (req_fcgi_accept(&r, &err) == 0) {
		worker_serve(&site.w, &r.base, NULL, NULL);
		if (site.w.link->calls)
			abort();
	}
	FCGX_Free(&r.fcgx, 1);
	while (len < sizeof(answer) && (n = recv(fd, answer + len, sizeof(answer) - len, MSG_DONTWAIT)) != 0) {
		if (n < 0 && errno != ECONNRESET)
			abort(); /* it is still open */
		if (n < 0)
			break;
		len += (size_t)n;
	}
	check_answer(answer, len);
	close(fd);
	return 0;
}
