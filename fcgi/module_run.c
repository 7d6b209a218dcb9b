#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/ask.h"
#include "fcgi/module_priv.h"
#include "fcgi/revision.h"
#include "common/banned.h"

#define THREAD_IDLE_S 30   /* then it ends */
#define MOMENT_MS     5    /* in which most handlers return; a client that leaves is seen as much later */
#define INFO_DEPTH    8    /* levels around the arguments */
#define ABILITIES_MAX 1024 /* bytes of the words for them */

/* A thread for handlers, one at a time. The call whose run it has gives it back: until then that call alone reads
 * ready_fd, and waits for said, which may have an event too many, of the run before. */
struct module_thread {
	int ready_fd;
	pthread_cond_t wake, said;
	struct module_run *run;     /* by threads.mtx; NULL: nothing to do */
	bool is_idle;               /* by threads.mtx: in the list */
	struct module_thread *next; /* by threads.mtx */
};

static struct {
	pthread_mutex_t mtx;
	struct module_thread *idle; /* by mtx */
	size_t hung;                /* by mtx: runs that were abandoned and have not ended yet */
} threads = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static struct {
	pthread_mutex_t mtx;
	struct module_shell *free; /* by mtx */
} shells = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "a module's call");
}

static struct module_shell *take_shell(void)
{
	struct module_shell *shell;

	pthread_mutex_lock(&shells.mtx);
	shell = shells.free;
	if (shell)
		shells.free = shell->next;
	pthread_mutex_unlock(&shells.mtx);
	return shell ? shell : mem_alloc(1, sizeof(*shell));
}

static void give_shell(struct module_shell *shell)
{
	pthread_mutex_lock(&shells.mtx);
	shell->next = shells.free;
	shells.free = shell;
	pthread_mutex_unlock(&shells.mtx);
}

void module_answer_release(struct module_answer *answer)
{
	json_object_put(answer->pieces);
	json_object_put(answer->structured);
	json_object_put(answer->whole);
	*answer = (struct module_answer){0};
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void module_run_free(struct module_run *run)
{
	module_answer_release(&run->answer);
	json_object_put(run->info_doc);
	json_object_put(run->settings_doc);
	buf_release(&run->info);
	buf_release(&run->text);
	buf_release(&run->base64);
	if (run->cancel_fd != -1)
		close(run->cancel_fd);
	pthread_cond_destroy(&run->changed);
	pthread_mutex_destroy(&run->mtx);
	module_put(run->module);
	if (run->shell)
		give_shell(run->shell);
	mem_free(run->name);
	mem_free(run);
}

static void add_idle(struct module_thread *t)
{
	pthread_mutex_lock(&threads.mtx);
	t->is_idle = true;
	t->next = threads.idle;
	threads.idle = t;
	pthread_mutex_unlock(&threads.mtx);
}

/* The handler's thread. */

static void wake_call(struct module_thread *t, bool is_polling)
{
	if (is_polling)
		eventfd_write(t->ready_fd, 1);
	else
		pthread_cond_signal(&t->said);
}

static void serve_by_thread(struct module_run *run, struct module_op *op)
{
	pthread_mutex_lock(&run->mtx);
	if (!run->is_abandoned) {
		run->op = op;
		wake_call(run->thread, run->is_polling);
	}
	while (!op->is_served && !run->is_abandoned)
		pthread_cond_wait(&run->changed, &run->mtx);
	pthread_mutex_unlock(&run->mtx);
	if (!op->is_served) { /* nobody is there to take them */
		json_object_put(op->params);
		op->ret = err_set(&op->err, ERR_CANCELLED, "nobody waits any more");
	}
}

/* On the clock of our conditions. */
static struct timespec end_of(int64_t timeout_ms)
{
	uint64_t end_ms = now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);

	return (struct timespec){.tv_sec = (time_t)(end_ms / 1000), .tv_nsec = (long)(end_ms % 1000) * 1000000};
}

static int wait_in_thread(struct module_run *run, int64_t timeout_ms)
{
	const struct timespec end = end_of(timeout_ms);

	if (timeout_ms > 0 && !run->is_cancelled) {
		pthread_mutex_lock(&run->mtx);
		while (!run->is_cancelled && pthread_cond_timedwait(&run->changed, &run->mtx, &end) != ETIMEDOUT)
			;
		pthread_mutex_unlock(&run->mtx);
	}
	return run->is_cancelled ? MCP_CANCELLED : MCP_OK;
}

