/* The handoff's safe sequence (doc/decisions.md): the body is read to its end, nothing was written to out; the broker
 * has the descriptor; then FCGX_Detach() and FCGX_Free(req, 1): libfcgi closes its copy without shutdown() and without
 * writing. FCGX_Finish_r() must not follow: it would write STDOUT-EOF and END_REQUEST into the broker's stream.
 *
 * Connections of a Unix socket are accepted here and lent to libfcgi as ones that it kept. Its own accept looks at each
 * by select(), and drops it when a signal comes just then: at the end of a worker requests would be lost. It knows no
 * CLOEXEC either. Those of TCP are left to it, with FCGI_WEB_SERVER_ADDRS; for their sake mcp-launch and mcp-broker
 * close what they inherit.
 *
 * libfcgi ends a connection by shutdown() and then waits until the web server closes its end too, so that nothing which
 * that may still send makes TCP drop our answer. A Unix socket drops nothing, and a request that was read to its end is
 * followed by nothing: there the thread closes, and is free, at once. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fcgi/req_fcgi.h"
#include "common/banned.h"

#define SILENT_MS 2000 /* how long a connection may say nothing, as in libfcgi */

#define R(req) ((struct req_fcgi *)(req)) /* base is the first member */

static long fcgi_read(struct req *req, char *to, size_t len)
{
	FCGX_Stream *in = R(req)->fcgx.in;
	int n = FCGX_GetStr(to, len > 1 << 30 ? 1 << 30 : (int)len, in);

	return n <= 0 && FCGX_GetError(in) ? -1 : n;
}

static int fcgi_reply(struct req *req, struct slice head, struct slice body, struct err *err)
{
	FCGX_Request *f = &R(req)->fcgx;
	int bad = 0;

	bad |= FCGX_PutStr(head.p, (int)head.len, f->out) < 0;
	bad |= FCGX_PutStr("\r\n", 2, f->out) < 0;
	if (body.len)
		bad |= FCGX_PutStr(body.p, (int)body.len, f->out) < 0;
	req->env = NULL;
	if (R(req)->is_unix && !f->keepConnection && FCGX_HasSeenEOF(f->in))
		FCGX_Detach(f); /* close without shutdown() */
	FCGX_Finish_r(f);
	return bad ? err_set(err, ERR_GONE, "web server left before the answer") : 0;
}

static int fcgi_fd(struct req *req, enum link_kind *kind, uint16_t *request_id)
{
	*kind = LINK_KIND_FCGI;
	*request_id = (uint16_t)R(req)->fcgx.requestId;
	return R(req)->fcgx.ipcFd;
}

static void fcgi_detach(struct req *req)
{
	FCGX_Detach(&R(req)->fcgx);
	FCGX_Free(&R(req)->fcgx, 1);
}

static const struct req_ops fcgi_ops = {fcgi_read, fcgi_reply, fcgi_fd, fcgi_detach};

int req_fcgi_init(struct req_fcgi *r, int listen_fd, struct err *err)
{
	struct sockaddr addr = {0};
	socklen_t len = sizeof(addr);

	*r = (struct req_fcgi){.base.ops = &fcgi_ops};
	if (FCGX_InitRequest(&r->fcgx, listen_fd, FCGI_FAIL_ACCEPT_ON_INTR) != 0)
		return err_set(err, ERR_INTERNAL, "FCGX_InitRequest failed");
	r->is_unix = getsockname(listen_fd, &addr, &len) == 0 && addr.sa_family == AF_UNIX;
	return 0;
}

/* Whether the connection has something to say, or is at its end, within timeout_ms. */
static bool has_input(int fd, int timeout_ms)
{
	struct pollfd conn = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&conn, 1, timeout_ms);
	while (ready == -1 && errno == EINTR);
	return ready == 1;
}

/* The same. A web server connects and then writes; its connect() wakes us, often on its own CPU and at once. Giving
 * that back lets it write what it has for us and for others, instead of being interrupted to see us fall asleep. */
static bool has_request(int fd)
{
	if (has_input(fd, 0))
		return true;
	sched_yield();
	return has_input(fd, SILENT_MS);
}

/* A connection that has something to say. -1: *err, ERR_GONE when a signal came first. */
static int accept_unix(int listen_fd, struct err *err)
{
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd == -1 && errno == EINTR)
			return err_set(err, ERR_GONE, "interrupted");
		if (fd == -1 && errno == ECONNABORTED)
			continue;
		if (fd == -1)
			return err_sys(err, "accept a FastCGI connection");
		if (has_request(fd))
			return fd;
		close(fd);
	}
}

int req_fcgi_accept(struct req_fcgi *r, struct err *err)
{
	int rc;

	if (r->is_unix && r->fcgx.ipcFd < 0) {
		rc = accept_unix(r->fcgx.listen_sock, err);
		if (rc == -1)
			return -1;
		r->fcgx.ipcFd = rc;
		r->fcgx.keepConnection = 1; /* until its first record says what it is */
	}
	rc = FCGX_Accept_r(&r->fcgx);

	if (rc == -EINTR || rc < -4095) /* libfcgi returns -errno, and odd numbers once it is shutting down */
		return err_set(err, ERR_GONE, "interrupted");
	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "accept a FastCGI connection");
	}
	req_set_env(&r->base, r->fcgx.envp);
	return 0;
}

void req_fcgi_finish(struct req_fcgi *r)
{
	if (r->base.env) {
		r->base.env = NULL;
		FCGX_Finish_r(&r->fcgx);
	}
	FCGX_Free(&r->fcgx, 1);
}
