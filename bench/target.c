#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/banned.h"

#define FILE_MAX (16u << 20)

void target_init(struct target *t)
{
	*t = (struct target){.addr.sin_family = AF_INET};
	buf_init(&t->headers, 65536);
	buf_init(&t->file, FILE_MAX);
}

void target_release(struct target *t)
{
	buf_release(&t->headers);
	buf_release(&t->file);
}

int target_set_url(struct target *t, const char *url, struct err *err)
{
	char name[48];
	unsigned port;

	if (sscanf(url, "http://%47[^:/]:%u%255s", name, &port, t->path) != 3 || port == 0 || port > 65535 ||
	    t->path[0] != '/')
		return err_set(err, ERR_PARAMS, "%s: a URL like http://127.0.0.1:8080/mcp is needed", url);
	snprintf(t->host, sizeof(t->host), "%s:%u", name, port);
	t->addr.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, strcmp(name, "localhost") == 0 ? "127.0.0.1" : name, &t->addr.sin_addr) != 1)
		return err_set(err, ERR_PARAMS, "%s: the host must be an IPv4 address or localhost", url);
	return 0;
}

int file_read(const char *path, struct buf *out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;
	char *to;

	if (fd == -1)
		return err_sys(err, "open %s", path);
	while ((to = buf_reserve(out, 65536)) && (got = read(fd, to, 65536)) > 0)
		out->len += (size_t)got;
	if (to && got == -1)
		err_sys(err, "read %s", path);
	close(fd);
	return to ? (int)got : buf_check(out, err);
}

int target_load_file(struct target *t, const char *path, struct err *err)
{
	if (file_read(path, &t->file, err))
		return -1;
	while (t->file.len > 0 && t->file.data[t->file.len - 1] == '\n')
		t->file.len--;
	return 0;
}

void target_add_headers(const struct target *t, size_t n, struct buf *out)
{
	const char *end = t->file.data + t->file.len, *p = t->file.data, *stop;

	buf_add_slice(out, buf_slice(&t->headers));
	if (t->file.len == 0)
		return;
	for (;; p = stop == end ? t->file.data : stop + 1) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (!stop)
			stop = end;
		if (n-- == 0)
			break;
	}
	buf_add(out, p, (size_t)(stop - p));
	buf_adds(out, "\r\n");
}

int target_connect(const struct target *t, struct err *err)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return err_sys(err, "socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (connect(fd, (const struct sockaddr *)&t->addr, sizeof(t->addr)) == -1 && errno != EINPROGRESS) {
		err_sys(err, "connect to %s", t->host);
		close(fd);
		return -1;
	}
	return fd;
}

long option_number(const char *text, const char *what, long min, long max)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < min || n > max) {
		fprintf(stderr, "%s: a number from %ld to %ld is needed, not \"%s\"\n", what, min, max, text);
		exit(2);
	}
	return n;
}

uint64_t option_seconds_us(const char *text, const char *what)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds >= 0.01 && seconds <= 86400)) {
		fprintf(stderr, "%s: seconds from 0.01 to 86400 are needed, not \"%s\"\n", what, text);
		exit(2);
	}
	return (uint64_t)(seconds * 1e6);
}