static int cancel_fd_of_thread(struct module_run *run)
{
	int fd;

	pthread_mutex_lock(&run->mtx);
	if (run->cancel_fd == -1)
		run->cancel_fd = eventfd(run->is_cancelled, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = run->cancel_fd;
	pthread_mutex_unlock(&run->mtx);
	return fd;
}

static const struct module_way by_thread = {serve_by_thread, wait_in_thread, cancel_fd_of_thread};

static int start_module(struct module_run *run)
{
	struct module *m = run->module;
	int ret = MCP_OK;

	if (!m->is_started) {
		pthread_mutex_lock(&m->start_mtx);
		m->has_run = true;
		if (!m->is_started && m->table.start)
			ret = m->table.start(&run->shell->pub, &m->state);
		if (ret != MCP_OK)
			LOG(ERROR, "module.not_started", "file=\"%s\" status=%d", m->path, ret);
		else
			m->is_started = true;
		pthread_mutex_unlock(&m->start_mtx);
	}
	run->shell->pub.state = m->state;
	return ret == MCP_OK || ret == MCP_CANCELLED ? ret : MCP_FAILED;
}

void module_run_handler(struct module_run *run)
{
	struct module *m = run->module;
	struct err err;

	m->running++;
	module_let_in(run);
	run->answer.status = start_module(run);
	if (run->answer.status == MCP_OK)
		run->answer.status = run->offer->handler(&run->shell->pub);
	module_let_in(NULL);
	m->running--;
	if (module_end_text(run, &err) && run->answer.fault.code == ERR_NONE)
		run->answer.fault = err;
}

static void work(struct module_thread *t, struct module_run *run)
{
	bool is_abandoned, is_polling;

	module_run_handler(run);
	pthread_mutex_lock(&run->mtx);
	run->is_done = true;
	is_abandoned = run->is_abandoned;
	is_polling = run->is_polling;
	pthread_mutex_unlock(&run->mtx);
	if (!is_abandoned) {
		wake_call(t, is_polling); /* the run is the call's from here on */
		return;
	}
	LOG(WARN, "module.returned", "file=\"%s\" name=\"%s\" what=\"a handler that had been given up\"",
	    run->module->path, run->name);
	module_run_free(run);
	pthread_mutex_lock(&threads.mtx);
	threads.hung--;
	pthread_mutex_unlock(&threads.mtx);
	add_idle(t);
}

/* With threads.mtx held. NULL: there was none for so long that the thread is to end. */
static struct module_run *wait_for_work(struct module_thread *t)
{
	struct module_run *run;
	struct timespec end;
	int ret = 0;

	while (!t->run && (ret == 0 || !t->is_idle)) {
		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_sec += THREAD_IDLE_S;
		ret = pthread_cond_timedwait(&t->wake, &threads.mtx, &end);
	}
	run = t->run;
	t->run = NULL;
	return run;
}

static void thread_free(struct module_thread *t)
{
	close(t->ready_fd);
	pthread_cond_destroy(&t->wake);
	pthread_cond_destroy(&t->said);
	mem_free(t);
}

static void *thread_main(void *arg)
{
	struct module_thread *t = arg, **at;
	struct module_run *run;

	pthread_mutex_lock(&threads.mtx);
	while ((run = wait_for_work(t))) {
		pthread_mutex_unlock(&threads.mtx);
		work(t, run);
		pthread_mutex_lock(&threads.mtx);
	}
	for (at = &threads.idle; *at != t; at = &(*at)->next)
		;
	*at = t->next;
	pthread_mutex_unlock(&threads.mtx);
	thread_free(t);
	return NULL;
}

void module_block_signals(sigset_t *before)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
	sigset_t every;

	sigfillset(&every);
	for (size_t i = 0; i < COUNT_OF(faults); i++)
		sigdelset(&every, faults[i]);
	pthread_sigmask(SIG_SETMASK, &every, before);
}

/* With threads.mtx held: a thread that is not in the list of idle ones. */
static struct module_thread *start_thread(struct err *err)
{
	struct module_thread *t = mem_alloc(1, sizeof(*t));
	sigset_t before;
	pthread_t id;
	int ret;

	if (!t) {
		out_of_memory(err);
		return NULL;
	}
	t->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->ready_fd == -1) {
		err_sys(err, "eventfd");
		mem_free(t);
		return NULL;
	}
	cond_init(&t->wake);
	cond_init(&t->said);
	module_block_signals(&before);
	ret = pthread_create(&id, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret == 0) {
		pthread_detach(id);
		return t;
	}
	errno = ret;
	err_sys(err, "a thread for a module's call");
	thread_free(t);
	return NULL;
}

