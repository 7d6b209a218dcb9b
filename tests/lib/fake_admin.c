#include "config.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/link.h"
#include "tests/lib/fake_admin.h"
#include "tests/lib/fake_worker.h"
#include "tests/lib/prometheus.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define ANSWER_MAX (1 << 24)

int fake_admin_connect(const char *run_dir)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/" LINK_ADMIN_NAME, run_dir);
	assert_int_not_equal(fd, -1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

void fake_admin_read(int fd, struct buf *out)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	buf_init(out, ANSWER_MAX);
	do {
		char *room = buf_reserve(out, 65536);

		assert_non_null(room);
		if (poll(&p, 1, 2 * FAKE_WAIT_MS) != 1)
			fail_msg("no answer");
		n = recv(fd, room, 65535, 0);
		assert_true(n >= 0);
		out->len += (size_t)n;
		out->data[out->len] = '\0';
	} while (n > 0);
	close(fd);
}

void fake_admin_ask_raw(const char *run_dir, struct slice request, struct buf *out)
{
	int fd = fake_admin_connect(run_dir);

	assert_int_equal(send(fd, request.p, request.len, MSG_NOSIGNAL), request.len);
	fake_admin_read(fd, out);
}

int fake_admin_ask(const char *run_dir, const char *method, const char *path, struct buf *out, const char **body)
{
	char request[256];

	snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", method, path);
	fake_admin_ask_raw(run_dir, slice_str(request), out);
	assert_true(strncmp(out->data, "HTTP/1.0 ", 9) == 0);
	*body = strstr(out->data, "\r\n\r\n");
	assert_non_null(*body);
	*body += 4;
	return (int)strtol(out->data + 9, NULL, 10);
}

double fake_admin_metric(const char *run_dir, const char *sample)
{
	const char *body;
	struct buf out;
	char name[256];
	double value;

	assert_int_equal(fake_admin_ask(run_dir, "GET", "/metrics", &out, &body), 200);
	snprintf(name, sizeof(name), "mcp_%s", sample);
	value = prometheus_value(body, name);
	buf_release(&out);
	return value;
}
