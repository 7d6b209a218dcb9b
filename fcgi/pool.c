/* worker_threads threads wait for requests. One whose request takes long goes on with its call but no longer counts:
 * another is started in its place, so that answers and cancels always find a free thread. When it is done it waits for
 * requests again, or ends if enough others do. From worker_calls_max such calls on no further one begins (method.c).
 *
 * The end: SIGTERM and SIGQUIT are blocked everywhere and taken by sigwait() here; threads that sit in accept() are
 * woken by SIGUSR1 (FCGI_FAIL_ACCEPT_ON_INTR). The listening socket is shared with other processes and never shut down.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/pool.h"
#include "fcgi/req_fcgi.h"
#include "common/banned.h"

#define ACCEPT_PAUSE_US  50000 /* after accept() failed for lack of descriptors or memory */
#define WAKE_STEP_MS     10
#define WAKE_STEP_MAX_MS 1000

struct pool {
	struct worker *w; /* borrowed */
	int listen_fd;    /* borrowed */
	atomic_bool stopping;
	pthread_mutex_t mtx;
	pthread_cond_t ended;
	struct pool_thread *threads; /* by mtx: a list */
	size_t total, accepting;     /* by mtx: threads, and those that count as waiting for requests */
};

struct pool_thread {
	struct pool *pool;
	pthread_t id;
	bool counts; /* by mtx: among accepting */
	struct pool_thread *next;
};

static void on_wake(int sig)
{
	(void)sig; /* accept() fails with EINTR: that is all */
}

static void *thread_main(void *arg);

/* With mtx held. */
static bool start_thread(struct pool *pool)
{
	struct pool_thread *t = mem_alloc(1, sizeof(*t));

	if (!t)
		return false;
	*t = (struct pool_thread){.pool = pool, .counts = true, .next = pool->threads};
	if (pthread_create(&t->id, NULL, thread_main, t) != 0) {
		mem_free(t);
		return false;
	}
	pthread_detach(t->id);
	pool->threads = t;
	pool->total++;
	pool->accepting++;
	return true;
}

/* With mtx held. */
static void count_calls(struct pool *pool)
{
	pool->w->is_full = pool->total - pool->accepting >= (size_t)pool->w->cfg.worker_calls_max;
}

/* worker_serve's busy: this thread's request is out of the way of others. All threads may have begun a call before the
 * one that made it full. */
static void on_busy(void *arg)
{
	struct pool_thread *t = arg;
	struct pool *pool = t->pool;
	size_t threads = (size_t)pool->w->cfg.worker_threads;

	pthread_mutex_lock(&pool->mtx);
	if (t->counts) {
		t->counts = false;
		pool->accepting--;
	}
	if (!pool->stopping && pool->accepting < threads &&
	    pool->total < (size_t)pool->w->cfg.worker_calls_max + 2 * threads)
		start_thread(pool);
	count_calls(pool);
	pthread_mutex_unlock(&pool->mtx);
}

/* After a request: true when this thread is to wait for the next. */
static bool stays(struct pool_thread *t)
{
	struct pool *pool = t->pool;
	bool stay;

	pthread_mutex_lock(&pool->mtx);
	if (!t->counts && pool->accepting < (size_t)pool->w->cfg.worker_threads) {
		t->counts = true;
		pool->accepting++;
		count_calls(pool);
	}
	stay = t->counts && !pool->stopping;
	pthread_mutex_unlock(&pool->mtx);
	return stay;
}

static void leave(struct pool_thread *t)
{
	struct pool *pool = t->pool;
	struct pool_thread **at;

	pthread_mutex_lock(&pool->mtx);
	for (at = &pool->threads; *at != t; at = &(*at)->next)
		;
	*at = t->next;
	pool->total--;
	pool->accepting -= t->counts;
	count_calls(pool);
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->mtx);
	mem_free(t);
}

