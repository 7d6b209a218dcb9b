/* Tasks: what a worker says of them, how it learns that one changed, how it gets a runner; and the runner's side. */
#include "config.h"

#include <sys/eventfd.h>

#include "common/mem.h"
#include "fcgi/daemon_start.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

#define RUNNER_RETRY_MS 1000  /* the outcome of a start holds that long for link_task_new() ... */
#define RUNNER_PAUSE_MS 10000 /* ... and that long for link_runner_ensure(), which can't know better */
#define RUNNER_STEP_MS  20
#define LISTED_LEN_MIN  (4 + 1 + 3 * 8 + 4)

/* --- watching --- */

static bool watch_is(const struct task_watch *watch, struct slice id)
{
	return slice_eq(id, (struct slice){watch->id, watch->id_len});
}

void link_watches_fire(struct link *l, const struct slice *id)
{
	struct task_watch *watch, *next;

	for (watch = LIST_FIRST(&l->watches); watch; watch = next) {
		next = LIST_NEXT(watch, chain);
		if (id && !watch_is(watch, *id))
			continue;
		eventfd_write(watch->fd, 1);
		LIST_REMOVE(watch, chain);
		mem_free(watch);
	}
}

static struct task_watch *watch_find(const struct link *l, struct slice id, int fd)
{
	struct task_watch *watch;

	for (watch = LIST_FIRST(&l->watches); watch; watch = LIST_NEXT(watch, chain))
		if (watch->fd == fd && watch_is(watch, id))
			break;
	return watch;
}

/* Before the broker is asked, for TASK_CHANGED may be here before its answer. If a connection ends in between, the
 * watch only wakes somebody too early. Who asks again while he still watches goes on to do so. */
static int watch_add(struct link *l, struct slice id, int fd, struct err *err)
{
	struct task_watch *watch = mem_alloc(1, sizeof(*watch));

	if (!watch)
		return err_set(err, ERR_NOMEM, "watch");
	memcpy(watch->id, id.p, id.len);
	watch->id_len = id.len;
	watch->fd = fd;
	pthread_mutex_lock(&l->mtx);
	if (!watch_find(l, id, fd)) {
		LIST_INSERT_HEAD(&l->watches, watch, chain);
		watch = NULL;
	}
	pthread_mutex_unlock(&l->mtx);
	mem_free(watch);
	return 0;
}

void link_task_unwatch(struct link *l, struct slice id, int changed_fd)
{
	struct task_watch *watch;

	pthread_mutex_lock(&l->mtx);
	watch = watch_find(l, id, changed_fd);
	if (watch)
		LIST_REMOVE(watch, chain);
	pthread_mutex_unlock(&l->mtx);
	mem_free(watch);
}

/* --- a runner that was not there --- */

/* A runner without a broker to join would wait for one until it is given up. */
static void start_where_joined(struct link *l, uint64_t deadline_ms, struct err *why)
{
	if (link_lock_up(l, true, deadline_ms, why))
		return;
	pthread_mutex_unlock(&l->mtx);
	daemon_start(l->cfg, "mcp-runner", l->cfg->runner_program, deadline_ms, why);
}

/* One thread starts, the others wait for it. A start that ended less than fresh_ms ago is not repeated: it went as that
 * one did. */
static int runner_start(struct link *l, uint64_t fresh_ms, uint64_t deadline_ms, struct err *err)
{
	struct err why = {.code = ERR_NONE};

	pthread_mutex_lock(&l->mtx);
	while (l->runner_is_starting && link_wait_changed(l, deadline_ms))
		;
	if (l->runner_is_starting) {
		err_set(&why, ERR_RUNNER, "another thread still starts it");
	} else if (l->runner_at_ms && now_ms() - l->runner_at_ms < fresh_ms) {
		why = l->runner_err;
	} else {
		l->runner_is_starting = true;
		pthread_mutex_unlock(&l->mtx);
		start_where_joined(l, deadline_ms, &why);
		pthread_mutex_lock(&l->mtx);
		l->runner_is_starting = false;
		l->runner_at_ms = now_ms();
		l->runner_err = why;
		pthread_cond_broadcast(&l->changed);
	}
	pthread_mutex_unlock(&l->mtx);
	return why.code == ERR_NONE ? 0 : err_set(err, ERR_RUNNER, "%s", why.msg);
}

