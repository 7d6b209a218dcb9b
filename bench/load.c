/* bench/load - POSTs the same body again and again over a number of connections that stay open, one request at a time
 * on each, and prints how many a second were answered and how long an answer took. Ends when all that it began is
 * answered.
 *
 * In the body and the headers "@ID@" becomes a number that no other request of the run has, or with -w one of so many
 * that come again and again, and "@US@" the time (now_us()) at which the request is sent. One thread, one epoll: as
 * cheap as we can make it, for it takes its time from the same machine as what it measures. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/histogram.h"
#include "bench/target.h"
#include "common/mem.h"
#include "common/banned.h"

#define ANSWER_MAX (16u << 20)
#define READ_LEN   65536
#define ERRORS_MAX 1000
#define STALL_MS   10000
#define ID_FIRST   1000000000u /* all ids have ten digits, and all times sixteen, so that a request keeps its length */
#define MARKS_MAX  8
#define MARK_LEN   4
#define ID_LEN     10
#define US_LEN     16

/* Where something of a request changes each time. */
struct mark {
	size_t at;
	bool is_time;
};

struct conn {
	int fd;
	size_t number;
	struct buf request, answer; /* owned */
	struct mark marks[MARKS_MAX];
	size_t marks_count;
	size_t sent; /* bytes of request */
	bool busy;   /* waits for an answer */
	uint64_t began_us;
};

struct load {
	struct target target;
	struct buf body;
	const char *must_contain; /* borrowed; "" is in every answer */
	uint64_t count_max;
	uint64_t rate; /* requests a second; 0: as fast as it goes */
	uint32_t ids;  /* that many, then they come again */
	int epoll_fd;
	uint64_t start_us;
	uint64_t started, answered, wrong, errors, reconnects;
	uint64_t last_us;
	struct histogram took;
};

static NORETURN void fail(const struct err *err)
{
	fprintf(stderr, "load: %s\n", err->msg);
	exit(1);
}

/* Adds text with room for what changes in it, which is noted. */
static int conn_add(struct conn *c, struct slice text, struct err *err)
{
	while (text.len > 0) {
		const char *id = memmem(text.p, text.len, "@ID@", MARK_LEN);
		const char *us = memmem(text.p, text.len, "@US@", MARK_LEN);
		const char *at = !id || (us && us < id) ? us : id;
		size_t plain = at ? (size_t)(at - text.p) : text.len;

		buf_add(&c->request, text.p, plain);
		if (!at)
			break;
		if (c->marks_count == MARKS_MAX)
			return err_set(err, ERR_PARAMS, "more than %d marks in a request", MARKS_MAX);
		c->marks[c->marks_count++] = (struct mark){c->request.len, at == us};
		buf_add(&c->request, "0000000000000000", at == us ? US_LEN : ID_LEN);
		text = (struct slice){at + MARK_LEN, text.len - plain - MARK_LEN};
	}
	return 0;
}

/* How long the body is once its marks are filled in. */
static size_t filled_len(struct slice text)
{
	size_t len = text.len;

	for (const char *p = text.p; (p = memmem(p, text.len - (size_t)(p - text.p), "@ID@", MARK_LEN)); p += MARK_LEN)
		len += ID_LEN - MARK_LEN;
	for (const char *p = text.p; (p = memmem(p, text.len - (size_t)(p - text.p), "@US@", MARK_LEN)); p += MARK_LEN)
		len += US_LEN - MARK_LEN;
	return len;
}

static int conn_init(struct conn *c, size_t number, const struct load *l, struct err *err)
{
	struct buf head;
	int ret;

	*c = (struct conn){.fd = -1, .number = number};
	buf_init(&c->request, ANSWER_MAX);
	buf_init(&c->answer, ANSWER_MAX);
	buf_init(&head, 1u << 20);
	buf_addf(&head,
	    "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
	    "Accept: application/json, text/event-stream\r\n",
	    l->target.path, l->target.host);
	target_add_headers(&l->target, number, &head);
	buf_addf(&head, "Content-Length: %zu\r\n\r\n", filled_len(buf_slice(&l->body)));
	ret = buf_check(&head, err);
	if (ret == 0)
		ret = conn_add(c, buf_slice(&head), err);
	if (ret == 0)
		ret = conn_add(c, buf_slice(&l->body), err);
	buf_release(&head);
	return ret ? -1 : buf_check(&c->request, err);
}

static int conn_open(struct conn *c, struct load *l, struct err *err)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

	if (c->fd != -1)
		close(c->fd);
	c->fd = target_connect(&l->target, err);
	if (c->fd == -1)
		return -1;
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) ? err_sys(err, "epoll_ctl") : 0;
}

static void conn_write(struct conn *c)
{
	ssize_t put;

	while (c->busy && c->sent < c->request.len) {
		put = send(c->fd, c->request.data + c->sent, c->request.len - c->sent, MSG_NOSIGNAL);
		if (put == -1)
			return; /* EAGAIN: epoll tells when; anything else shows when we read */
		c->sent += (size_t)put;
	}
}

