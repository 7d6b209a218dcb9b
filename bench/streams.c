/* bench/streams - opens a number of event streams by GET and holds them: for the memory of those who hold the other
 * end, for how late events come, and for how clients come back.
 *
 * Prints "OPEN n" when all heads are there, "HEARD n" when each open stream has had an event since it opened, and, at
 * the end of its time or of its standard input, what came, how late (of events that say {"at_us": now_us() of this
 * host}), and what was lost or came twice, going by the ids.
 *
 * A line "expect N" on its standard input makes it count anew, and say "GOT n" once N events have come, or none for a
 * while: how many a second, from when the first was sent to when the last was here, and how late they were.
 *
 * With -r a stream that ends is opened again in the way of the official SDKs: after the retry that it was told, else
 * after 1 s, and 1.5 s when that fails; then its client gives up. "BACK n of m" is printed when nobody is on the way
 * any more. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/histogram.h"
#include "bench/target.h"
#include "common/mem.h"
#include "common/banned.h"

#define OPENING_MAX 32 /* streams that we open at a time: a listen queue is short */
#define OPEN_MS     120000
#define RETRY_MS    1000 /* what SDKs wait that were told nothing; the second time half as long again */
#define TRIES_MAX   2
#define LINE_KEPT   160   /* all that we want to know stands before it */
#define SAID_MAX    5     /* how often we tell why a client had to try again */
#define STALL_MS    20000 /* then nothing more comes of what was expected */

enum stream_state { STREAM_CONNECTING, STREAM_WAITING, STREAM_OPEN, STREAM_AWAY, STREAM_ENDED };

struct stream {
	enum stream_state state;
	int fd; /* -1: AWAY, ENDED */
	size_t number;
	unsigned tries;    /* since it was last open */
	int64_t told_ms;   /* the retry that it was told last; -1: none */
	uint64_t again_ms; /* AWAY: when it comes back */
	uint64_t seq;      /* of the last event; 0: none */
	char last_id[64];
	char line[LINE_KEPT + 1]; /* the one that is being read */
	size_t line_len;
	bool status_read, has_heard;
};

struct streams {
	struct target target;
	struct stream *all; /* owned */
	bool return_to;     /* -r */
	size_t count, begun, open, away, ended, heard;
	size_t gone, tried[TRIES_MAX + 1]; /* of this storm: who lost its stream, with which try each came back */
	uint64_t storm_ms;                 /* when the first one did */
	uint64_t bytes, events, lost, doubled;
	uint64_t expected, awaited; /* events, since we were told to expect some; 0: not now */
	uint64_t first_us, last_us; /* of those: when the first was sent, when the last came */
	char order[32];             /* a line of standard input, as far as it is there */
	size_t order_len;
	unsigned said;
	struct histogram late;
	int epoll_fd;
};

static NORETURN void fail(const struct err *err)
{
	fprintf(stderr, "streams: %s\n", err->msg);
	exit(1);
}

static void say(const char *what, size_t n)
{
	printf("%s %zu\n", what, n);
	fflush(stdout);
}

/* What was expected came, or won't. */
static void end_of_wait(struct streams *s)
{
	uint64_t got = s->expected - s->awaited, took_us = s->last_us - s->first_us;

	printf("GOT %" PRIu64 " rate %.0f p50_us %" PRIu64 " p99_us %" PRIu64 " max_us %" PRIu64 "\n", got,
	    took_us ? (double)got * 1e6 / (double)took_us : 0.0, histogram_at(&s->late, 0.5),
	    histogram_at(&s->late, 0.99), s->late.max_us);
	fflush(stdout);
	s->expected = s->awaited = 0;
}

static void on_order(struct streams *s)
{
	static const char expect[] = "expect ";

	s->order[s->order_len] = '\0';
	s->order_len = 0;
	if (strncmp(s->order, expect, sizeof(expect) - 1) != 0)
		return;
	s->expected = s->awaited = strtoull(s->order + sizeof(expect) - 1, NULL, 10);
	s->first_us = UINT64_MAX;
	s->last_us = now_us();
	histogram_clear(&s->late);
	say("EXPECTING", s->expected);
}

/* 1: standard input has ended. */
static int read_orders(struct streams *s)
{
	char in[256];
	ssize_t got = read(STDIN_FILENO, in, sizeof(in));

	for (ssize_t i = 0; i < got; i++) {
		if (in[i] == '\n')
			on_order(s);
		else if (s->order_len < sizeof(s->order) - 1)
			s->order[s->order_len++] = in[i];
	}
	return got > 0 || (got == -1 && errno == EINTR) ? 0 : 1;
}

static int stream_connect(struct streams *s, struct stream *stream, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = stream};

	stream->fd = target_connect(&s->target, err);
	if (stream->fd == -1)
		return -1;
	stream->state = STREAM_CONNECTING;
	stream->line_len = 0;
	stream->status_read = false;
	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, stream->fd, &ev) ? err_sys(err, "epoll_ctl") : 0;
}

