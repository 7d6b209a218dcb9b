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

enum { BEGIN = 1, END = 3, PARAMS = 4, STDOUT = 6, STDERR = 7, VALUES_RESULT = 10, UNKNOWN_TYPE = 11 };

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

/* libfcgi ends the process by an assertion when a parameter's length is absurd (doc/threat-model.md, G): not ours to
 * find again. */
static bool is_survivable(const uint8_t *data, size_t size)
{
	static uint8_t params[INPUT_MAX];
	size_t len = 0, at = 0;

	while (size >= RECORD_LEN) {
		size_t content = record_content(data), whole = RECORD_LEN + content + data[6];

		content = content < size - RECORD_LEN ? content : size - RECORD_LEN;
		if (data[1] == PARAMS) {
			memcpy(params + len, data + RECORD_LEN, content);
			len += content;
		}
		whole = whole < size ? whole : size;
		data += whole;
		size -= whole;
	}
	while (at < len) {
		size_t both = 0;

		for (int i = 0; i < 2 && at < len; i++) {
			if (params[at] < 0x80) {
				both += params[at++];
			} else if (len - at < 4 || params[at] > 0x80 || params[at + 1]) {
				return false;
			} else {
				both += (size_t)params[at + 2] << 8 | params[at + 3];
				at += 4;
			}
		}
		at += both;
	}
	return true;
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
