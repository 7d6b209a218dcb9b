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
	uv_signal_t sigterm, sigint, sigusr2;
	struct handover handover;
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
	for (int waited = 0; waited < OTHER_WAIT_MS; waited += OTHER_STEP_MS) {
		struct timespec step = {0, OTHER_STEP_MS * 1000000L};

		if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0) /* perhaps after one that was about to go */
			return SERVER_READY;
		if (errno != EWOULDBLOCK) {
			err_sys(err, "lock " LINK_LOCK_NAME);
			return SERVER_FAILED;
		}
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
	handover_turn(&s->handover);
	if (s->is_stalled != s->broker.store->is_stalled)
		tell_stalled(s);
	return more || bus_is_due(&s->broker); /* what was committed has been answered */
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

static int on_restart(void *arg, struct err *err)
{
	struct server *s = arg;

	return handover_begin(&s->handover, err);
}

static void on_sigusr2(uv_signal_t *handle, int number)
{
	struct err err;

	(void)number;
	if (on_restart(handle->data, &err))
		LOG(ERROR, "broker.handover_failed", "why=\"%s\" goes_on=\"the old program, as before\"", err.msg);
}

static int watch_signals(struct server *s, struct err *err)
{
	uv_loop_t *uv = &s->broker.loop.uv;
	sigset_t none;
	int rc;

	signal(SIGPIPE, SIG_IGN); /* a plain CGI's pipe: EPIPE says it too */
	signal(SIGXFSZ, SIG_IGN); /* a store that may not grow: EFBIG says it too */
	uv_signal_init(uv, &s->sigterm);
	uv_signal_init(uv, &s->sigint);
	s->sigterm.data = s;
	uv_signal_init(uv, &s->sigusr2);
	s->sigint.data = s;
	s->sigusr2.data = s;
	s->has_signals = true;
	rc = uv_signal_start(&s->sigterm, on_signal, SIGTERM);
	if (rc == 0)
		rc = uv_signal_start(&s->sigint, on_signal, SIGINT);
	if (rc == 0)
		rc = uv_signal_start(&s->sigusr2, on_sigusr2, SIGUSR2);
	sigemptyset(&none); /* the program before us blocked them for the time between */
	sigprocmask(SIG_SETMASK, &none, NULL);
	return rc ? err_set(err, ERR_SYS, "signals: %s", uv_strerror(rc)) : 0;
}

/* Locks, store, sockets, as nobody has them yet. The control channel last: who can connect there may rely on the data
 * channel. */
static enum server_start start_fresh(struct server *s, struct err *err)
{
	enum server_start start;

	if (cfg_make_run_dir(s->broker.cfg, err))
		return SERVER_FAILED;
	start = take_lock(s, err);
	if (start != SERVER_READY)
		return start;
	unlink(s->stalled_path); /* of one that was killed */
	if (broker_open(&s->broker, err) || watch_signals(s, err) || bus_open(&s->broker, s->zmq_path, err))
		return SERVER_FAILED;
	s->admin = admin_listen(&s->broker, s->admin_path, err);
	s->listener = s->admin ? ctl_listen(&s->broker, s->ctl_path, err) : NULL;
	return s->listener && broker_budget_fds(&s->broker, err) == 0 ? SERVER_READY : SERVER_FAILED;
}

/* As the program before us had them. */
static enum server_start start_taken(struct server *s, const char *fd, struct err *err)
{
	struct handover_taken taken;

	if (handover_take(&s->broker, fd, &taken, err))
		return SERVER_NO_SNAPSHOT;
	s->lock_fd = taken.lock_fd;
	s->admin = taken.admin;
	s->listener = taken.listener;
	s->handover.began_ms = taken.began_ms;
	if (watch_signals(s, err) || bus_open(&s->broker, s->zmq_path, err))
		return SERVER_NO_SNAPSHOT;
	bus_release(&s->broker);
	return SERVER_READY;
}

/* To the log, and to who asked for it. */
static void tell_taken(struct server *s)
{
	struct broker *b = &s->broker;
	uint64_t pause_ms = now_ms() - s->handover.began_ms;
	struct buf text;

	stats_add(&b->stats, STAT_HANDOVERS, 1);
	LOG(INFO, "broker.taken_over",
	    "version=%s pause_ms=%" PRIu64 " sessions=%zu streams=%zu connections=%zu calls=%zu", PACKAGE_VERSION,
	    pause_ms, b->sessions.count, b->streams.count, b->conns_count, b->calls.count);
	buf_init(&text, 1024);
	buf_addf(&text,
	    "{\"pid\":%d,\"version\":\"%s\",\"pause_ms\":%" PRIu64
	    ",\"sessions\":%zu,\"streams\":%zu,\"connections\":%zu,\"calls\":%zu,\"tasks\":%zu}\n",
	    (int)getpid(), PACKAGE_VERSION, pause_ms, b->sessions.count, b->streams.count, b->conns_count,
	    b->calls.count, b->tasks.count);
	admin_tell_restart(s->admin, 200, buf_slice(&text));
	buf_release(&text);
}

static void init_handover(struct server *s, const struct handover_program *program)
{
	struct handover *h = &s->handover;

	h->broker = &s->broker;
	h->program = program;
	h->listener = s->listener;
	h->admin = s->admin;
	h->zmq_path = s->zmq_path;
	h->lock_fd = s->lock_fd;
	s->broker.restart = on_restart;
	s->broker.restart_arg = s;
}

enum server_start server_start(const struct cfg *cfg, const struct handover_program *program, const char *snapshot_fd,
    struct server **server, struct err *err)
{
	struct server *s = mem_alloc(1, sizeof(*s));
	enum server_start start = SERVER_FAILED;

	if (!s) {
		err_set(err, ERR_NOMEM, "broker");
		return SERVER_FAILED;
	}
	s->lock_fd = -1;
	s->step_timer.fire = on_step;
	handover_init(&s->handover);
	if (broker_init(&s->broker, cfg, turn, s, err)) {
		mem_free(s);
		return SERVER_FAILED;
	}
	s->ctl_path = join(cfg->run_dir, LINK_CTL_NAME, err);
	s->zmq_path = join(cfg->run_dir, LINK_ZMQ_NAME, err);
	s->admin_path = join(cfg->run_dir, LINK_ADMIN_NAME, err);
	s->stalled_path = join(cfg->run_dir, LINK_STALLED_NAME, err);
	umask(0007); /* sockets are for user and group */
	if (s->ctl_path && s->zmq_path && s->admin_path && s->stalled_path)
		start = snapshot_fd ? start_taken(s, snapshot_fd, err) : start_fresh(s, err);
	if (start == SERVER_NO_SNAPSHOT)
		return start; /* as it is: the process is begun anew */
	if (start != SERVER_READY) {
		server_free(&s);
		return start;
	}
	init_handover(s, program);
	LOG(INFO, "broker.listening",
	    "run_dir=\"%s\" store=%s epoch=%" PRIu64 " descriptors=%zu sessions=%jd streams=%jd", cfg->run_dir,
	    s->broker.store->name, s->broker.store->epoch, s->broker.fd_max, (intmax_t)cfg->session_max,
	    (intmax_t)cfg->stream_max);
	if (snapshot_fd)
		tell_taken(s);
	*server = s;
	return SERVER_READY;
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
	handover_release(&s->handover);
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
		uv_close((uv_handle_t *)&s->sigusr2, NULL);
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
