#include "config.h"

#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/gate.h"
#include "common/mem.h"
#include "common/banned.h"

#define BACKLOG 256

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
