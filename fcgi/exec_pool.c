#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/exec_pool.h"
#include "common/banned.h"

/* One who stands in line; it lives on the stack of exec_pool_enter(). */
struct waiter {
	struct waiter *next;
	int wake_fd;
	bool has_place; /* handed to it by who left */
};

struct exec_pool {
	size_t places_taken;    /* all by idle.mtx */
	struct waiter *waiters; /* who came first stands first */
};

/* Idle programs of all tools, the last one that was used first, and the thread that ends them. */
static struct {
	pthread_mutex_t mtx;
	pthread_cond_t changed; /* by mtx, as all that follows: one may end earlier than those before */
	bool has_changed;       /* the condition is made */
	struct exec_program *programs;
	uint64_t looks_at_ms; /* the thread's next look */
	bool has_thread;
} idle = {.mtx = PTHREAD_MUTEX_INITIALIZER};

struct exec_program *exec_program_new(void)
{
	struct exec_program *program = mem_alloc(1, sizeof(*program));

	if (!program)
		return NULL;
	for (int i = 0; i < EXEC_FD_COUNT; i++)
		program->fds[i] = -1;
	program->statm_fd = -1;
	return program;
}

void exec_program_end(struct exec_program **programp, const char *why)
{
	struct exec_program *program = *programp;

	if (!program)
		return;
	*programp = NULL;
	LOG(INFO, "tool.resident_ended", "pid=%d calls=%" PRId64 " why=\"%s\"", (int)program->pid, program->calls, why);
	for (int i = 0; i < EXEC_FD_COUNT; i++) {
		if (program->fds[i] != -1)
			close(program->fds[i]);
	}
	if (program->statm_fd != -1)
		close(program->statm_fd);
	mem_free(program);
}

/* Idle programs. */

/* With mtx held: ends those whose time is over, and of pool, if that is not NULL, all. Returns when the next is due. */
static uint64_t end_idle(const struct exec_pool *pool)
{
	struct exec_program **at = &idle.programs, *program;
	uint64_t now = now_ms(), next = UINT64_MAX;

	while ((program = *at)) {
		if (program->ends_at_ms <= now || program->pool == pool) {
			*at = program->next;
			exec_program_end(&program, program->pool == pool ? "its configuration ends" : "idle");
			continue;
		}
		if (program->ends_at_ms < next)
			next = program->ends_at_ms;
		at = &program->next;
	}
	return next;
}

static void *thread_main(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&idle.mtx);
	while (idle.programs) {
		idle.looks_at_ms = end_idle(NULL);
		if (idle.programs) {
			const struct timespec next = {.tv_sec = (time_t)(idle.looks_at_ms / 1000),
			    .tv_nsec = (long)(idle.looks_at_ms % 1000) * 1000000};

			pthread_cond_timedwait(&idle.changed, &idle.mtx, &next);
		}
	}
	idle.has_thread = false;
	pthread_mutex_unlock(&idle.mtx);
	return NULL;
}

/* With mtx held. False: idle programs would never end. */
static bool ensure_thread(void)
{
	pthread_condattr_t attr;
	sigset_t all, before;
	pthread_t id;

	if (!idle.has_changed) {
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&idle.changed, &attr);
		pthread_condattr_destroy(&attr);
		idle.has_changed = true;
	}
	if (idle.has_thread)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	idle.has_thread = pthread_create(&id, NULL, thread_main, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (idle.has_thread)
		pthread_detach(id);
	idle.looks_at_ms = 0;
	return idle.has_thread;
}

struct exec_program *exec_pool_take(struct exec_pool *pool)
{
	struct exec_program **at = &idle.programs, *program;

	pthread_mutex_lock(&idle.mtx);
	while ((program = *at) && program->pool != pool)
		at = &program->next;
	if (program)
		*at = program->next;
	pthread_mutex_unlock(&idle.mtx);
	return program;
}

void exec_pool_put(struct exec_pool *pool, struct exec_program *program, int64_t idle_s)
{
	program->pool = pool;
	program->ends_at_ms = now_ms() + (uint64_t)idle_s * 1000;
	pthread_mutex_lock(&idle.mtx);
	if (ensure_thread()) {
		program->next = idle.programs;
		idle.programs = program;
		if (program->ends_at_ms < idle.looks_at_ms)
			pthread_cond_signal(&idle.changed);
		program = NULL;
	}
	pthread_mutex_unlock(&idle.mtx);
	exec_program_end(&program, "no thread that would end it later");
}

/* Places. */

/* With mtx held: false if there is none; waiter, if there is one, stands in line then. */
static bool take_place(struct exec_pool *pool, size_t max, struct waiter *waiter)
{
	struct waiter **at = &pool->waiters;

	if (pool->places_taken < max) {
		pool->places_taken++;
		return true;
	}
	while (waiter && *at)
		at = &(*at)->next;
	if (waiter)
		*at = waiter;
	return false;
}

/* With mtx held. */
static void leave_place(struct exec_pool *pool)
{
	struct waiter *first = pool->waiters;

	if (!first) {
		pool->places_taken--;
		return;
	}
	pool->waiters = first->next;
	first->has_place = true;
	eventfd_write(first->wake_fd, 1);
}

static int wait_in_line(
    struct exec_pool *pool, struct waiter *waiter, struct call *call, uint64_t until_ms, struct err *err)
{
	struct pollfd fd = {.fd = waiter->wake_fd, .events = POLLIN};
	struct waiter **at = &pool->waiters;
	int ret = 0;

	while (ret == 0 && !fd.revents) {
		uint64_t now = now_ms();

		if (now >= until_ms)
			ret = 1;
		else if (call_poll(call, &fd, 1, ms_until(until_ms, now), err) == -1)
			ret = -1;
	}
	pthread_mutex_lock(&idle.mtx);
	if (ret && waiter->has_place) /* it came too late */
		leave_place(pool);
	while (!waiter->has_place && *at != waiter)
		at = &(*at)->next;
	if (!waiter->has_place)
		*at = waiter->next;
	pthread_mutex_unlock(&idle.mtx);
	return ret;
}

int exec_pool_enter(struct exec_pool *pool, struct call *call, size_t max, uint64_t until_ms, struct err *err)
{
	struct waiter waiter = {0};
	bool has_place;
	int ret = 0;

	pthread_mutex_lock(&idle.mtx);
	has_place = take_place(pool, max, NULL);
	pthread_mutex_unlock(&idle.mtx);
	if (has_place)
		return 0;
	waiter.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (waiter.wake_fd == -1)
		return err_sys(err, "eventfd");
	pthread_mutex_lock(&idle.mtx);
	has_place = take_place(pool, max, &waiter);
	pthread_mutex_unlock(&idle.mtx);
	if (!has_place)
		ret = wait_in_line(pool, &waiter, call, until_ms, err);
	close(waiter.wake_fd);
	return ret;
}

void exec_pool_leave(struct exec_pool *pool)
{
	pthread_mutex_lock(&idle.mtx);
	leave_place(pool);
	pthread_mutex_unlock(&idle.mtx);
}

struct exec_pool *exec_pool_new(void)
{
	return mem_alloc(1, sizeof(struct exec_pool));
}

void exec_pool_free(struct exec_pool **poolp)
{
	struct exec_pool *pool = *poolp;

	if (!pool)
		return;
	*poolp = NULL;
	pthread_mutex_lock(&idle.mtx);
	end_idle(pool);
	pthread_mutex_unlock(&idle.mtx);
	mem_free(pool);
}
