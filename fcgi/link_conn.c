#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/daemon_start.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

#define START_PAUSE_MS   1000 /* between two starts of a broker by this process */
#define CONNECT_STEP_MS  10
#define ATTEMPT_SLACK_MS 500 /* it ends at its deadline by itself: by then it has put away what it started */
#define AWAIT_STEP_MS    50  /* between two looks for a broker that is away */
#define HWM              128
#define RECONNECT_MS     50

static int ctl_connect_once(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int saved;

	if (fd == -1 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* Returns the control socket, or -1. A full backlog is waited for; no broker is started at most once. */
static int ctl_open(struct link *l, bool may_start, uint64_t deadline_ms, struct err *err)
{
	const struct timespec step = {.tv_nsec = CONNECT_STEP_MS * 1000000L};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	bool is_started = false;
	int fd;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", l->cfg->run_dir, LINK_CTL_NAME) >=
	    (int)sizeof(addr.sun_path))
		return err_set(err, ERR_BROKER, "run_dir %s is too long for a socket's name", l->cfg->run_dir);
	for (;;) {
		bool is_absent, is_full;

		fd = ctl_connect_once(&addr);
		if (fd != -1)
			return fd;
		is_absent = errno == ENOENT || errno == ECONNREFUSED;
		is_full = errno == EAGAIN;
		err_sys(err, "connect %s", addr.sun_path);
		if (err)
			err->code = ERR_BROKER;
		if (is_absent && may_start && l->cfg->broker_autostart && !is_started) {
			if (now_ms() < l->start_at_ms)
				return err_wrap(err, "a broker was started less than a second ago");
			is_started = true;
			if (daemon_start(l->cfg, "mcp-broker", l->cfg->broker_program, deadline_ms, err)) {
				l->start_at_ms = now_ms() + START_PAUSE_MS;
				return -1;
			}
			l->start_at_ms = now_ms() + START_PAUSE_MS;
			continue;
		}
		if (!is_full && !(is_absent && is_started))
			return -1;
		if (now_ms() >= deadline_ms)
			return err_wrap(err, "not in time");
		nanosleep(&step, NULL);
	}
}

struct welcome {
	uint64_t epoch, credit_bytes;
	uint32_t body_max;
	bool is_known, takes_callers, takes_events;
};

static int welcome_read(struct slice in, struct welcome *w, struct err *err)
{
	struct link_header h;
	char text[128];
	bool bad = false;
	unsigned code;

	/* A broker of another version may say so in its own header: look at the version before anything else. */
	if (link_get_header(in, &h, err))
		return -1;
	in.p += LINK_HEADER_LEN;
	in.len -= LINK_HEADER_LEN;
	if (h.type == LINK_NACK) {
		code = link_get_u16(&in, &bad);
		link_get_u32(&in, &bad);
		log_quote(text, sizeof(text), link_get_bytes(&in, &bad));
		return err_set(err, ERR_LINK, "broker says %s: %s", link_nack_name(code), text);
	}
	if (h.type != LINK_WELCOME)
		return err_set(err, ERR_LINK, "%s for WELCOME", link_type_name(h.type));
	code = link_get_u16(&in, &bad);
	w->epoch = link_get_u64(&in, &bad);
	w->credit_bytes = link_get_u64(&in, &bad);
	w->body_max = link_get_u32(&in, &bad);
	w->is_known = link_get_u8(&in, &bad);
	w->takes_callers = in.len > 0 && link_get_u8(&in, &bad) == LINK_CALLS_BY_CALLER;
	w->takes_events = in.len > 0 && link_get_u8(&in, &bad) == LINK_EVENTS_BY_CALLER;
	if (bad || w->credit_bytes > INT64_MAX)
		return err_set(err, ERR_LINK, "malformed WELCOME");
	if (code != LINK_VERSION)
		return err_set(err, ERR_LINK, "link version %u, ours is %d", code, LINK_VERSION);
	return 0;
}

static int hello(int ctl, uint64_t producer, uint32_t connection, enum link_role role, uint64_t deadline_ms,
    struct welcome *w, struct err *err)
{
	struct link_header h = {
	    .version = LINK_VERSION_HELLO, .type = LINK_HELLO, .producer = producer, .corr = connection};
	struct pollfd fd = {.fd = ctl, .events = POLLIN};
	struct buf packet;
	char answer[1024];
	uint64_t now;
	ssize_t n;
	int rc;

	buf_init(&packet, sizeof(answer));
	h.body_len = 2 + 2 + 4 + 4 + sizeof(PACKAGE_VERSION) - 1 + 1;
	link_put_header(&packet, &h);
	link_put_u16(&packet, LINK_VERSION);
	link_put_u16(&packet, LINK_VERSION);
	link_put_u32(&packet, (uint32_t)getpid());
	link_put_bytes(&packet, SLICE(PACKAGE_VERSION));
	link_put_u8(&packet, (uint8_t)role);
	rc = buf_check(&packet, err);
	if (!rc && send(ctl, packet.data, packet.len, MSG_NOSIGNAL) == -1)
		rc = err_sys(err, "send HELLO");
	buf_release(&packet);
	while (!rc) {
		now = now_ms();
		if (now >= deadline_ms)
			return err_set(err, ERR_BROKER, "no WELCOME in time");
		if (poll(&fd, 1, (int)(deadline_ms - now)) <= 0)
			continue;
		n = recv(ctl, answer, sizeof(answer), MSG_DONTWAIT);
		if (n > 0)
			return welcome_read((struct slice){answer, (size_t)n}, w, err);
		if (n == 0)
			return err_set(err, ERR_BROKER, "closed instead of WELCOME");
		if (errno != EAGAIN && errno != EINTR)
			return err_sys(err, "receive WELCOME");
	}
	return rc;
}

static int dealer_open(struct link *l, struct err *err)
{
	static const int linger = 0, immediate = 1, hwm = HWM, reconnect = RECONNECT_MS;
	int64_t frame_max = (int64_t)link_body_max(l->cfg);
	unsigned char id[LINK_ROUTING_LEN];
	char endpoint[sizeof(struct sockaddr_un) + 16];
	size_t len = sizeof(l->dealer_fd);

	link_routing_id(l->producer, l->connection, id);
	snprintf(endpoint, sizeof(endpoint), "ipc://%s/%s", l->cfg->run_dir, LINK_ZMQ_NAME);
	if (!l->context)
		l->context = zmq_ctx_new(); /* one I/O thread is its default */
	if (!l->context)
		return err_sys(err, "make a ZeroMQ context");
	l->dealer = zmq_socket(l->context, ZMQ_DEALER);
	if (!l->dealer)
		return err_sys(err, "make a DEALER");
	if (zmq_setsockopt(l->dealer, ZMQ_LINGER, &linger, sizeof(linger)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_IMMEDIATE, &immediate, sizeof(immediate)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_SNDHWM, &hwm, sizeof(hwm)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_RCVHWM, &hwm, sizeof(hwm)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_MAXMSGSIZE, &frame_max, sizeof(frame_max)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_RECONNECT_IVL, &reconnect, sizeof(reconnect)) == 0 &&
	    zmq_setsockopt(l->dealer, ZMQ_ROUTING_ID, id, sizeof(id)) == 0 &&
	    zmq_getsockopt(l->dealer, ZMQ_FD, &l->dealer_fd, &len) == 0 && zmq_connect(l->dealer, endpoint) == 0)
		return 0;
	err_sys(err, "connect a DEALER to %s", endpoint);
	zmq_close(l->dealer);
	return -1;
}

/* With mtx held. Its argument is what the process is known by from then on. */
static int thread_start(struct link *l, struct err *err)
{
	sigset_t all, before;
	int rc;

	if (l->has_thread)
		return 0;
	if (l->wake_fd == -1)
		l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd == -1)
		return err_sys(err, "make an eventfd");
	if (!buf_reserve(&l->head, LINK_HEADER_LEN))
		return buf_check(&l->head, err);
	l->producer = rnd_u64() | 1; /* after fork, and never 0 */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, NULL, link_thread, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "start the link thread");
	}
	l->has_thread = true;
	return 0;
}

