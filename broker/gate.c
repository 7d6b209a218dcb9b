#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/gate.h"
#include "broker/table.h"
#include "common/mem.h"
#include "common/banned.h"

#define BACKLOG  256
#define PAUSE_MS 200

/* Names or numbers to numbers. */
int gate_init(struct gate *g, const struct cfg *cfg, struct err *err)
{
	const struct cfg_list *names = &cfg->broker_peer_uids;

	*g = (struct gate){0};
	if (names->count == 0)
		return 0;
	g->uids = mem_alloc(names->count, sizeof(*g->uids));
	if (!g->uids)
		return err_set(err, ERR_NOMEM, "broker_peer_uids");
	for (size_t i = 0; i < names->count; i++) {
		const char *name = names->items[i];
		const struct passwd *pw = getpwnam(name);
		char *end;
		unsigned long n = strtoul(name, &end, 10);

		if (!pw && (name[0] < '0' || name[0] > '9' || *end != '\0'))
			return err_set(err, ERR_CONFIG, "broker_peer_uids: no user \"%s\"", name);
		g->uids[g->uids_count++] = pw ? pw->pw_uid : (uid_t)n;
	}
	return 0;
}

void gate_release(struct gate *g)
{
	mem_free(g->uids);
	*g = (struct gate){0};
}

bool gate_may_pass(const struct gate *g, int fd, struct ucred *peer)
{
	socklen_t len = sizeof(*peer);

	*peer = (struct ucred){0};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len))
		return false;
	if (peer->uid == 0 || peer->uid == geteuid())
		return true;
	for (size_t i = 0; i < g->uids_count; i++) {
		if (g->uids[i] == peer->uid)
			return true;
	}
	return false;
}

static void on_pause_over(struct wheel_timer *t)
{
	struct gate *g = TABLE_OF(t, struct gate, pause);

	uv_poll_start(g->watch, UV_READABLE, g->on_connect);
}

void gate_watch(struct gate *g, struct loop *loop, uv_poll_t *watch, uv_poll_cb on_connect)
{
	g->loop = loop;
	g->watch = watch;
	g->on_connect = on_connect;
	g->pause.fire = on_pause_over;
	loop_untimer(loop, &g->pause);
	uv_poll_start(watch, UV_READABLE, on_connect);
}

void gate_unwatch(struct gate *g)
{
	if (!g->watch)
		return;
	loop_untimer(g->loop, &g->pause);
	uv_poll_stop(g->watch);
}

int gate_accept(struct gate *g, int fd)
{
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	unsigned dropped;

	if (peer != -1 || (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM))
		return peer;
	if (log_rate_ok(&g->rate, 1, 10000, &dropped))
		LOG(ERROR, "gate.closed", "errno=%d why=\"no descriptor for who connects\" pause_ms=%d not_logged=%u",
		    errno, PAUSE_MS, dropped);
	uv_poll_stop(g->watch);
	loop_timer(g->loop, &g->pause, PAUSE_MS);
	return -1;
}

int gate_listen(const char *path, int type, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if (len >= sizeof(sun.sun_path))
		return err_set(err, ERR_CONFIG, "run_dir: %s is longer than a socket's path may be (%zu)", path,
		    sizeof(sun.sun_path) - 1);
	memcpy(sun.sun_path, path, len + 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return err_sys(err, "socket");
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) || chmod(path, 0660) || listen(fd, BACKLOG)) {
		err_sys(err, "%s", path);
		close(fd);
		return -1;
	}
	return fd;
}
