/* Preloaded into the programs of a site, so that one of them dies, stops or loses a message at an exact point of its
 * talk over the link: the fault programs can't hit these by time.
 *
 * $FAULT_DIR is a directory of orders, empty files that are named PROGRAM.ACTION.POINT.MESSAGE:
 *
 *   ACTION   kill, stop (SIGKILL, SIGSTOP to itself), lose (the message is dropped), full (there is no descriptor for
 * the one that comes with it; recv only) POINT    send (before it), sent (after it; too late to lose it), recv (before
 * it is read; lost only by workers) MESSAGE  a name of common/link_tbl.h
 *
 * as mcp-worker.kill.sent.OPEN_STREAM. The first process that gets there carries it out, once, and adds its pid to the
 * name, so who gave the order knows when, and whom it met.
 *
 * $FAULT_DIR/clock says by how many seconds CLOCK_REALTIME is off. */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "common/link.h"
#include "common/banned.h"

#define TYPE_AT 5 /* of a header, after magic and version */

static const char *const names[256] = {
#define LINK(name, number, sender, channel) [number] = #name,
#include "common/link_tbl.h"
#undef LINK
};

static ssize_t (*real_send)(int fd, const void *data, size_t len, int flags);
static ssize_t (*real_recv)(int fd, void *data, size_t len, int flags);
static ssize_t (*real_sendmsg)(int fd, const struct msghdr *msg, int flags);
static ssize_t (*real_recvmsg)(int fd, struct msghdr *msg, int flags);
static int (*real_zmq_send)(void *socket, const void *data, size_t len, int flags);
static int (*real_zmq_msg_send)(zmq_msg_t *msg, void *socket, int flags);
static int (*real_zmq_msg_recv)(zmq_msg_t *msg, void *socket, int flags);
static int (*real_clock_gettime)(clockid_t clock, struct timespec *now);

/* The message that this thread sends, in frames: known from its header on. */
static _Thread_local unsigned sending;
static _Thread_local bool is_losing;

__attribute__((constructor)) static void find_real(void)
{
	real_send = dlsym(RTLD_NEXT, "send");
	real_recv = dlsym(RTLD_NEXT, "recv");
	real_sendmsg = dlsym(RTLD_NEXT, "sendmsg");
	real_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
	real_zmq_send = dlsym(RTLD_NEXT, "zmq_send");
	real_zmq_msg_send = dlsym(RTLD_NEXT, "zmq_msg_send");
	real_zmq_msg_recv = dlsym(RTLD_NEXT, "zmq_msg_recv");
	real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

static time_t clock_offset_s(void)
{
	const char *dir = getenv("FAULT_DIR");
	char path[512], text[32] = "";
	int saved = errno, fd;

	if (!dir)
		return 0;
	snprintf(path, sizeof(path), "%s/clock", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	errno = saved;
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int ret;

	if (!real_clock_gettime) /* another library's constructor asks */
		find_real();
	ret = real_clock_gettime(clock, now);
	if (ret == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += clock_offset_s();
	return ret;
}

/* The type of a message by its header, or 0. */
static unsigned type_of(const void *data, size_t len)
{
	return len >= LINK_HEADER_LEN && memcmp(data, "MCPL", 4) == 0 ? ((const unsigned char *)data)[TYPE_AT] : 0;
}

/* Whether there is such an order; it is this process's from now on. */
static bool take_order(const char *action, const char *point, unsigned type)
{
	const char *dir = getenv("FAULT_DIR");
	char order[512], taken[544];
	int saved = errno;
	bool is_taken;

	if (!dir || !names[type])
		return false;
	snprintf(
	    order, sizeof(order), "%s/%s.%s.%s.%s", dir, program_invocation_short_name, action, point, names[type]);
	snprintf(taken, sizeof(taken), "%s.%d", order, (int)getpid());
	is_taken = rename(order, taken) == 0;
	errno = saved;
	return is_taken;
}

/* true: the message is to be lost. */
static bool at(const char *point, unsigned type)
{
	if (take_order("kill", point, type))
		kill(getpid(), SIGKILL);
	if (take_order("stop", point, type))
		raise(SIGSTOP); /* this thread, before it does anything else; the others follow */
	return take_order("lose", point, type);
}

/* Before a frame. true: it is one of a message that is to be lost. */
static bool before_frame(const void *data, size_t len)
{
	unsigned type = type_of(data, len);

	if (type) {
		sending = type;
		is_losing = at("send", type);
	}
	return is_losing;
}

static void after_frame(int flags)
{
	unsigned type = sending;

	if (flags & ZMQ_SNDMORE)
		return;
	sending = 0;
	if (type && !is_losing)
		at("sent", type);
	is_losing = false;
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	unsigned type = type_of(data, len);
	ssize_t sent;

	if (type && at("send", type))
		return (ssize_t)len;
	sent = real_send(fd, data, len, flags);
	if (type)
		at("sent", type);
	return sent;
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
	ssize_t got = real_recv(fd, data, len, flags);

	while (got > 0 && !(flags & MSG_PEEK) && at("recv", type_of(data, (size_t)got)))
		got = real_recv(fd, data, len, flags);
	return got;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct iovec *first = msg->msg_iov;
	unsigned type = msg->msg_controllen && msg->msg_iovlen ? type_of(first->iov_base, first->iov_len) : 0;
	ssize_t sent;

	if (type && at("send", type))
		return (ssize_t)first->iov_len;
	sent = real_sendmsg(fd, msg, flags);
	if (type)
		at("sent", type);
	return sent;
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	char header[LINK_HEADER_LEN];
	ssize_t len = real_recv(fd, header, sizeof(header), MSG_PEEK | MSG_DONTWAIT);
	struct rlimit before, none;
	ssize_t got;

	if (len > 0)
		at("recv", type_of(header, (size_t)len)); /* to die or to stop: the broker loses none */
	if (len < 0 || !take_order("full", "recv", type_of(header, (size_t)len)))
		return real_recvmsg(fd, msg, flags);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 1; /* 0 would fail each poll() of ZeroMQ's thread too */
	setrlimit(RLIMIT_NOFILE, &none);
	got = real_recvmsg(fd, msg, flags);
	setrlimit(RLIMIT_NOFILE, &before);
	return got;
}

int zmq_send(void *socket, const void *data, size_t len, int flags)
{
	int sent = before_frame(data, len) ? (int)len : real_zmq_send(socket, data, len, flags);

	after_frame(flags);
	return sent;
}

int zmq_msg_send(zmq_msg_t *msg, void *socket, int flags)
{
	size_t len = zmq_msg_size(msg);
	int sent;

	if (before_frame(zmq_msg_data(msg), len))
		sent = zmq_msg_close(msg) == 0 ? (int)len : -1;
	else
		sent = real_zmq_msg_send(msg, socket, flags);
	after_frame(flags);
	return sent;
}

/* A message that is lost is read to its end, and the next one takes its place. */
int zmq_msg_recv(zmq_msg_t *msg, void *socket, int flags)
{
	int got = real_zmq_msg_recv(msg, socket, flags);

	while (got >= 0 && at("recv", type_of(zmq_msg_data(msg), (size_t)got))) {
		while (got >= 0 && zmq_msg_more(msg))
			got = real_zmq_msg_recv(msg, socket, flags);
		got = real_zmq_msg_recv(msg, socket, flags);
	}
	return got;
}