/* All credit is granted anew, but for what waits to be sent. With mtx held. */
static int64_t credit_left(const struct link *l)
{
	const struct request_fifo *const lines[] = {&l->sendq, &l->inbox};
	const struct request *req;
	int64_t credit = l->credit_full;

	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		TAILQ_FOREACH(req, lines[i], fifo)
		credit -= req->is_tried ? 0 : (int64_t)req->credit;
	}
	return credit;
}

static int link_begin(struct link *l, int ctl, const struct welcome *w, struct slice tasks, struct err *err)
{
	int rc;

	pthread_mutex_lock(&l->mtx);
	rc = l->connection > 1 ? link_return(l, w->is_known, tasks, err) : 0;
	if (!rc) {
		l->ctl = ctl;
		l->takes_callers = w->takes_callers;
		l->takes_events = w->takes_events;
		l->epoch = w->epoch;
		l->credit_full = (int64_t)w->credit_bytes;
		l->credit = credit_left(l);
		l->body_max = w->body_max;
		l->is_draining = false;
		l->is_asleep = false;
		l->state = LINK_UP;
	}
	pthread_mutex_unlock(&l->mtx);
	return rc;
}

int link_connect(struct link *l, bool may_start, uint64_t deadline_ms, struct err *err)
{
	struct welcome w = {0};
	struct buf tasks;
	int ctl = ctl_open(l, may_start, deadline_ms, err), rc;

	if (ctl == -1)
		return -1;
	pthread_mutex_lock(&l->mtx);
	l->connection++;
	pthread_mutex_unlock(&l->mtx);
	if (hello(ctl, l->producer, l->connection, l->runner ? LINK_ROLE_RUNNER : LINK_ROLE_WORKER, deadline_ms, &w,
		err)) {
		err_wrap(err, "handshake with the broker");
		close(ctl);
		return -1;
	}
	if (dealer_open(l, err)) {
		close(ctl);
		return -1;
	}
	l->hold = LINK_HOLD_NONE;
	l->is_dealer_due = true;
	buf_init(&tasks, link_body_max(l->cfg));
	if (l->runner)
		l->runner->list(l->runner->arg, &tasks);
	else
		link_put_u32(&tasks, 0);
	rc = buf_check(&tasks, err);
	if (!rc)
		rc = link_begin(l, ctl, &w, buf_slice(&tasks), err);
	buf_release(&tasks);
	if (rc) {
		zmq_close(l->dealer);
		close(ctl);
		return -1;
	}
	LOG(INFO, "link.up", "producer=%016" PRIx64 " connection=%" PRIu32 " epoch=%" PRIu64 " credit_bytes=%" PRIu64,
	    l->producer, l->connection, w.epoch, w.credit_bytes);
	return 0;
}

