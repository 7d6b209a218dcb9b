#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/bus.h"
#include "broker/conn.h"
#include "broker/handover.h"
#include "broker/producer.h"
#include "broker/snapshot.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define CHECK_MS       5000 /* for the new program's --check */
#define HOLD_MS        2000 /* for the workers' HELD; who is late may lose what it sent unasked */
#define SETTLE_MS      2000 /* for the store */
#define LATE_LINGER_MS 100
#define FACTS_MAX      4096 /* bytes: what a pipe takes in any case */

static int extend(const struct handover_program *p, const char *more, const char ***argv)
{
	*argv = mem_alloc((size_t)p->argc + 2, sizeof(**argv));
	if (!*argv)
		return -1;
	memcpy(*argv, p->argv, (size_t)p->argc * sizeof(**argv));
	(*argv)[p->argc] = more;
	return 0;
}

int handover_program_init(struct handover_program *p, int argc, char **argv, struct err *err)
{
	const char *name = (const char *)(uintptr_t)getauxval(AT_EXECFN);
	char *dir = name && name[0] != '/' ? getcwd(NULL, 0) : NULL;

	*p = (struct handover_program){.argv = mem_alloc((size_t)argc + 1, sizeof(*p->argv))};
	p->path = !name ? NULL : dir ? cfg_path_join(dir, name) : mem_dup(name, strlen(name));
	free(dir);
	if (!p->path || !p->argv) {
		handover_program_release(p);
		return err_set(err, ERR_NOMEM, "the program's path");
	}
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "--" HANDOVER_OPTION "=", strlen("--" HANDOVER_OPTION "=")) != 0)
			p->argv[p->argc++] = argv[i];
	}
	return 0;
}

void handover_program_release(struct handover_program *p)
{
	mem_free(p->path);
	mem_free(p->argv);
	*p = (struct handover_program){0};
}

static void exec(const struct handover_program *p, const char *option)
{
	const char **argv;

	if (extend(p, option, &argv))
		return;
	execv(p->path, (char *const *)(uintptr_t)argv);
	mem_free(argv);
}

void handover_start_anew(const struct handover_program *p)
{
	snapshot_cloexec_all();
	exec(p, "--foreground"); /* it is in the background already, if it is to be */
	LOG(ERROR, "broker.failed", "why=\"start %s anew\" errno=%d", p->path, errno);
}

void handover_put_facts(const struct cfg *cfg, struct buf *out)
{
	bool is_durable = strcmp(cfg->store_kind, "sqlite") == 0;

	buf_addf(out, "snapshot=%d run_dir=\"%s\" store_kind=%s", HANDOVER_VERSION, cfg->run_dir, cfg->store_kind);
	if (is_durable)
		buf_addf(out, " store_dir=\"%s\"", cfg->store_dir);
	buf_adds(out, "\n");
}

/* Whatever was begun ends here, and the old program goes on. */
static void give_up(struct handover *h, const char *why)
{
	char quoted[512];
	struct buf text;

	if (h->step == HANDOVER_HOLDS)
		bus_release(h->broker);
	h->step = HANDOVER_NONE;
	loop_untimer(&h->broker->loop, &h->timer);
	LOG(ERROR, "broker.handover_failed", "why=\"%s\" goes_on=\"the old program, as before\"",
	    log_quote(quoted, sizeof(quoted), slice_str(why)));
	buf_init(&text, 1024);
	buf_addf(&text, "%s\n", why);
	admin_tell_restart(h->admin, 503, buf_slice(&text));
	buf_release(&text);
}

/* What is under way in the store comes to its end here, without any new reads: nothing else of the loop runs. */
static int settle(struct broker *b, struct err *err)
{
	uint64_t until_ms = now_ms() + SETTLE_MS;
	struct timespec step = {0, 200000};

	for (;;) {
		producers_kept(b);
		b->store->reap(b->store);
		if (!b->store->is_busy(b->store) && !conn_is_reading(b) && !b->unkept)
			return 0;
		if (b->store->is_stalled || now_ms() >= until_ms)
			return err_set(err, ERR_BROKER, "the store does not come to an end");
		nanosleep(&step, NULL);
	}
}

/* Only returns when it failed. */
static void replace_program(struct handover *h, int fd, struct err *err)
{
	char option[64];
	sigset_t all, before;

	snprintf(option, sizeof(option), "--" HANDOVER_OPTION "=%d", fd);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before); /* until the new one has handlers; it unblocks them */
	if (bus_unheld(h->broker) > 0)
		bus_linger(h->broker, LATE_LINGER_MS);
	bus_close(h->broker);
	exec(h->program, option);
	err_sys(err, "start %s", h->program->path);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (bus_open(h->broker, h->zmq_path, NULL)) {
		LOG(ERROR, "broker.failed", "why=\"the data channel can't be opened again\"");
		loop_stop(&h->broker->loop);
	}
}

static void hand_over(struct handover *h)
{
	struct err err;
	int fd = -1;

	if (settle(h->broker, &err) == 0) {
		fd = memfd_create("mcp-broker-snapshot", 0);
		if (fd == -1)
			err_sys(&err, "make the snapshot");
		else if (handover_save(h, fd, &err) == 0)
			replace_program(h, fd, &err);
		snapshot_cloexec_all();
	}
	if (fd != -1)
		close(fd);
	give_up(h, err.msg);
}

