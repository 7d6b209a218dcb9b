#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "common/mem.h"
#include "tests/lib/fake_link.h"
#include "common/banned.h"

struct fake_task *fake_link_task(struct link *l, struct slice id)
{
	for (size_t i = 0; i < FAKE_TASKS_MAX; i++) {
		if (l->tasks[i].id[0] && slice_is(id, l->tasks[i].id))
			return &l->tasks[i];
	}
	return NULL;
}

static void release_task(struct fake_task *t)
{
	buf_release(&t->blob);
	buf_release(&t->job);
	buf_release(&t->inputs);
	*t = (struct fake_task){.watch_fd = -1};
}

void fake_link_forget_tasks(struct link *l)
{
	for (size_t i = 0; i < FAKE_TASKS_MAX; i++)
		release_task(&l->tasks[i]);
	buf_release(&l->marks);
}

static struct fake_task *find(struct link *l, struct slice id, const char *principal, struct err *err)
{
	struct fake_task *t = fake_link_task(l, id);

	if (t && (!principal || strcmp(t->principal, principal) == 0))
		return t;
	err_set(err, ERR_NO_TASK, "no such task");
	return NULL;
}

static void changed(struct fake_task *t, enum link_task_state state)
{
	t->state = state;
	t->version++;
	t->updated_ms++;
	if (t->watch_fd != -1)
		eventfd_write(t->watch_fd, 1);
	t->watch_fd = -1;
}

static bool has_ended(const struct fake_task *t)
{
	return t->state >= LINK_TASK_COMPLETED;
}

int link_task_new(struct link *l, struct slice id, const char *principal, struct slice owner, uint64_t ttl_ms,
    unsigned flags, struct slice blob, struct slice job, struct err *err)
{
	struct fake_task *t = l->tasks;

	fake_link_owned(l, owner);
	if (fake_link_asked(l, FAKE_TASK_NEW, err))
		return -1;
	DIE_UNLESS(id.len && id.len <= LINK_KEY_MAX && !fake_link_task(l, id));
	for (; t->id[0]; t++)
		DIE_UNLESS(t < &l->tasks[FAKE_TASKS_MAX - 1]);
	buf_init(&t->blob, 1 << 20);
	buf_init(&t->job, 1 << 20);
	buf_init(&t->inputs, 1 << 20);
	if (fake_link_copy(&t->blob, blob, err) || fake_link_copy(&t->job, job, err)) {
		release_task(t);
		return -1;
	}
	snprintf(t->id, sizeof(t->id), "%.*s", (int)id.len, id.p);
	snprintf(t->principal, sizeof(t->principal), "%s", principal);
	t->version = 1;
	t->ttl_ms = ttl_ms;
	t->created_ms = t->updated_ms = 1760000000000;
	t->state = LINK_TASK_WORKING;
	t->flags = flags;
	if (l->runner)
		l->runner->run(l->runner->arg, id, slice_str(principal), ttl_ms, job);
	return 0;
}

static int copy_out(const struct fake_task *t, struct link_task *task, struct err *err)
{
	*task = (struct link_task){.version = t->version,
	    .state = t->state,
	    .created_ms = t->created_ms,
	    .updated_ms = t->updated_ms,
	    .ttl_ms = t->ttl_ms};
	snprintf(task->id, sizeof(task->id), "%s", t->id);
	buf_init(&task->blob, t->blob.max);
	return fake_link_copy(&task->blob, buf_slice(&t->blob), err);
}

int link_task_get(struct link *l, struct slice id, const char *principal, uint64_t seen, int changed_fd,
    struct link_task *task, struct err *err)
{
	struct fake_task *t;

	*task = (struct link_task){.version = 0};
	if (fake_link_asked(l, FAKE_TASK_GET, err))
		return -1;
	t = find(l, id, principal, err);
	if (!t || copy_out(t, task, err))
		return -1;
	if (changed_fd != -1 && seen != t->version)
		eventfd_write(changed_fd, 1);
	else if (changed_fd != -1)
		t->watch_fd = changed_fd;
	return 0;
}

