#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/bus.h"
#include "broker/call.h"
#include "broker/conn.h"
#include "broker/ctl.h"
#include "broker/producer.h"
#include "broker/server.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define OTHER_WAIT_MS 2000 /* for a broker that holds the lock and is about to listen */
#define OTHER_STEP_MS 50
#define LAST_BYTES_MS 1000 /* at the end of a drain: for the ends of connections to be written */
#define DRAIN_MIN     64   /* waiting connections that a step of the drain ends, if there are as many */

enum drain_step { DRAIN_NONE, DRAIN_CALLS, DRAIN_BYTES };

struct server {
	struct broker broker;
	struct ctl_listener *listener;                         /* owned */
	struct admin *admin;                                   /* owned */
	char *ctl_path, *zmq_path, *admin_path, *stalled_path; /* owned */
	int lock_fd;                                           /* owned: held as long as we live */
	bool is_stalled;                                       /* as stalled_path says */
	uv_signal_t sigterm, sigint;
	bool has_signals;
	enum drain_step step;
	uint64_t step_until_ms;
	struct wheel_timer step_timer;
};

static char *join(const char *dir, const char *name, struct err *err)
{
	char *path = cfg_path_join(dir, name);

	if (!path)
		err_set(err, ERR_NOMEM, "path of %s", name);
	return path;
}