/* Gives run to a thread. 1: too many of them hang. */
static int hand_out(struct module_run *run, const struct cfg *cfg, struct err *err)
{
	struct module_thread *t = NULL;
	bool are_hung;

	pthread_mutex_lock(&threads.mtx);
	are_hung = threads.hung >= (size_t)cfg->module_hung_max;
	if (!are_hung) {
		t = threads.idle;
		if (t)
			threads.idle = t->next;
		else
			t = start_thread(err);
	}
	if (t) {
		t->is_idle = false;
		t->run = run;
		run->thread = t;
	}
	pthread_mutex_unlock(&threads.mtx);
	if (t) /* which waits for this run, and is not woken for a lock that we have */
		pthread_cond_signal(&t->wake);
	if (!are_hung)
		return t ? 0 : -1;
	err_set(err, ERR_LIMIT, "%lld calls of modules hang in this process (module_hung_max); no more are begun",
	    (long long)cfg->module_hung_max);
	return 1;
}

/* The call's thread. */

static void put_member(struct buf *out, const char *name, json_object *val)
{
	buf_adds(out, name);
	jx_write(out, val);
}

/* {"arguments", "answers", "kept", "client"} */
static int put_info(struct module_run *run, struct call *call, json_object *args, struct err *err)
{
	struct buf *out = &run->info, can;

	buf_init(&can, ABILITIES_MAX);
	ask_put_abilities(call, &can);
	put_member(out, "{\"arguments\":", args);
	put_member(out, ",\"answers\":", call->answers);
	put_member(out, ",\"kept\":", call->kept);
	buf_adds(out, ",\"client\":{\"principal\":");
	jx_write_str(out, slice_str(call->principal));
	buf_addf(out, ",\"revision\":\"%s\",\"can\":\"%s\"}}", revision_name(call->revision), can.data ? can.data : "");
	buf_release(&can);
	return buf_check(out, err);
}

struct module_run *module_run_alloc(
    const struct module_offer *offer, struct slice name, const struct module_way *way, struct err *err)
{
	struct module_run *run = mem_alloc(1, sizeof(*run));

	if (!run) {
		out_of_memory(err);
		return NULL;
	}
	run->offer = offer;
	run->module = module_get(offer->module);
	run->way = way;
	run->cancel_fd = -1;
	pthread_mutex_init(&run->mtx, NULL);
	cond_init(&run->changed);
	buf_init(&run->info, SIZE_MAX / 2);
	buf_init(&run->text, SIZE_MAX / 2); /* room says how much */
	buf_init(&run->base64, SIZE_MAX / 2);
	run->name = mem_dup(name.p, name.len);
	run->shell = take_shell();
	if (run->name && run->shell) {
		run->shell->pub =
		    (struct mcp_call){.size = sizeof(struct mcp_call), .host = &module_host, .name = run->name};
		return run;
	}
	out_of_memory(err);
	module_run_free(run);
	return NULL;
}

struct module_run *module_run_new(
    struct call *call, const struct module_input *input, const struct module_way *way, struct err *err)
{
	struct module_run *run = module_run_alloc(input->offer, input->name, way, err);

	if (!run)
		return NULL;
	run->ends_at_ms = now_ms() + (uint64_t)input->timeout_s * 1000;
	run->room = (size_t)call->cfg->module_output_max_bytes;
	run->depth_max = (int)call->cfg->body_depth_max + INFO_DEPTH;
	if (put_info(run, call, input->args, err) == 0)
		return run;
	module_run_free(run);
	return NULL;
}

static void cancel(struct module_run *run)
{
	pthread_mutex_lock(&run->mtx);
	run->is_cancelled = true;
	if (run->cancel_fd != -1)
		eventfd_write(run->cancel_fd, 1);
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->mtx);
}

static int do_for_handler(struct call *call, struct module_op *op)
{
	switch (op->kind) {
	case MODULE_NOTIFY:
		return call_notify(call, op->method, op->params, &op->err);
	case MODULE_ASK:
		return call_ask(call, op->key, op->method, op->params, &op->err);
	case MODULE_KEEP:
		break;
	}
	return call_keep(call, op->params, &op->err);
}

void module_run_serve(struct module_run *run, struct call *call, struct module_op *op)
{
	if (run->is_cancelled) {
		json_object_put(op->params);
		op->ret = err_set(&op->err, ERR_CANCELLED, "nobody waits any more");
		return;
	}
	op->ret = do_for_handler(call, op);
	if (op->ret == -1 && op->err.code == ERR_CAPABILITY)
		run->lacks = op->err;
}