/* Whether there are more to send, and it is time for the next. */
static bool is_due(const struct load *l)
{
	return l->started < l->count_max && (!l->rate || l->started <= (now_us() - l->start_us) * l->rate / 1000000);
}

/* Begins the next request, if it is due. */
static void conn_begin(struct conn *c, struct load *l)
{
	char digits[32];

	buf_clear(&c->answer);
	c->sent = 0;
	c->busy = is_due(l);
	if (!c->busy)
		return;
	c->began_us = now_us();
	for (size_t i = 0; i < c->marks_count; i++) {
		const struct mark *m = &c->marks[i];

		snprintf(
		    digits, sizeof(digits), "%016" PRIu64, m->is_time ? c->began_us : ID_FIRST + l->started % l->ids);
		memcpy(c->request.data + m->at, m->is_time ? digits : digits + US_LEN - ID_LEN,
		    m->is_time ? US_LEN : ID_LEN);
	}
	l->started++;
	conn_write(c);
}

/* Value of a header of the answer, whose head is NUL-terminated; NULL. */
static const char *header(const char *head, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = head; (p = strstr(p, "\r\n"));) {
		p += 2;
		if (strncasecmp(p, name, len) == 0 && p[len] == ':')
			return p + len + 1 + strspn(p + len + 1, " ");
	}
	return NULL;
}

/* 1: the chunks from p on are complete. 0: not yet. -1: nonsense. */
static int chunks_done(const char *p, const char *end)
{
	for (;;) {
		const char *eol = memmem(p, (size_t)(end - p), "\r\n", 2);
		unsigned long len;
		char *stop;

		if (!eol)
			return 0;
		len = strtoul(p, &stop, 16);
		if (stop == p || len > ANSWER_MAX)
			return -1;
		p = eol + 2;
		if ((size_t)(end - p) < len + 2)
			return 0;
		if (len == 0)
			return 1;
		p += len + 2;
	}
}

/* 1: the answer is complete; *close when its connection can't be used again. 0: not yet. -1: nonsense. */
static int answer_done(struct buf *answer, bool *close_after)
{
	char *body = answer->len ? memmem(answer->data, answer->len, "\r\n\r\n", 4) : NULL;
	const char *value;

	if (!body)
		return 0;
	body[2] = '\0';
	value = header(answer->data, "Connection");
	*close_after = value && strncasecmp(value, "close", 5) == 0;
	value = header(answer->data, "Content-Length");
	if (value) {
		unsigned long len = strtoul(value, NULL, 10);
		size_t got = answer->len - (size_t)(body + 4 - answer->data);

		body[2] = '\r';
		return got > len ? -1 : got == len;
	}
	value = header(answer->data, "Transfer-Encoding");
	body[2] = '\r';
	return value ? chunks_done(body + 4, answer->data + answer->len) : -1;
}

static void load_count(struct load *l, const struct conn *c)
{
	const struct buf *a = &c->answer;
	uint64_t us = now_us() - c->began_us;

	l->answered++;
	l->last_us = now_us();
	histogram_add(&l->took, us);
	if (a->len < 12 || memcmp(a->data + 8, " 2", 2) != 0 ||
	    !memmem(a->data, a->len, l->must_contain, strlen(l->must_contain))) {
		if (l->wrong++ == 0)
			fprintf(stderr, "load: the first wrong answer:\n%.*s\n", (int)a->len, a->data);
	}
}

/* The connection is of no use any more: a new one, which repeats the request if its answer is lost. */
static int conn_again(struct conn *c, struct load *l, bool lost, struct err *err)
{
	if (lost && ++l->errors > ERRORS_MAX)
		return err_set(err, ERR_GONE, "more than %d connections broke in the middle of an answer", ERRORS_MAX);
	l->reconnects++;
	buf_clear(&c->answer);
	c->sent = 0;
	return conn_open(c, l, err);
}

static int conn_read(struct conn *c, struct load *l, struct err *err)
{
	bool close_after = false;

	for (;;) {
		char *to = buf_reserve(&c->answer, READ_LEN);
		ssize_t got;
		int done;

		if (!to)
			return buf_check(&c->answer, err);
		got = recv(c->fd, to, READ_LEN, 0);
		if (got == -1 && errno == EAGAIN)
			return 0;
		if (got <= 0) /* a web server may end an idle connection just when we use it again: no error */
			return c->busy ? conn_again(c, l, c->answer.len > 0, err) : 0;
		c->answer.len += (size_t)got;
		c->answer.data[c->answer.len] = '\0';
		done = answer_done(&c->answer, &close_after);
		if (done == -1)
			return err_set(err, ERR_INVALID, "an answer that is no HTTP/1.1: %.200s", c->answer.data);
		if (!done)
			continue;
		load_count(l, c);
		c->busy = false;
		if (close_after && l->started < l->count_max && conn_again(c, l, false, err))
			return -1;
		conn_begin(c, l);
		if (close_after)
			return 0; /* epoll says when the new one is there */
	}
}