static bool answers(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, rc;

	if (len >= sizeof(sun.sun_path))
		return false;
	memcpy(sun.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return false;
	rc = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
	close(fd);
	return rc == 0;
}

static enum server_start take_lock(struct server *s, struct err *err)
{
	char *path = join(s->broker.cfg->run_dir, LINK_LOCK_NAME, err);

	if (!path)
		return SERVER_FAILED;
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
	if (s->lock_fd == -1) {
		err_sys(err, "%s", path);
		mem_free(path);
		return SERVER_FAILED;
	}
	mem_free(path);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return SERVER_READY;
	if (errno != EWOULDBLOCK) {
		err_sys(err, "lock " LINK_LOCK_NAME);
		return SERVER_FAILED;
	}
	for (int waited = 0; waited < OTHER_WAIT_MS; waited += OTHER_STEP_MS) {
		struct timespec step = {0, OTHER_STEP_MS * 1000000L};

		if (answers(s->ctl_path))
			return SERVER_OTHER_RUNS;
		nanosleep(&step, NULL);
	}
	err_set(err, ERR_BROKER, "another process holds %s in %s, and does not answer", LINK_LOCK_NAME,
	    s->broker.cfg->run_dir);
	return SERVER_FAILED;
}

/* A file says it to the workers, plain CGI too: its health page must not need an answer of ours. */
static void tell_stalled(struct server *s)
{
	int fd;

	s->is_stalled = s->broker.store->is_stalled;
	if (!s->is_stalled) {
		unlink(s->stalled_path);
		return;
	}
	fd = open(s->stalled_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
	if (fd == -1)
		LOG(WARN, "broker.stalled", "file=\"%s\" errno=%d", s->stalled_path, errno);
	else
		close(fd);
}

static bool turn(void *arg)
{
	struct server *s = arg;
	bool more = bus_turn(&s->broker);

	more = s->broker.store->reap(s->broker.store) || more;
	if (s->is_stalled != s->broker.store->is_stalled)
		tell_stalled(s);
	return more;
}

static void send_drain(struct table_node *n, void *arg)
{
	struct link_header h = {.type = LINK_DRAIN};

	(void)arg;
	bus_send(TABLE_OF(n, struct producer, node), &h, SLICE(""), SLICE(""));
}

static void is_answer_owed(struct table_node *n, void *arg)
{
	const struct call *c = TABLE_OF(n, struct call, node);
	bool *owed = arg;

	if (c->producer && call_stream(c))
		*owed = true;
}

/* A question to a client waits for its answer, whichever broker runs then. */
static void end_call(struct table_node *n, void *arg)
{
	struct call *c = TABLE_OF(n, struct call, node);

	(void)arg;
	if (!c->broker->store->is_durable || !call_is_parked(c))
		call_end(c, "the broker stops");
}

/* Its client comes again, for what the next broker has of it. */
static void end_reading(struct table_node *n, void *arg)
{
	struct stream *s = TABLE_OF(n, struct stream, node);

	(void)arg;
	if (s->conn)
		conn_end_until(s->conn, 0);
}

/* A step of the drain, for connections that wait for news. */
struct share {
	size_t left;    /* it may end so many more */
	uint64_t in_ms; /* the drain takes so much longer, as far as one can tell */
};

static void end_waiting(struct table_node *n, void *arg)
{
	struct stream *s = TABLE_OF(n, struct stream, node);
	struct share *share = arg;

	if (share->left == 0 || !s->conn || !(s->is_own || (s->is_listen && s->call)))
		return;
	if (s->session && s->session->calls) /* their answers, or their questions, may come there */
		return;
	share->left--;
	if (s->is_listen)
		call_end(s->call, "the broker stops");
	else
		conn_end_until(s->conn, share->in_ms);
}

/* Ends some of the connections that wait for news, so that all are ended in time, spread over it: their clients, and
 * the web server, shall not all move at once. Whether there were any. */
static bool end_share(struct server *s, bool is_owed)
{
	struct broker *b = &s->broker;
	uint64_t left_ms = s->step_until_ms - loop_now(&b->loop);
	size_t count = b->waiting_count * WHEEL_TICK_MS / left_ms + 1, most = count > DRAIN_MIN ? count : DRAIN_MIN;
	struct share share = {.left = most};

	share.in_ms = is_owed ? left_ms : b->waiting_count / most * WHEEL_TICK_MS;
	table_each(&b->streams, end_waiting, &share);
	return share.left < most;
}

/* The workers had their time: who still waits for an answer gets the will, then every connection its end. */
static void end_all(struct server *s)
{
	struct broker *b = &s->broker;
	struct table_node *n;

	LOG(INFO, "broker.ending", "calls=%zu streams=%zu sessions=%zu", b->calls.count, b->streams.count,
	    b->sessions.count);
	table_each(&b->calls, end_call, NULL);
	if (b->store->is_durable)
		table_each(&b->streams, end_reading, NULL);
	while (!b->store->is_durable && (n = table_any(&b->sessions)) != NULL)
		session_close(TABLE_OF(n, struct session, node), "the broker stops");
	s->step = DRAIN_BYTES;
	s->step_until_ms = loop_now(&b->loop) + LAST_BYTES_MS;
}

static void on_step(struct wheel_timer *t)
{
	struct server *s = TABLE_OF(t, struct server, step_timer);
	struct broker *b = &s->broker;
	bool owed = false, late = loop_now(&b->loop) >= s->step_until_ms;

	if (s->step == DRAIN_CALLS) {
		table_each(&b->calls, is_answer_owed, &owed);
		if (late || (!end_share(s, owed) && !owed))
			end_all(s);
	} else if (!b->conns || late) {
		loop_stop(&b->loop);
		return;
	}
	loop_timer(&b->loop, &s->step_timer, WHEEL_TICK_MS);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct server *s = handle->data;
	struct broker *b = &s->broker;

	if (s->step != DRAIN_NONE) {
		LOG(WARN, "broker.stop", "signal=%d why=\"the second one: at once\"", number);
		loop_stop(&b->loop);
		return;
	}
	LOG(INFO, "broker.drain", "signal=%d ms=%jd calls=%zu streams=%zu", number, (intmax_t)b->cfg->broker_drain_ms,
	    b->calls.count, b->streams.count);
	s->step = DRAIN_CALLS;
	s->step_until_ms = loop_now(&b->loop) + (uint64_t)b->cfg->broker_drain_ms;
	b->draining = true;
	ctl_stop_accepting(s->listener);
	table_each(&b->producers, send_drain, NULL);
	loop_timer(&b->loop, &s->step_timer, 0);
}

static int watch_signals(struct server *s, struct err *err)
{
	uv_loop_t *uv = &s->broker.loop.uv;
	int rc;

	signal(SIGPIPE, SIG_IGN); /* a plain CGI's pipe: EPIPE says it too */
	signal(SIGXFSZ, SIG_IGN); /* a store that may not grow: EFBIG says it too */
	uv_signal_init(uv, &s->sigterm);
	uv_signal_init(uv, &s->sigint);
	s->sigterm.data = s;
	s->sigint.data = s;
	s->has_signals = true;
	rc = uv_signal_start(&s->sigterm, on_signal, SIGTERM);
	if (rc == 0)
		rc = uv_signal_start(&s->sigint, on_signal, SIGINT);
	return rc ? err_set(err, ERR_SYS, "signals: %s", uv_strerror(rc)) : 0;
}

enum server_start server_start(const struct cfg *cfg, struct server **server, struct err *err)
{
	struct server *s = mem_alloc(1, sizeof(*s));
	enum server_start start = SERVER_FAILED;

	if (!s) {
		err_set(err, ERR_NOMEM, "broker");
		return SERVER_FAILED;
	}
	s->lock_fd = -1;
	s->step_timer.fire = on_step;
	if (broker_init(&s->broker, cfg, turn, s, err)) {
		mem_free(s);
		return SERVER_FAILED;
	}
	s->ctl_path = join(cfg->run_dir, LINK_CTL_NAME, err);
	s->zmq_path = join(cfg->run_dir, LINK_ZMQ_NAME, err);
	s->admin_path = join(cfg->run_dir, LINK_ADMIN_NAME, err);
	s->stalled_path = join(cfg->run_dir, LINK_STALLED_NAME, err);
	if (!s->ctl_path || !s->zmq_path || !s->admin_path || !s->stalled_path || cfg_make_run_dir(cfg, err))
		goto fail;
	umask(0007); /* sockets are for user and group */
	start = take_lock(s, err);
	if (start != SERVER_READY)
		goto fail;
	start = SERVER_FAILED;
	unlink(s->stalled_path); /* of one that was killed */
	if (broker_open(&s->broker, err) || watch_signals(s, err) || bus_open(&s->broker, s->zmq_path, err))
		goto fail;
	s->admin = admin_listen(&s->broker, s->admin_path, err);
	if (!s->admin)
		goto fail;
	/* Last: who can connect to the control channel may rely on the data channel. */
	s->listener = ctl_listen(&s->broker, s->ctl_path, err);
	if (!s->listener || broker_budget_fds(&s->broker, err))
		goto fail;
	LOG(INFO, "broker.listening",
	    "run_dir=\"%s\" store=%s epoch=%" PRIu64 " descriptors=%zu sessions=%jd streams=%jd", cfg->run_dir,
	    s->broker.store->name, s->broker.store->epoch, s->broker.fd_max, (intmax_t)cfg->session_max,
	    (intmax_t)cfg->stream_max);
	*server = s;
	return SERVER_READY;
fail:
	server_free(&s);
	return start;
}

void server_run(struct server *s)
{
	LOG(INFO, "broker.ready", "pid=%d", (int)getpid());
	loop_run(&s->broker.loop);
	LOG(INFO, "broker.stopped", "calls=%zu sessions=%zu", s->broker.calls.count, s->broker.sessions.count);
}

void server_free(struct server **sp)
{
	struct server *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	if (s->listener) { /* only what is ours: an older broker's sockets are not */
		unlink(s->ctl_path);
		ctl_listener_close(&s->listener);
	}
	if (s->admin) {
		unlink(s->admin_path);
		admin_close(&s->admin);
	}
	if (s->broker.bus) {
		bus_close(&s->broker);
		unlink(s->zmq_path);
	}
	if (s->has_signals) {
		uv_close((uv_handle_t *)&s->sigterm, NULL);
		uv_close((uv_handle_t *)&s->sigint, NULL);
	}
	broker_release(&s->broker);
	if (s->is_stalled)
		unlink(s->stalled_path);
	if (s->lock_fd != -1)
		close(s->lock_fd);
	mem_free(s->ctl_path);
	mem_free(s->zmq_path);
	mem_free(s->admin_path);
	mem_free(s->stalled_path);
	mem_free(s);
}
