#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/call_priv.h"
#include "fcgi/worker.h"
#include "common/banned.h"

#define BACKLOG   8 /* there is one runner, which asks one thing after the other */
#define DEPTH_MAX 4

struct report {
	char handle[REPORT_HANDLE_LEN + 1];
	struct sockaddr_un sun; /* its path is "" while there is no socket */
	int listen_fd;          /* -1: nobody can come */
	int asker_fd;           /* who came and has not said anything yet; -1: nobody */
};

static struct log_rate closed_rate;

/* --- its socket --- */

static int make_dir(const struct cfg *cfg)
{
	char *path = cfg_path_join(cfg->run_dir, REPORT_DIR);
	int ret = -1;

	if (path && mkdir(path, 0770) == 0)
		ret = chmod(path, 0770); /* for the group, as run_dir, whatever the umask was */
	else if (path && errno == EEXIST)
		ret = 0;
	mem_free(path);
	return ret;
}

static int bind_path(struct report *r, const struct cfg *cfg)
{
	const struct sockaddr *address = (const struct sockaddr *)&r->sun;

	if (bind(r->listen_fd, address, sizeof(r->sun)) == 0)
		return 0;
	return errno == ENOENT && make_dir(cfg) == 0 ? bind(r->listen_fd, address, sizeof(r->sun)) : -1;
}

static int open_socket(struct report *r, const struct cfg *cfg, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int len = snprintf(
	    sun.sun_path, sizeof(sun.sun_path), "%s/" REPORT_DIR "/%.*s", cfg->run_dir, REPORT_NAME_LEN, r->handle);

	if (len >= (int)sizeof(sun.sun_path))
		return err_set(err, ERR_CONFIG, "run_dir %s is too long for a socket's name", cfg->run_dir);
	r->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->listen_fd == -1)
		return err_sys(err, "socket");
	r->sun = sun;
	if (bind_path(r, cfg)) {
		r->sun.sun_path[0] = '\0';
		return err_sys(err, "bind %s", sun.sun_path);
	}
	if (chmod(sun.sun_path, 0660) || listen(r->listen_fd, BACKLOG))
		return err_sys(err, "%s", sun.sun_path);
	return 0;
}

static void close_socket(struct report *r)
{
	fd_close(&r->listen_fd);
	fd_close(&r->asker_fd);
	if (r->sun.sun_path[0])
		unlink(r->sun.sun_path);
	r->sun.sun_path[0] = '\0';
}

static void log_closed(const struct err *why)
{
	unsigned dropped;

	if (log_rate_ok(&closed_rate, 5, 1000, &dropped))
		LOG(WARN, "report.closed", "dropped=%u why=\"%s\" effect=\"nobody can report on this call\"", dropped,
		    why->msg);
}

static struct report *report_new(const struct call *call)
{
	struct report *r = mem_alloc(1, sizeof(*r));
	struct err why;

	if (!r)
		return NULL;
	r->listen_fd = r->asker_fd = -1;
	rnd_token(r->handle, sizeof(r->handle));
	r->handle[0] = REPORT_FIRST;
	worker_watch(call->w, NULL); /* who reports asks a runner */
	if (open_socket(r, call->cfg, &why)) {
		log_closed(&why);
		close_socket(r);
	}
	return r;
}

int report_open(struct call *call, const char **handle, struct err *err)
{
	struct report **rp = &call->priv->report;

	*handle = NULL;
	if (!call->cfg->publish_socket[0] && !call->cfg->publish_listen[0])
		return 0;
	*handle = REPORT_NOBODY;
	if (!call->progress_token)
		return 0;
	if (!*rp && !(*rp = report_new(call)))
		return err_set(err, ERR_NOMEM, "reports");
	*handle = (*rp)->handle;
	return 0;
}

void report_free(struct report **rp)
{
	struct report *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	close_socket(r);
	mem_free(r);
}

/* --- what comes --- */

int report_fd(const struct report *r)
{
	return r->asker_fd != -1 ? r->asker_fd : r->listen_fd;
}

/* In constant time. */
static bool has_secret(const struct report *r, struct slice said)
{
	const char *secret = r->handle + REPORT_NAME_LEN;
	unsigned char diff = 0;

	if (said.len < REPORT_SECRET_LEN)
		return false;
	for (size_t i = 0; i < REPORT_SECRET_LEN; i++)
		diff |= (unsigned char)(secret[i] ^ said.p[i]);
	return diff == 0;
}

/* False: there is nobody to answer to. */
static bool pass_on(struct call *call, struct slice said, enum report_fate *fate)
{
	json_object *params;
	struct err err;
	int ret;

	if (!has_secret(call->priv->report, said) || call_is_cancelled(call))
		return false;
	said.p += REPORT_SECRET_LEN;
	said.len -= REPORT_SECRET_LEN;
	params = jx_parse(said, DEPTH_MAX, &err);
	ret = params ? call_say_progress(call, params, fate, &err) : -1;
	json_object_put(params);
	if (ret && (err.code == ERR_CANCELLED || err.code == ERR_GONE))
		return false;
	if (ret)
		*fate = err.code < ERR_CONFIG ? REPORT_REFUSED : REPORT_FAILED;
	return true;
}

/* One message is all that an asker has to say. It is read in any case: what is left unread would be the end for him,
 * not the answer. */
static void hear(struct call *call)
{
	struct report *r = call->priv->report;
	enum report_fate fate = REPORT_FAILED;
	struct buf said;
	char spare, *room;
	ssize_t got;

	buf_init(&said, REPORT_SECRET_LEN + REPORT_MAX_BYTES);
	room = buf_reserve(&said, said.max);
	got = recv(r->asker_fd, room ? room : &spare, room ? said.max : 1, 0);
	if (got == -1 && (errno == EAGAIN || errno == EINTR)) {
		buf_release(&said);
		return;
	}
	if (got > 0) {
		said.len = room ? (size_t)got : 0;
		if ((!room || pass_on(call, buf_slice(&said), &fate)) &&
		    send(r->asker_fd, &(char){(char)fate}, 1, MSG_NOSIGNAL) == -1)
			LOG(DEBUG, "report.unanswered", "why=\"%s\"", strerror(errno)); /* he has gone */
	}
	fd_close(&r->asker_fd);
	buf_release(&said);
}

void report_take(struct call *call)
{
	struct report *r = call->priv->report;
	struct err err;

	if (r->asker_fd == -1) {
		r->asker_fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (r->asker_fd == -1 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		if (r->asker_fd == -1) { /* it would come again and again */
			err_sys(&err, "accept");
			log_closed(&err);
			close_socket(r);
			return;
		}
	}
	hear(call);
}