bool link_wait_changed(struct link *l, uint64_t deadline_ms)
{
	struct timespec at = {.tv_sec = (time_t)(deadline_ms / 1000), .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

	return pthread_cond_timedwait(&l->changed, &l->mtx, &at) == 0 || now_ms() < deadline_ms;
}

static atomic_int own_pid; /* 0: not asked for yet, or it was the parent's */

static void forget_own_pid(void)
{
	atomic_store(&own_pid, 0);
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, forget_own_pid);
}

static int check_pid(struct link *l, struct err *err)
{
	int unused = 0, pid = atomic_load(&own_pid);

	if (pid == 0) {
		pid = (int)getpid();
		atomic_store(&own_pid, pid);
	}

	if (!atomic_compare_exchange_strong(&l->pid, &unused, pid) && unused != pid)
		return err_set(err, ERR_BROKER, "the link is that of process %d, before fork", unused);
	return 0;
}

int link_lock(struct link *l, struct err *err)
{
	if (check_pid(l, err))
		return -1;
	pthread_mutex_lock(&l->mtx);
	if (l->connection > 0)
		return 0;
	pthread_mutex_unlock(&l->mtx);
	return err_set(err, ERR_BROKER, "there was no broker yet");
}

/* Until the outcome of an attempt that begins now, or of one that is under way and does all that ours would. With mtx
 * held. -1: *why. */
static int wait_up(struct link *l, uint64_t deadline_ms, struct err *why)
{
	unsigned target = l->attempt + 1 + (l->state == LINK_CONNECTING && l->is_draining);

	if (thread_start(l, why))
		return -1;
	if (l->state == LINK_DOWN || target > l->attempt + 1) {
		l->is_wanted = true;
		l->wanted_until_ms = deadline_ms;
		link_wake(l);
	}
	while (l->state != LINK_UP && (int)(l->attempt - target) < 0 &&
	       link_wait_changed(l, deadline_ms + ATTEMPT_SLACK_MS))
		;
	if (l->state == LINK_UP)
		return 0;
	if ((int)(l->attempt - target) < 0)
		return err_set(why, ERR_BROKER, "no connection in time");
	*why = l->attempt_err;
	return -1;
}

int link_lock_up(struct link *l, bool connects, uint64_t deadline_ms, struct err *err)
{
	struct err why;

	if (check_pid(l, err))
		return -1;
	pthread_mutex_lock(&l->mtx);
	if (l->state == LINK_UP)
		return 0;
	err_set(&why, ERR_BROKER, "the broker went away");
	if (connects && wait_up(l, deadline_ms, &why) == 0)
		return 0;
	pthread_mutex_unlock(&l->mtx);
	return err_set(err, ERR_BROKER, "%s", why.msg); /* whatever it was, it is the broker that can't be reached */
}

