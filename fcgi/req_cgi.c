#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/req_cgi.h"
#include "common/banned.h"

#define R(req) ((struct req_cgi *)(req)) /* base is the first member */

static long cgi_read(struct req *req, char *to, size_t len)
{
	ssize_t n;

	if (len > R(req)->body_left)
		len = R(req)->body_left;
	if (len == 0)
		return 0;
	do
		n = read(STDIN_FILENO, to, len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		R(req)->body_left -= (size_t)n;
	return n;
}

static int write_all(struct slice s, struct err *err)
{
	while (s.len > 0) {
		ssize_t n = write(STDOUT_FILENO, s.p, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, ERR_GONE, "web server left before the answer");
		s.p += n;
		s.len -= (size_t)n;
	}
	return 0;
}

/* Descriptors 0 and 1 stay taken, by /dev/null, so that no later open() becomes somebody's standard stream. */
static void let_go(struct req_cgi *r)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close(null);
	}
	if (r->over_fd >= 0)
		close(r->over_fd);
	r->over_fd = -1;
}

static int cgi_reply(struct req *req, struct slice head, struct slice body, struct err *err)
{
	int ret = write_all(head, err);

	if (ret == 0)
		ret = write_all(SLICE("\r\n"), err);
	if (ret == 0)
		ret = write_all(body, err);
	req->env = NULL;
	let_go(R(req)); /* the web server waits for the end of descriptor 1, not for our exit */
	return ret;
}

static int cgi_fd(struct req *req, enum link_kind *kind, uint16_t *request_id)
{
	struct stat st;

	(void)req;
	*kind = fstat(STDOUT_FILENO, &st) == 0 && S_ISSOCK(st.st_mode) ? LINK_KIND_CGI_SOCKET : LINK_KIND_PIPE;
	*request_id = 0;
	return STDOUT_FILENO;
}

static void cgi_detach(struct req *req)
{
	let_go(R(req));
}

static const struct req_ops cgi_ops = {cgi_read, cgi_reply, cgi_fd, cgi_detach};

void req_cgi_init(struct req_cgi *r, char **env, int over_fd)
{
	const char *len;

	*r = (struct req_cgi){.base.ops = &cgi_ops, .over_fd = over_fd};
	req_set_env(&r->base, env);
	len = req_env(&r->base, "CONTENT_LENGTH");
	r->body_left = len ? strtoul(len, NULL, 10) : 0;
}