/* HTTP/1.0, so that there are no chunks. */
static int stream_ask(struct streams *s, struct stream *stream, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = stream};
	struct buf out;
	int ret;

	buf_init(&out, 65536);
	buf_addf(&out, "GET %s HTTP/1.0\r\nHost: %s\r\nAccept: text/event-stream\r\n", s->target.path, s->target.host);
	target_add_headers(&s->target, stream->number, &out);
	if (stream->last_id[0])
		buf_addf(&out, "Last-Event-ID: %s\r\n", stream->last_id);
	buf_adds(&out, "\r\n");
	ret = buf_check(&out, err);
	if (ret == 0 && send(stream->fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
		ret = err_sys(err, "send");
	buf_release(&out);
	stream->state = STREAM_WAITING;
	if (ret == 0 && epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, stream->fd, &ev))
		ret = err_sys(err, "epoll_ctl");
	return ret;
}

static void end_of_storm(struct streams *s)
{
	printf("BACK %zu of %zu after %" PRIu64 " ms, by the first try %zu, by the second %zu\n",
	    s->tried[1] + s->tried[2], s->gone, now_ms() - s->storm_ms, s->tried[1], s->tried[2]);
	fflush(stdout);
	s->gone = s->tried[1] = s->tried[2] = 0;
}

/* Its connection is gone, or there was none: it comes back, or gives up. */
static void stream_lose(struct streams *s, struct stream *stream, const char *why)
{
	if (stream->fd != -1)
		close(stream->fd);
	stream->fd = -1;
	if (stream->state == STREAM_OPEN) {
		s->open--;
		s->heard -= stream->has_heard;
		s->away++;
		if (s->gone++ == 0)
			s->storm_ms = now_ms();
	} else if (s->said++ < SAID_MAX) {
		fprintf(stderr, "streams: %zu, try %u: %s\n", stream->number, stream->tries, why);
	}
	if (stream->tries == 0 && stream->state != STREAM_OPEN) { /* it never was: streams_open() gives up */
		stream->state = STREAM_ENDED;
		s->ended++;
		return;
	}
	if (s->return_to && stream->tries < TRIES_MAX) {
		stream->state = STREAM_AWAY;
		stream->again_ms = now_ms();
		stream->again_ms +=
		    stream->told_ms >= 0 ? (uint64_t)stream->told_ms : RETRY_MS + stream->tries * RETRY_MS / 2;
		return;
	}
	stream->state = STREAM_ENDED;
	s->ended++;
	s->away--;
	if (s->away == 0 && s->return_to)
		end_of_storm(s);
}

static void on_open(struct streams *s, struct stream *stream)
{
	stream->state = STREAM_OPEN;
	stream->has_heard = false;
	s->open++;
	if (stream->tries > 0) {
		s->tried[stream->tries]++;
		stream->tries = 0;
		if (--s->away == 0)
			end_of_storm(s);
	}
}

static void on_id(struct streams *s, struct stream *stream, const char *id)
{
	const char *dot = strrchr(id, '.');
	size_t len = strnlen(id, sizeof(stream->last_id) - 1);
	uint64_t seq = dot ? strtoull(dot + 1, NULL, 10) : 0;

	memcpy(stream->last_id, id, len);
	stream->last_id[len] = '\0';
	if (!dot) /* not one of ours */
		return;
	if (stream->seq && seq > stream->seq + 1)
		s->lost += seq - stream->seq - 1;
	if (seq <= stream->seq)
		s->doubled++;
	else
		stream->seq = seq;
}

static void on_data(struct streams *s, struct stream *stream, const char *data)
{
	static const char mark[] = "\"at_us\":";
	const char *at = strstr(data, mark);

	s->events++;
	if (at) {
		uint64_t sent_us = strtoull(at + sizeof(mark) - 1, NULL, 10);

		s->last_us = now_us();
		if (sent_us < s->first_us)
			s->first_us = sent_us;
		histogram_add(&s->late, s->last_us - sent_us);
		if (s->awaited > 0 && --s->awaited == 0)
			end_of_wait(s);
	}
	if (!stream->has_heard) {
		stream->has_heard = true;
		if (++s->heard == s->open && s->away == 0)
			say("HEARD", s->heard);
	}
}

/* A line of the head, or of an event. -1: no stream. */
static int on_line(struct streams *s, struct stream *stream, const char *line)
{
	if (!stream->status_read) {
		stream->status_read = true;
		return strstr(line, " 200") ? 0 : -1;
	}
	if (stream->state == STREAM_WAITING && !*line)
		on_open(s, stream);
	else if (stream->state == STREAM_WAITING)
		return 0;
	else if (strncmp(line, "retry: ", 7) == 0)
		stream->told_ms = strtol(line + 7, NULL, 10);
	else if (strncmp(line, "id: ", 4) == 0)
		on_id(s, stream, line + 4);
	else if (strncmp(line, "data: {", 7) == 0)
		on_data(s, stream, line + 6);
	return 0;
}

/* What has no room is left out. */
static void keep_part(struct stream *stream, const char *part, size_t len)
{
	size_t room = LINE_KEPT - stream->line_len;

	if (len > room)
		len = room;
	memcpy(stream->line + stream->line_len, part, len);
	stream->line_len += len;
	stream->line[stream->line_len] = '\0';
}

