/* bench/streams - opens a number of event streams by GET and holds them: for the memory of those who hold the other end.
 *
 * Prints "OPEN n" when all heads are there, and, at the end of its time or of its standard input, how many bytes came
 * and how many streams the server ended. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/mem.h"
#include "common/banned.h"

#define OPENING_MAX 32 /* streams that we open at a time: a listen queue is short */
#define OPEN_MS	    60000

enum stream_state { STREAM_CONNECTING, STREAM_WAITING, STREAM_OPEN, STREAM_ENDED };

struct stream {
	enum stream_state state;
	int fd;
	size_t number;
	char head[13]; /* "HTTP/1.1 200" */
	size_t head_len;
};

struct streams {
	struct target target;
	struct stream *all; /* owned */
	size_t count, begun, open, ended;
	uint64_t bytes;
	int epoll_fd;
};

static NORETURN void fail(const struct err *err)
{
	fprintf(stderr, "streams: %s\n", err->msg);
	exit(1);
}

static int stream_connect(struct streams *s, struct err *err)
{
	struct stream *stream = &s->all[s->begun];
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = stream};

	stream->number = s->begun++;
	stream->fd = target_connect(&s->target, err);
	if (stream->fd == -1)
		return -1;
	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, stream->fd, &ev) ? err_sys(err, "epoll_ctl") : 0;
}

static int stream_ask(struct streams *s, struct stream *stream, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = stream};
	struct buf out;
	int ret;

	buf_init(&out, 65536);
	buf_addf(&out, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", s->target.path, s->target.host);
	target_add_headers(&s->target, stream->number, &out);
	buf_adds(&out, "\r\n");
	ret = buf_check(&out, err);
	if (ret == 0 && send(stream->fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
		ret = err_sys(err, "send on stream %zu", stream->number);
	buf_release(&out);
	stream->state = STREAM_WAITING;
	if (ret == 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, stream->fd, &ev))
		ret = err_sys(err, "epoll_ctl");
	return ret;
}

static int stream_read(struct streams *s, struct stream *stream, struct err *err)
{
	char in[16384];
	ssize_t got = recv(stream->fd, in, sizeof(in), 0);

	if (got == -1 && errno == EAGAIN)
		return 0;
	if (got <= 0) {
		if (stream->state != STREAM_OPEN)
			return err_set(err, ERR_GONE, "stream %zu ended before it began", stream->number);
		epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
		stream->state = STREAM_ENDED;
		s->ended++;
		return 0;
	}
	s->bytes += (uint64_t)got;
	if (stream->state == STREAM_OPEN)
		return 0;
	for (ssize_t i = 0; i < got && stream->head_len < sizeof(stream->head) - 1; i++)
		stream->head[stream->head_len++] = in[i];
	if (stream->head_len < sizeof(stream->head) - 1)
		return 0;
	if (memcmp(stream->head + 8, " 200", 4) != 0)
		return err_set(err, ERR_INVALID, "stream %zu: %s", stream->number, stream->head);
	stream->state = STREAM_OPEN;
	s->open++;
	return 0;
}

static int streams_turn(struct streams *s, int timeout_ms, struct err *err)
{
	struct epoll_event ready[256];
	int count = epoll_wait(s->epoll_fd, ready, COUNT_OF(ready), timeout_ms);

	for (int i = 0; i < count; i++) {
		struct stream *stream = ready[i].data.ptr;

		if (!stream)
			return 1; /* standard input ended */
		if (stream->state == STREAM_CONNECTING ? stream_ask(s, stream, err) : stream_read(s, stream, err))
			return -1;
	}
	return 0;
}

static int streams_run(struct streams *s, uint64_t hold_ms, struct err *err)
{
	struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
	uint64_t began_ms = now_ms();
	int ret = 0;

	while (s->open + s->ended < s->count) {
		while (s->begun < s->count && s->begun - s->open - s->ended < OPENING_MAX)
			if (stream_connect(s, err))
				return -1;
		if (streams_turn(s, 1000, err))
			return -1;
		if (now_ms() - began_ms > OPEN_MS)
			return err_set(err, ERR_EXPIRED, "only %zu of %zu streams are open after %d ms", s->open, s->count,
			    OPEN_MS);
	}
	printf("OPEN %zu\n", s->open);
	fflush(stdout);
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) && errno != EPERM)
		return err_sys(err, "epoll_ctl");
	for (began_ms = now_ms(); ret == 0 && now_ms() - began_ms < hold_ms; )
		ret = streams_turn(s, 100, err);
	printf("bytes %" PRIu64 " ended %zu\n", s->bytes, s->ended);
	return ret < 0 ? -1 : 0;
}

static NORETURN void usage(void)
{
	fputs("usage: streams [-n streams] [-s seconds] [-H header]... [-f header-file] URL\n"
	      "  -H adds a header; line n of -f is one more for stream n\n",
	    stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct streams s = {.count = 1000};
	uint64_t hold_ms = 60000;
	struct rlimit files;
	struct err err;
	int opt, ret;

	target_init(&s.target);
	while ((opt = getopt(argc, argv, "n:s:H:f:")) != -1) {
		switch (opt) {
		case 'n':
			s.count = (size_t)option_number(optarg, "-n", 1, 100000);
			break;
		case 's':
			hold_ms = (uint64_t)option_number(optarg, "-s", 1, 86400) * 1000;
			break;
		case 'H':
			buf_addf(&s.target.headers, "%s\r\n", optarg);
			break;
		case 'f':
			if (target_load_file(&s.target, optarg, &err))
				fail(&err);
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 1)
		usage();
	if (target_set_url(&s.target, argv[optind], &err))
		fail(&err);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files); /* where that is too few, connect says so */
	s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s.all = mem_alloc(s.count, sizeof(*s.all));
	if (s.epoll_fd == -1 || !s.all) {
		err_sys(&err, "start");
		fail(&err);
	}
	ret = streams_run(&s, hold_ms, &err);
	if (ret)
		fail(&err);
	for (size_t i = 0; i < s.begun; i++)
		close(s.all[i].fd);
	mem_free(s.all);
	close(s.epoll_fd);
	target_release(&s.target);
	return s.ended ? 1 : 0;
}