static void load_turn(struct load *l, struct conn *conns, size_t conns_count)
{
	struct epoll_event ready[256];
	int count = epoll_wait(l->epoll_fd, ready, COUNT_OF(ready), l->rate ? 1 : 100);
	struct err err;

	for (int i = 0; i < count; i++) {
		struct conn *c = ready[i].data.ptr;

		if (ready[i].events & EPOLLOUT)
			conn_write(c);
		if (ready[i].events & ~(unsigned)EPOLLOUT && conn_read(c, l, &err))
			fail(&err);
	}
	for (size_t i = 0; l->rate && i < conns_count && is_due(l); i++)
		if (!conns[i].busy)
			conn_begin(&conns[i], l);
	if (now_us() - l->last_us > STALL_MS * 1000) {
		err_set(&err, ERR_EXPIRED, "no answer for %d ms", STALL_MS);
		fail(&err);
	}
}

static void load_run(struct load *l, struct conn *conns, size_t conns_count, uint64_t limit_us)
{
	uint64_t seconds_us, in_time;
	struct err err;

	for (size_t i = 0; i < conns_count; i++)
		if (conn_init(&conns[i], i, l, &err) || conn_open(&conns[i], l, &err))
			fail(&err);
	l->start_us = l->last_us = now_us();
	for (size_t i = 0; i < conns_count; i++)
		conn_begin(&conns[i], l);
	while (l->answered < l->count_max && now_us() - l->start_us < limit_us)
		load_turn(l, conns, conns_count);
	in_time = l->answered;
	seconds_us = l->last_us - l->start_us;
	/* The rest would go on behind a web server that does not look whether its client is there, and spoil what is
	 * measured next. They count for how long answers take, and as answered only where the time was too short. */
	l->count_max = l->started;
	while (l->answered < l->started)
		load_turn(l, conns, conns_count);
	if (in_time < conns_count) {
		in_time = l->answered;
		seconds_us = l->last_us - l->start_us;
	}
	printf("requests %" PRIu64 " seconds %.3f rate %.0f p50_us %" PRIu64 " p99_us %" PRIu64 " wrong %" PRIu64
	       " errors %" PRIu64 " reconnects %" PRIu64 "\n",
	    in_time, (double)seconds_us / 1e6, (double)in_time * 1e6 / (double)(seconds_us ? seconds_us : 1),
	    histogram_at(&l->took, 0.5), histogram_at(&l->took, 0.99), l->wrong, l->errors, l->reconnects);
}

static NORETURN void usage(void)
{
	fputs("usage: load [-c connections] [-s seconds] [-n requests] [-r rate] [-w ids] [-H header]... [-f "
	      "header-file]\n"
	      "            [-m text] body|@file URL\n"
	      "  -H adds a header; line n of -f is one more for connection n; an answer without the text of -m is "
	      "wrong;\n"
	      "  -r: so many a second and no more\n",
	    stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct load l = {.must_contain = "", .count_max = UINT64_MAX, .ids = UINT32_MAX};
	uint64_t limit_us = 5 * 1000000;
	size_t conns_count = 64;
	struct conn *conns;
	struct err err;
	int opt;

	target_init(&l.target);
	buf_init(&l.body, ANSWER_MAX / 2);
	while ((opt = getopt(argc, argv, "c:s:n:r:w:H:f:m:")) != -1) {
		switch (opt) {
		case 'c':
			conns_count = (size_t)option_number(optarg, "-c", 1, 10000);
			break;
		case 's':
			limit_us = option_seconds_us(optarg, "-s");
			break;
		case 'n':
			l.count_max = (uint64_t)option_number(optarg, "-n", 1, 1000000000);
			break;
		case 'r':
			l.rate = (uint64_t)option_number(optarg, "-r", 1, 10000000);
			break;
		case 'w':
			l.ids = (uint32_t)option_number(optarg, "-w", 1, 1000000000);
			break;
		case 'H':
			buf_addf(&l.target.headers, "%s\r\n", optarg);
			break;
		case 'f':
			if (target_load_file(&l.target, optarg, &err))
				fail(&err);
			break;
		case 'm':
			l.must_contain = optarg;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 2)
		usage();
	if (argv[optind][0] != '@')
		buf_adds(&l.body, argv[optind]);
	else if (file_read(argv[optind] + 1, &l.body, &err))
		fail(&err);
	if (target_set_url(&l.target, argv[optind + 1], &err))
		fail(&err);
	l.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	conns = mem_alloc(conns_count, sizeof(*conns));
	if (l.epoll_fd == -1 || !conns || histogram_init(&l.took)) {
		err_sys(&err, "start");
		fail(&err);
	}
	load_run(&l, conns, conns_count, limit_us);
	for (size_t i = 0; i < conns_count; i++) {
		close(conns[i].fd);
		buf_release(&conns[i].request);
		buf_release(&conns[i].answer);
	}
	mem_free(conns);
	histogram_release(&l.took);
	close(l.epoll_fd);
	buf_release(&l.body);
	target_release(&l.target);
	return l.wrong || l.errors ? 1 : 0;
}