int link_runner_ensure(struct link *l, struct err *err)
{
	if (!l->cfg->runner_autostart || l->runner)
		return 0; /* somebody else sees to it, or is it */
	return runner_start(l, RUNNER_PAUSE_MS, link_deadline(l), err);
}

/* --- the worker's side --- */

/* Ids come from clients. */
static int check_id(struct slice id, struct err *err)
{
	if (id.len && id.len <= LINK_KEY_MAX)
		return 0;
	return err_set(err, ERR_NO_TASK, "task id of %zu bytes", id.len);
}

static int task_new_once(struct link *l, struct slice id, const char *principal, struct slice owner, uint64_t ttl_ms,
    unsigned flags, struct slice blob, struct slice job, uint64_t deadline_ms, struct err *err)
{
	struct request req;

	question_init(&req, l, LINK_TASK_NEW, id, principal, 8 + 1 + 12 + blob.len + job.len + owner.len);
	req.header.deadline_ms = deadline_ms;
	link_put_u64(&req.body, ttl_ms);
	link_put_u8(&req.body, (uint8_t)flags);
	link_put_bytes(&req.body, blob);
	link_put_bytes(&req.body, job);
	link_put_bytes(&req.body, owner);
	return request_ask_and_release(l, &req, NEED_ANY, err);
}

/* A runner that was started has joined the broker, unless it found another one that is about to: so ask again. */
int link_task_new(struct link *l, struct slice id, const char *principal, struct slice owner, uint64_t ttl_ms,
    unsigned flags, struct slice blob, struct slice job, struct err *err)
{
	const struct timespec step = {.tv_nsec = RUNNER_STEP_MS * 1000000L};
	uint64_t deadline_ms = link_deadline(l);
	bool is_missing = false;
	struct err why;

	if (check_id(id, err))
		return -1;
	while (task_new_once(l, id, principal, owner, ttl_ms, flags, blob, job, deadline_ms, &why)) {
		if (is_missing && why.code == ERR_EXPIRED)
			return err_set(err, ERR_RUNNER, "mcp-runner was started, but did not join in time");
		is_missing = why.code == ERR_RUNNER;
		if (!is_missing || !l->cfg->runner_autostart)
			return err_set(err, why.code, "%s", why.msg);
		if (runner_start(l, RUNNER_RETRY_MS, deadline_ms, err))
			return -1;
		nanosleep(&step, NULL);
	}
	return 0;
}

/* From state on, which is common to TASK_GET and TASK_LIST. */
static void read_task(struct slice *in, const struct link *l, struct link_task *task, bool *bad)
{
	task->state = (enum link_task_state)link_get_u8(in, bad);
	task->created_ms = link_get_u64(in, bad);
	task->updated_ms = link_get_u64(in, bad);
	task->ttl_ms = link_get_u64(in, bad);
	buf_init(&task->blob, link_body_max(l->cfg));
	buf_add_slice(&task->blob, link_get_bytes(in, bad));
	*bad |= task->state < LINK_TASK_WORKING || task->state >= LINK_TASK__COUNT;
}

static void put_id(struct link_task *task, struct slice id)
{
	memcpy(task->id, id.p, id.len);
	task->id[id.len] = '\0';
}

static int ask_task(
    struct link *l, struct slice id, const char *principal, uint64_t seen, struct link_task *task, struct err *err)
{
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	question_init(&req, l, LINK_TASK_GET, id, principal, 8);
	link_put_u64(&req.body, seen);
	ret = request_ask(l, &req, NEED_ANY, NULL, err);
	if (!ret) {
		in = request_answer(&req);
		put_id(task, id);
		task->version = link_get_u64(&in, &bad);
		read_task(&in, l, task, &bad);
		ret = bad ? err_set(err, ERR_LINK, "malformed answer to TASK_GET") : buf_check(&task->blob, err);
		if (ret)
			link_task_release(task);
	}
	request_release(&req);
	return ret;
}

