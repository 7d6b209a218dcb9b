/* The handoff's safe sequence (doc/decisions.md): the body is read to its end, nothing was written to out; the broker
 * has the descriptor; then FCGX_Detach() and FCGX_Free(req, 1): libfcgi closes its copy without shutdown() and without
 * writing. FCGX_Finish_r() must not follow: it would write STDOUT-EOF and END_REQUEST into the broker's stream.
 *
 * Accepted descriptors lack CLOEXEC. Nothing is executed from here but mcp-launch and mcp-broker, which close what they
 * inherit, so that no request pays a system call for it. */
#include "config.h"

#include <errno.h>

#include "fcgi/req_fcgi.h"
#include "common/banned.h"

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
	*r = (struct req_fcgi){.base.ops = &fcgi_ops};
	if (FCGX_InitRequest(&r->fcgx, listen_fd, FCGI_FAIL_ACCEPT_ON_INTR) != 0)
		return err_set(err, ERR_INTERNAL, "FCGX_InitRequest failed");
	return 0;
}

int req_fcgi_accept(struct req_fcgi *r, struct err *err)
{
	int rc = FCGX_Accept_r(&r->fcgx);

	if (rc == -EINTR || rc < -4095) /* libfcgi returns -errno, and odd numbers once it is shutting down */
		return err_set(err, ERR_GONE, "interrupted");
	if (rc < 0) {
		errno = -rc;
		return err_sys(err, "accept a FastCGI connection");
	}
	r->base.env = r->fcgx.envp;
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
