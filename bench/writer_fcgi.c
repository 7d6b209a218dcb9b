/* bench/writer_fcgi - what a broker can do at most: one process with epoll that writes events to the connections of a
 * web server itself, as bench/link_publish does through the broker. No log, no sessions, no ids.
 *
 * A request whose query is bench=RATE,COUNT writes COUNT events, each to one of the open streams, RATE a second (0: as
 * fast as they are taken); with bench=RATE,COUNT,all each goes to all of them. It takes those options of mcp-worker
 * that concern it, so that tests/serve can run it in its place. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/mem.h"
#include "common/banned.h"

#define FDS_MAX      65536
#define REQUEST_MAX  16384
#define RECORD_HEAD  8
#define STDIN_RECORD 5
#define ONE_MAX      256 /* events in a row, each to one stream, then we look whether there are requests */
#define ALL_MAX      16  /* the same when they go to all */
#define PATIENCE_MS  10000

struct writer {
	int epoll_fd, listen_fd;
	struct buf *requests; /* owned; by descriptor, until they are whole */
	int *streams;         /* owned */
	size_t open;
	bool to_all;
	uint64_t rate, count, sent, from_us; /* what was asked for last, and since when it is done */
};

/* A record of type with text as its content. */
static void put_record(struct buf *out, unsigned type, struct slice text)
{
	unsigned char head[RECORD_HEAD] = {
	    1, (unsigned char)type, 0, 1, (unsigned char)(text.len >> 8), (unsigned char)text.len};

	buf_add(out, (const char *)head, sizeof(head));
	buf_add_slice(out, text);
}

/* Whether the request is all there: its empty STDIN record. */
static bool is_whole(const struct buf *request)
{
	const unsigned char *p = (const unsigned char *)request->data;

	for (size_t at = 0; at + RECORD_HEAD <= request->len;) {
		size_t len = (size_t)p[at + 4] << 8 | p[at + 5];

		if (p[at + 1] == STDIN_RECORD && len == 0)
			return true;
		at += RECORD_HEAD + len + p[at + 6];
	}
	return false;
}

/* What the query of the request asks for, if it is one that asks. */
static void read_order(struct writer *w, const struct buf *request)
{
	static const char mark[] = "bench=";
	const char *at = memmem(request->data, request->len, mark, sizeof(mark) - 1);
	uint64_t rate, count;
	char all = 0;

	if (!at || sscanf(at + sizeof(mark) - 1, "%" SCNu64 ",%" SCNu64 ",%c", &rate, &count, &all) < 2)
		return;
	w->rate = rate;
	w->count = count;
	w->to_all = all == 'a';
	w->sent = 0;
	w->from_us = now_us();
}

static void answer(struct writer *w, int fd, const struct buf *request)
{
	static const char sse[] = "text/event-stream", end[RECORD_HEAD] = {0};
	bool is_stream = memmem(request->data, request->len, sse, sizeof(sse) - 1);
	struct buf out;

	read_order(w, request);
	buf_init(&out, 1024);
	if (is_stream) {
		put_record(&out, 6, SLICE("Content-Type: text/event-stream\r\n\r\n: \n\n"));
	} else {
		put_record(&out, 6, SLICE("Content-Type: application/json\r\n\r\n{}"));
		put_record(&out, 6, SLICE(""));
		put_record(&out, 3, (struct slice){end, sizeof(end)});
	}
	if (send(fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len || !is_stream)
		close(fd);
	else
		w->streams[w->open++] = fd;
	buf_release(&out);
}

static void on_accept(struct writer *w)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int fd;

	while ((fd = accept4(w->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1 && fd < FDS_MAX) {
		ev.data.fd = fd;
		buf_init(&w->requests[fd], REQUEST_MAX);
		if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
			close(fd);
	}
}

static void on_request(struct writer *w, int fd)
{
	struct buf *request = &w->requests[fd];
	char *to = buf_reserve(request, 4096);
	ssize_t got = to ? recv(fd, to, 4096, 0) : 0;

	if (got == -1 && errno == EAGAIN)
		return;
	if (got > 0) {
		request->len += (size_t)got;
		if (!is_whole(request))
			return;
	}
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	if (got > 0)
		answer(w, fd, request);
	else
		close(fd);
	buf_release(request);
}

/* All of it: the web server takes it sooner or later, or is gone. */
static void write_all(int fd, const struct buf *text)
{
	struct pollfd writable = {fd, POLLOUT, 0};
	size_t done = 0;

	while (done < text->len) {
		ssize_t put = send(fd, text->data + done, text->len - done, MSG_NOSIGNAL);

		if (put > 0)
			done += (size_t)put;
		else if (errno != EAGAIN || poll(&writable, 1, PATIENCE_MS) <= 0)
			return; /* whoever counts the events will say so */
	}
}

static void put_event(struct buf *out)
{
	char text[512], event[256];
	int len;

	snprintf(event, sizeof(event), BENCH_EVENT, now_us());
	len = snprintf(text, sizeof(text), "data: %s\n\n", event);
	put_record(out, 6, (struct slice){text, (size_t)len});
}

/* Each to one stream, or those that are due to all, at a time as one write to each. */
static void write_due(struct writer *w)
{
	uint64_t due = w->rate ? (now_us() - w->from_us) * w->rate / 1000000 + 1 : w->count;
	uint64_t most = w->to_all ? ALL_MAX : ONE_MAX, until = w->sent + most;
	struct buf out;

	if (due > w->count)
		due = w->count;
	if (until > due)
		until = due;
	buf_init(&out, 65536);
	while (w->open > 0 && w->sent < until) {
		put_event(&out);
		if (!w->to_all) {
			write_all(w->streams[w->sent % w->open], &out);
			buf_clear(&out);
		}
		w->sent++;
	}
	for (size_t i = 0; out.len > 0 && i < w->open; i++)
		write_all(w->streams[i], &out);
	buf_release(&out);
}

static void run(struct writer *w)
{
	struct epoll_event ready[256], ev = {.events = EPOLLIN, .data.fd = w->listen_fd};

	epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->listen_fd, &ev);
	for (;;) {
		bool is_done = w->sent == w->count;
		int count = epoll_wait(w->epoll_fd, ready, COUNT_OF(ready), is_done ? 100 : w->rate ? 1 : 0);

		for (int i = 0; i < count; i++) {
			if (ready[i].data.fd == w->listen_fd)
				on_accept(w);
			else
				on_request(w, ready[i].data.fd);
		}
		write_due(w);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	if (fd == -1 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 1024)) {
		perror(path);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, 's'},
	    {"processes", required_argument, NULL, 'x'}, {"threads", required_argument, NULL, 'x'},
	    {"conf", required_argument, NULL, 'x'}, {"set", required_argument, NULL, 'x'}, {NULL, 0, NULL, 0}};
	struct writer w = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	struct rlimit files;
	const char *path = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			path = optarg;
		else if (opt != 'x')
			return 2;
	}
	if (!path) {
		fputs("usage: writer_fcgi --socket path\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	w.requests = mem_alloc(FDS_MAX, sizeof(*w.requests));
	w.streams = mem_alloc(FDS_MAX, sizeof(*w.streams));
	if (!w.requests || !w.streams || w.epoll_fd == -1) {
		perror("writer_fcgi");
		return 1;
	}
	w.listen_fd = listen_at(path);
	run(&w);
	return 0;
}