/* lf: its end. -1: the stream is lost. */
static int end_line(struct streams *s, struct stream *stream, char *line, char *lf)
{
	if (stream->line_len > 0) {
		keep_part(stream, line, (size_t)(lf - line));
		line = stream->line;
		lf = line + stream->line_len;
		stream->line_len = 0;
	}
	if (lf > line && lf[-1] == '\r')
		lf--;
	*lf = '\0';
	if (on_line(s, stream, line) == 0)
		return 0;
	stream_lose(s, stream, line);
	return -1;
}

static void stream_read(struct streams *s, struct stream *stream)
{
	char in[16384], *at = in, *lf;
	ssize_t got = recv(stream->fd, in, sizeof(in), 0);

	if (got == -1 && errno == EAGAIN)
		return;
	if (got <= 0) {
		stream_lose(s, stream, got ? strerror(errno) : "it ended before it began");
		return;
	}
	s->bytes += (uint64_t)got;
	for (; (lf = memchr(at, '\n', (size_t)(in + got - at))) != NULL; at = lf + 1) {
		if (end_line(s, stream, at, lf))
			return;
	}
	keep_part(stream, at, (size_t)(in + got - at));
}

static int streams_turn(struct streams *s, int timeout_ms, struct err *err)
{
	struct epoll_event ready[256];
	int count = epoll_wait(s->epoll_fd, ready, COUNT_OF(ready), timeout_ms);
	uint64_t now = now_ms();

	for (int i = 0; i < count; i++) {
		struct stream *stream = ready[i].data.ptr;

		if (!stream) {
			if (read_orders(s))
				return 1;
			continue;
		}
		if (stream->state != STREAM_CONNECTING)
			stream_read(s, stream);
		else if (stream_ask(s, stream, err))
			stream_lose(s, stream, err->msg);
	}
	for (size_t i = 0; s->away > 0 && i < s->count; i++) {
		struct stream *stream = &s->all[i];

		if (stream->state != STREAM_AWAY || stream->again_ms > now)
			continue;
		stream->tries++;
		if (stream_connect(s, stream, err))
			stream_lose(s, stream, err->msg);
	}
	return 0;
}

static int streams_open(struct streams *s, struct err *err)
{
	uint64_t until_ms = now_ms() + OPEN_MS;

	while (s->open < s->count) {
		while (s->begun < s->count && s->begun - s->open < OPENING_MAX) {
			struct stream *stream = &s->all[s->begun];

			*stream = (struct stream){.number = s->begun++, .told_ms = -1};
			if (stream_connect(s, stream, err))
				return -1;
		}
		if (streams_turn(s, 1000, err))
			return -1;
		if (s->ended > 0 || s->gone > 0 || now_ms() > until_ms)
			return err_set(err, ERR_EXPIRED, "only %zu of %zu streams are open", s->open, s->count);
	}
	say("OPEN", s->open);
	return 0;
}

static int streams_hold(struct streams *s, uint64_t hold_ms, struct err *err)
{
	struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
	uint64_t until_ms = now_ms() + hold_ms;
	int ret = 0;

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input) && errno != EPERM)
		return err_sys(err, "epoll_ctl");
	while (ret == 0 && now_ms() < until_ms) {
		ret = streams_turn(s, s->away > 0 ? 10 : 100, err);
		if (s->awaited > 0 && now_us() - s->last_us > STALL_MS * 1000)
			end_of_wait(s);
	}
	printf("bytes %" PRIu64 " events %" PRIu64 " lost %" PRIu64 " doubled %" PRIu64 " ended %zu\n", s->bytes,
	    s->events, s->lost, s->doubled, s->ended);
	if (s->late.count > 0)
		printf("late p50_us %" PRIu64 " p99_us %" PRIu64 " max_us %" PRIu64 " of %" PRIu64 "\n",
		    histogram_at(&s->late, 0.5), histogram_at(&s->late, 0.99), s->late.max_us, s->late.count);
	return ret < 0 ? -1 : 0;
}

static NORETURN void usage(void)
{
	fputs("usage: streams [-r] [-n streams] [-s seconds] [-H header]... [-f header-file] URL\n"
	      "  -H adds a header; line n of -f is one more for stream n; -r: who loses its stream comes back\n",
	    stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct streams s = {.count = 1000};
	uint64_t hold_ms = 60000;
	struct rlimit files;
	struct err err;
	int opt;

	target_init(&s.target);
	while ((opt = getopt(argc, argv, "rn:s:H:f:")) != -1) {
		switch (opt) {
		case 'r':
			s.return_to = true;
			break;
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
	if (s.epoll_fd == -1 || !s.all || histogram_init(&s.late)) {
		err_sys(&err, "start");
		fail(&err);
	}
	if (streams_open(&s, &err) || streams_hold(&s, hold_ms, &err))
		fail(&err);
	for (size_t i = 0; i < s.count; i++)
		if (s.all[i].fd != -1)
			close(s.all[i].fd);
	mem_free(s.all);
	histogram_release(&s.late);
	close(s.epoll_fd);
	target_release(&s.target);
	return s.ended ? 1 : 0;
}