/* One look. 0: there is a broker. -1: not yet, or one that begins nothing new: then its end was waited for. */
static int look_for_broker(struct link *l, bool begins, uint64_t deadline_ms, struct err *err)
{
	bool is_ready;

	if (link_lock_up(l, true, deadline_ms, err))
		return -1;
	while (begins && l->state == LINK_UP && l->is_draining && link_wait_changed(l, deadline_ms))
		;
	is_ready = l->state == LINK_UP && !(begins && l->is_draining);
	pthread_mutex_unlock(&l->mtx);
	return is_ready ? 0 : err_set(err, ERR_BUSY, "the broker is going down");
}

static bool is_ready_now(struct link *l, bool begins)
{
	bool is_ready;

	if (link_lock_up(l, false, 0, NULL))
		return false;
	is_ready = !(begins && l->is_draining);
	pthread_mutex_unlock(&l->mtx);
	return is_ready;
}

/* False: enough of us wait. */
static bool awaiting_begin(struct link *l)
{
	bool may;

	pthread_mutex_lock(&l->mtx);
	may = l->awaiting < ((unsigned)l->cfg->worker_calls_max + 1) / 2;
	l->awaiting += may;
	pthread_mutex_unlock(&l->mtx);
	return may;
}

static void awaiting_end(struct link *l)
{
	pthread_mutex_lock(&l->mtx);
	l->awaiting--;
	pthread_mutex_unlock(&l->mtx);
}

int link_await(struct link *l, bool begins, void (*aside)(void *arg), void *arg, struct err *err)
{
	const struct timespec step = {.tv_nsec = AWAIT_STEP_MS * 1000000L};
	uint64_t deadline_ms = link_deadline(l);
	int ret;

	if (is_ready_now(l, begins))
		return 0;
	if (!awaiting_begin(l))
		return err_set(err, ERR_BUSY, "enough requests wait for the broker");
	aside(arg);
	while ((ret = look_for_broker(l, begins, deadline_ms, err)) != 0 && now_ms() < deadline_ms)
		nanosleep(&step, NULL);
	awaiting_end(l);
	return ret;
}

/* --- the whole --- */

struct link *link_new(const struct cfg *cfg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct link *l = mem_alloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	pthread_once(&once, watch_forks);
	l->cfg = cfg;
	l->wake_fd = -1;
	l->ctl = -1;
	TAILQ_INIT(&l->inbox);
	TAILQ_INIT(&l->sendq);
	buf_init(&l->head, LINK_HEADER_LEN);
	buf_init(&l->stats, STATS_MAX);
	pthread_mutex_init(&l->mtx, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	return l;
}

void link_free(struct link **linkp)
{
	struct link *l = *linkp;
	int pid;

	if (!l)
		return;
	*linkp = NULL;
	pid = atomic_load(&l->pid);
	if (pid && pid != (int)getpid()) {
		/* A child: the thread is not here and ZeroMQ's context is not ours to end. But as long as we hold the
		 * control socket the broker would not see our parent die. */
		if (l->ctl != -1)
			close(l->ctl);
	} else {
		if (l->has_thread) {
			pthread_mutex_lock(&l->mtx);
			l->is_stopping = true;
			pthread_mutex_unlock(&l->mtx);
			link_wake(l);
			pthread_join(l->thread, NULL);
		}
		if (l->context)
			zmq_ctx_term(l->context);
		pthread_cond_destroy(&l->changed);
		pthread_mutex_destroy(&l->mtx);
	}
	link_callers_close(l);
	while (l->spare_fds_count > 0)
		close(l->spare_fds[--l->spare_fds_count]);
	if (l->wake_fd != -1)
		close(l->wake_fd);
	buf_release(&l->head);
	buf_release(&l->stats);
	mem_free(l);
}

bool link_is_up(struct link *l)
{
	bool is_up;

	pthread_mutex_lock(&l->mtx);
	is_up = l->state == LINK_UP;
	pthread_mutex_unlock(&l->mtx);
	return is_up;
}

int link_check(struct link *l, struct err *err)
{
	uint64_t stuck_ms = atomic_load(&l->stuck_ms);
	bool is_needed;

	pthread_mutex_lock(&l->mtx);
	is_needed = l->attempt > 0;
	pthread_mutex_unlock(&l->mtx);
	if (!is_needed)
		return 0;
	if (link_lock_up(l, true, link_deadline(l), err))
		return -1;
	pthread_mutex_unlock(&l->mtx);
	if (stuck_ms && now_ms() < stuck_ms + LINK_STUCK_MS)
		return err_set(err, ERR_BUSY, "the broker did not do what it was asked");
	return 0;
}