static void *thread_main(void *arg)
{
	struct pool_thread *t = arg;
	struct pool *pool = t->pool;
	struct req_fcgi req;
	struct err err = {0};

	if (req_fcgi_init(&req, pool->listen_fd, &err)) {
		LOG(ERROR, "thread.failed", "why=\"%s\"", err.msg);
		leave(t);
		return NULL;
	}
	while (!pool->stopping) {
		if (req_fcgi_accept(&req, &err) == 0) {
			worker_serve(pool->w, &req.base, on_busy, t);
			if (!stays(t))
				break;
		} else if (err.code != ERR_GONE) {
			static struct log_rate rate;
			unsigned dropped;

			if (log_rate_ok(&rate, 1, 1000, &dropped))
				LOG(ERROR, "accept.failed", "why=\"%s\" dropped=%u", err.msg, dropped);
			usleep(ACCEPT_PAUSE_US);
		}
	}
	req_fcgi_finish(&req);
	leave(t);
	return NULL;
}

/* Whether SIGTERM or SIGINT is there by now. */
static bool is_told_to_hurry(const sigset_t *ends)
{
	const struct timespec now = {0};
	int sig = sigtimedwait(ends, NULL, &now);

	return sig == SIGTERM || sig == SIGINT;
}

/* Wakes and waits until no thread is left or the time is over; how many are left. is_patient: their calls may take as
 * long as they do, until somebody says otherwise. */
static size_t stop(struct pool *pool, const sigset_t *ends, bool is_patient)
{
	uint64_t drain_ms = (uint64_t)pool->w->cfg.worker_drain_ms,
		 end_ms = is_patient ? UINT64_MAX : now_ms() + drain_ms;
	long step_ms = WAKE_STEP_MS;
	size_t left;

	pool->stopping = true;
	FCGX_ShutdownPending();
	pthread_mutex_lock(&pool->mtx);
	while (pool->total > 0 && now_ms() < end_ms) {
		struct timespec until;

		for (struct pool_thread *t = pool->threads; t; t = t->next) {
			if (t->counts) /* others see it when their call is over */
				pthread_kill(t->id, SIGUSR1);
		}
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += step_ms % 1000 * 1000000L;
		until.tv_sec += step_ms / 1000 + until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&pool->ended, &pool->mtx, &until);
		if (is_patient && step_ms < WAKE_STEP_MAX_MS)
			step_ms += WAKE_STEP_MS;
		if (end_ms == UINT64_MAX && is_told_to_hurry(ends))
			end_ms = now_ms() + drain_ms;
	}
	left = pool->total;
	pthread_mutex_unlock(&pool->mtx);
	return left;
}

int pool_run(struct worker *w, int listen_fd, struct err *err)
{
	static struct pool pool; /* outlives the call when threads do */
	struct sigaction wake = {.sa_handler = on_wake}, ignore = {.sa_handler = SIG_IGN};
	sigset_t ends;
	size_t left;
	int sig;

	if (FCGX_Init() != 0)
		return err_set(err, ERR_INTERNAL, "FCGX_Init failed");
	sigaction(SIGUSR1, &wake, NULL); /* libfcgi has set its own */
	sigaction(SIGPIPE, &ignore, NULL);
	pool.w = w;
	pool.listen_fd = listen_fd;
	pthread_mutex_init(&pool.mtx, NULL);
	pthread_cond_init(&pool.ended, NULL);
	pthread_mutex_lock(&pool.mtx);
	while (pool.total < (size_t)w->cfg.worker_threads && start_thread(&pool))
		;
	left = pool.total;
	pthread_mutex_unlock(&pool.mtx);
	if (left == 0)
		return err_set(err, ERR_NOMEM, "no thread could be started");
	LOG(INFO, "worker.ready", "threads=%zu tools=%zu", left, w->tools.count);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGQUIT);
	while (sigwait(&ends, &sig) != 0)
		;
	left = stop(&pool, &ends, sig == SIGQUIT);
	LOG(INFO, "worker.ended", "signal=%d calls_left=%zu", sig, left);
	return left ? err_set(err, ERR_BUSY, "%zu calls were still running", left) : 0;
}