void link_task_unwatch(struct link *l, struct slice id, int changed_fd)
{
	struct fake_task *t = fake_link_task(l, id);

	if (t && t->watch_fd == changed_fd)
		t->watch_fd = -1;
}

void link_task_release(struct link_task *task)
{
	buf_release(&task->blob);
}

int link_task_list(struct link *l, const char *principal, struct slice after, size_t max, struct link_task **tasks,
    size_t *count, bool *more, struct err *err)
{
	bool is_past = !after.len;

	*tasks = NULL;
	*count = 0;
	*more = false;
	if (fake_link_asked(l, FAKE_TASK_LIST, err))
		return -1;
	if (after.len && !find(l, after, principal, err))
		return -1;
	*tasks = mem_alloc(FAKE_TASKS_MAX, sizeof(**tasks));
	if (!*tasks)
		return err_set(err, ERR_NOMEM, "fake tasks");
	for (struct fake_task *t = l->tasks; t < &l->tasks[FAKE_TASKS_MAX] && !*more; t++) {
		if (!t->id[0] || strcmp(t->principal, principal) != 0 || t->flags & LINK_TASK_HIDDEN)
			continue;
		*more = is_past && *count == max;
		if (is_past && !*more && copy_out(t, &(*tasks)[(*count)++], err))
			goto fail;
		is_past |= slice_is(after, t->id);
	}
	return 0;
fail:
	while (*count)
		link_task_release(&(*tasks)[--*count]);
	mem_free(*tasks);
	*tasks = NULL;
	return -1;
}

int link_task_send(struct link *l, struct slice id, const char *principal, enum link_task_what what, struct slice body,
    struct err *err)
{
	struct fake_task *t;

	if (fake_link_asked(l, FAKE_TASK_SEND, err))
		return -1;
	t = find(l, id, principal, err);
	if (!t)
		return -1;
	if (has_ended(t))
		return err_set(err, ERR_GONE, "it has ended");
	if (!buf_reserve(&t->inputs, body.len + 16)) {
		t->inputs.fault = ERR_NONE;
		return err_set(err, ERR_NOMEM, "fake input");
	}
	buf_addf(&t->inputs, "%d %.*s\n", what, (int)body.len, body.p);
	if (what == LINK_TASK_CANCEL)
		changed(t, LINK_TASK_CANCELLED);
	if (l->runner)
		l->runner->input(l->runner->arg, id, what, body);
	return 0;
}

int link_join(struct link *l, const struct link_runner *runner, struct err *err)
{
	if (fake_link_asked(l, FAKE_JOIN, err))
		return -1;
	l->runner = runner;
	return 0;
}

int link_task_put(struct link *l, struct slice id, enum link_task_state state, struct slice blob, struct err *err)
{
	struct fake_task *t;

	if (fake_link_asked(l, FAKE_TASK_PUT, err))
		return -1;
	t = find(l, id, NULL, err);
	if (!t)
		return -1;
	if (has_ended(t))
		return err_set(err, ERR_GONE, "it has ended");
	if (blob.len > t->blob.max)
		return err_set(err, ERR_TOO_BIG, "%zu bytes", blob.len);
	if (fake_link_copy(&t->blob, blob, err))
		return -1;
	changed(t, state);
	return 0;
}

int link_runner_ensure(struct link *l, struct err *err)
{
	return fake_link_asked(l, FAKE_RUNNER_ENSURE, err);
}

int link_once(struct link *l, struct slice mark, uint32_t keep_s, struct err *err)
{
	(void)keep_s;
	if (fake_link_asked(l, FAKE_ONCE, err))
		return -1;
	DIE_UNLESS(mark.len && mark.len <= LINK_KEY_MAX && !memchr(mark.p, '\n', mark.len));
	if (fake_link_has_line(&l->marks, mark))
		return err_set(err, ERR_DUPLICATE, "it was marked before");
	return fake_link_add_line(&l->marks, mark, err);
}