void handover_turn(struct handover *h)
{
	struct broker *b = h->broker;
	size_t late;

	if (h->step != HANDOVER_NONE && b->draining) {
		give_up(h, "it was told to stop");
		return;
	}
	if (h->step != HANDOVER_HOLDS)
		return;
	late = bus_unheld(b);
	if (late > 0 && now_ms() < h->began_ms + HOLD_MS)
		return;
	if (late > 0)
		LOG(WARN, "broker.handover", "late=%zu why=\"workers did not answer HOLD\"", late);
	hand_over(h);
}

static void on_check_closed(uv_handle_t *handle)
{
	struct handover *h = handle->data;

	h->is_check_open = false;
}

/* Whether it printed what we would. */
static int compare_facts(struct handover *h, struct err *err)
{
	char said[FACTS_MAX];
	ssize_t len = read(h->said_fd, said, sizeof(said));
	struct slice got = {said, len > 0 ? (size_t)len : 0};
	char quoted[128];
	struct buf ours;
	bool is_same;

	buf_init(&ours, FACTS_MAX);
	handover_put_facts(h->broker->cfg, &ours);
	is_same = !ours.fault && slice_eq(got, buf_slice(&ours));
	buf_release(&ours);
	return is_same
		   ? 0
		   : err_set(err, ERR_CONFIG, "not the same snapshot, run_dir or store any more (%s): stop and start",
			 log_quote(quoted, sizeof(quoted), got));
}

static void on_checked(uv_process_t *check, int64_t status, int number)
{
	struct handover *h = check->data;
	struct broker *b = h->broker;
	struct err err = {0};
	bool is_bad = false;

	if (h->step != HANDOVER_CHECKS)
		;
	else if (number)
		is_bad = err_set(&err, ERR_BROKER, "%s --check was ended by signal %d", h->program->path, number);
	else if (status)
		is_bad = err_set(&err, ERR_BROKER, "%s --check failed with status %" PRId64 ", see the log",
		    h->program->path, status);
	else
		is_bad = compare_facts(h, &err);
	close(h->said_fd);
	h->said_fd = -1;
	uv_close((uv_handle_t *)check, on_check_closed);
	if (h->step != HANDOVER_CHECKS)
		return;
	if (is_bad) {
		give_up(h, err.msg);
		return;
	}
	h->step = HANDOVER_HOLDS;
	h->began_ms = now_ms();
	bus_hold(b);
	loop_timer(&b->loop, &h->timer, HOLD_MS);
}

/* Of the check: it is killed, which on_checked() tells. Of the workers: the turn looks. */
static void on_timer(struct wheel_timer *t)
{
	struct handover *h = TABLE_OF(t, struct handover, timer);

	if (h->step == HANDOVER_CHECKS)
		uv_process_kill(&h->check, SIGKILL);
}

static int start_check(struct handover *h, struct err *err)
{
	uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD}, {.flags = UV_INHERIT_FD}};
	uv_process_options_t options = {
	    .exit_cb = on_checked, .file = h->program->path, .stdio = stdio, .stdio_count = 3};
	const char **argv;
	int fds[2], rc;

	if (extend(h->program, "--" HANDOVER_CHECK, &argv))
		return err_set(err, ERR_NOMEM, "check");
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		mem_free(argv);
		return err_sys(err, "check");
	}
	stdio[1].data.fd = fds[1];
	stdio[2].data.fd = STDERR_FILENO;
	options.args = (char **)(uintptr_t)argv;
	h->said_fd = fds[0];
	h->check.data = h;
	h->is_check_open = true;
	rc = uv_spawn(&h->broker->loop.uv, &h->check, &options);
	close(fds[1]);
	mem_free(argv);
	if (rc == 0)
		return 0;
	close(h->said_fd);
	h->said_fd = -1;
	uv_close((uv_handle_t *)&h->check, on_check_closed);
	return err_set(err, ERR_BROKER, "start %s: %s", h->program->path, uv_strerror(rc));
}

void handover_init(struct handover *h)
{
	h->lock_fd = -1;
	h->said_fd = -1;
	h->timer.fire = on_timer;
}

int handover_begin(struct handover *h, struct err *err)
{
	struct broker *b = h->broker;

	if (!h->program)
		return err_set(err, ERR_BROKER, "the program's path is not known");
	if (h->step != HANDOVER_NONE || h->is_check_open)
		return err_set(err, ERR_BROKER, "it is being done already");
	if (b->draining)
		return err_set(err, ERR_BROKER, "the broker is about to stop");
	if (b->store->is_stalled)
		return err_set(err, ERR_BROKER, "the store can't write, see the log");
	if (start_check(h, err))
		return -1;
	LOG(INFO, "broker.handover", "program=\"%s\" sessions=%zu streams=%zu connections=%zu", h->program->path,
	    b->sessions.count, b->streams.count, b->conns_count);
	h->step = HANDOVER_CHECKS;
	loop_timer(&b->loop, &h->timer, CHECK_MS);
	return 0;
}

void handover_release(struct handover *h)
{
	if (h->said_fd == -1)
		return;
	close(h->said_fd);
	h->said_fd = -1;
	uv_process_kill(&h->check, SIGKILL);
	uv_close((uv_handle_t *)&h->check, on_check_closed);
}