/* Does what the handler wants, unless nobody waits any more. True: it has returned. */
static bool attend(struct module_run *run, struct call *call)
{
	struct module_op *op;
	bool is_done;

	pthread_mutex_lock(&run->mtx);
	op = run->op;
	run->op = NULL;
	is_done = run->is_done;
	pthread_mutex_unlock(&run->mtx);
	if (!op)
		return is_done;
	module_run_serve(run, call, op);
	pthread_mutex_lock(&run->mtx);
	op->is_served = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->mtx);
	return false;
}

/* For nothing but what the handler wants, for a moment: it costs less than to poll. */
static void wait_a_moment(struct module_run *run)
{
	struct timespec end = end_of(MOMENT_MS);

	pthread_mutex_lock(&run->mtx);
	while (!run->op && !run->is_done && pthread_cond_timedwait(&run->thread->said, &run->mtx, &end) != ETIMEDOUT)
		;
	run->is_polling = true;
	pthread_mutex_unlock(&run->mtx);
}

static void forget_event(int fd)
{
	eventfd_t ignored;

	eventfd_read(fd, &ignored);
}

/* 0: the handler has returned. 1: its time is over. -1: as call_poll(). */
static int wait_in_time(struct module_run *run, struct call *call, struct err *err)
{
	struct pollfd fd = {.fd = run->thread->ready_fd, .events = POLLIN};
	uint64_t now;
	int n;

	wait_a_moment(run);
	while (!attend(run, call)) {
		now = now_ms();
		if (now >= run->ends_at_ms) {
			err_set(err, ERR_EXPIRED, "it took longer than its timeout_s");
			return 1;
		}
		n = call_poll(call, &fd, 1, ms_until(run->ends_at_ms, now), err);
		if (n == -1)
			return -1;
		if (n == 1)
			forget_event(run->thread->ready_fd);
	}
	return 0;
}

/* The time of grace. 0: it has returned. */
static int wait_for_return(struct module_run *run, struct call *call)
{
	uint64_t end_ms = now_ms() + (uint64_t)call->cfg->module_grace_ms, now;
	struct pollfd fd = {.fd = run->thread->ready_fd, .events = POLLIN};

	while (!attend(run, call)) {
		now = now_ms();
		if (now >= end_ms)
			return -1;
		if (poll(&fd, 1, ms_until(end_ms, now)) == 1)
			forget_event(run->thread->ready_fd);
	}
	return 0;
}

/* True: the handler's thread frees it. */
static bool abandon(struct module_run *run)
{
	bool is_abandoned;

	pthread_mutex_lock(&threads.mtx);
	pthread_mutex_lock(&run->mtx);
	is_abandoned = run->is_abandoned = !run->is_done;
	pthread_cond_broadcast(&run->changed);
	if (is_abandoned) {
		threads.hung++;
		LOG(ERROR, "module.hung", "file=\"%s\" name=\"%s\" hung=%zu effect=\"its thread is left alone\"",
		    run->module->path, run->name, threads.hung);
	}
	pthread_mutex_unlock(&run->mtx);
	pthread_mutex_unlock(&threads.mtx);
	return is_abandoned;
}

/* A handler that failed without a word, after a question that its client can't be asked, failed for that. */
int module_run_take_answer(struct module_run *run, struct call *call, struct module_answer *answer, struct err *err)
{
	*answer = run->answer;
	run->answer = (struct module_answer){0};
	if (run->lacks.code == ERR_NONE)
		return 0;
	if (answer->status == MCP_FAILED && !answer->pieces) {
		module_answer_release(answer);
		*err = run->lacks;
		return -1;
	}
	call_set_error_data(call, NULL);
	return 0;
}

int module_run(struct call *call, const struct module_input *input, struct module_answer *answer, struct err *err)
{
	struct module_run *run = module_run_new(call, input, &by_thread, err);
	int ret = run ? hand_out(run, call->cfg, err) : -1;

	*answer = (struct module_answer){0};
	if (ret) {
		if (run)
			module_run_free(run);
		return ret;
	}
	ret = wait_in_time(run, call, err);
	if (ret) {
		cancel(run);
		if (wait_for_return(run, call) && abandon(run))
			return ret;
	}
	add_idle(run->thread);
	if (ret == 0 || (ret == 1 && run->answer.status != MCP_CANCELLED)) /* an answer in the time of grace counts */
		ret = module_run_take_answer(run, call, answer, err);
	module_run_free(run);
	return ret;
}