int link_task_get(struct link *l, struct slice id, const char *principal, uint64_t seen, int changed_fd,
    struct link_task *task, struct err *err)
{
	int ret;

	*task = (struct link_task){.version = 0};
	if (check_id(id, err))
		return -1;
	if (changed_fd == -1)
		return ask_task(l, id, principal, 0, task, err);
	if (watch_add(l, id, changed_fd, err))
		return -1;
	ret = ask_task(l, id, principal, seen, task, err);
	if (ret || task->version != seen)
		link_task_unwatch(l, id, changed_fd);
	if (!ret && task->version != seen)
		eventfd_write(changed_fd, 1);
	return ret;
}

void link_task_release(struct link_task *task)
{
	buf_release(&task->blob);
}

static int read_tasks(struct slice in, const struct link *l, size_t max, struct link_task **tasks, size_t *count,
    bool *more, struct err *err)
{
	bool bad = false;
	size_t listed = link_get_u16(&in, &bad);

	if (bad || listed > max || listed > in.len / LISTED_LEN_MIN)
		return err_set(err, ERR_LINK, "malformed answer to TASK_LIST");
	*tasks = mem_alloc(listed ? listed : 1, sizeof(**tasks));
	if (!*tasks)
		return err_set(err, ERR_NOMEM, "tasks");
	while (*count < listed) {
		struct link_task *task = &(*tasks)[(*count)++];
		struct slice id = link_get_bytes(&in, &bad);

		if (id.len > LINK_KEY_MAX)
			return err_set(err, ERR_LINK, "task id of %zu bytes", id.len);
		put_id(task, id);
		read_task(&in, l, task, &bad);
		if (buf_check(&task->blob, err))
			return -1;
	}
	*more = link_get_u8(&in, &bad);
	return bad ? err_set(err, ERR_LINK, "malformed answer to TASK_LIST") : 0;
}

int link_task_list(struct link *l, const char *principal, struct slice after, size_t max, struct link_task **tasks,
    size_t *count, bool *more, struct err *err)
{
	uint16_t at_most = max < UINT16_MAX ? (uint16_t)max : UINT16_MAX;
	struct request req;
	int ret;

	*tasks = NULL;
	*count = 0;
	*more = false;
	question_init(&req, l, LINK_TASK_LIST, SLICE(""), principal, 4 + after.len + 2);
	link_put_bytes(&req.body, after);
	link_put_u16(&req.body, at_most);
	ret = request_ask(l, &req, NEED_ANY, NULL, err);
	if (!ret)
		ret = read_tasks(request_answer(&req), l, at_most, tasks, count, more, err);
	if (ret) {
		while (*count)
			link_task_release(&(*tasks)[--*count]);
		mem_free(*tasks);
		*tasks = NULL;
	}
	request_release(&req);
	return ret;
}

int link_task_send(struct link *l, struct slice id, const char *principal, enum link_task_what what, struct slice body,
    struct err *err)
{
	struct request req;

	if (check_id(id, err))
		return -1;
	question_init(&req, l, LINK_TASK_SEND, id, principal, 1 + 4 + body.len);
	link_put_u8(&req.body, (uint8_t)what);
	link_put_bytes(&req.body, body);
	return request_ask_and_release(l, &req, NEED_ANY, err);
}

/* --- the runner's side --- */

int link_join(struct link *l, const struct link_runner *runner, struct err *err)
{
	DIE_UNLESS(l->runner == runner || atomic_load(&l->pid) == 0); /* what a process is it says in its first HELLO */
	l->runner = runner;
	if (link_lock_up(l, true, link_deadline(l), err))
		return -1;
	pthread_mutex_unlock(&l->mtx);
	return 0;
}

int link_task_put(struct link *l, struct slice id, enum link_task_state state, struct slice blob, struct err *err)
{
	struct request req;

	request_init(&req, l, LINK_TASK_PUT, 1 + 4 + blob.len);
	req.key = id;
	link_put_u8(&req.body, (uint8_t)state);
	link_put_bytes(&req.body, blob);
	return request_ask_and_release(l, &req, NEED_KNOWN, err);
}
