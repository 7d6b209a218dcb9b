/* Resident programs: one is started once, and takes a call a line. Whatever breaks off a call ends its program, so what
 * one call left can't meet the next: the same as a program of its own, but for what the program itself remembers. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "fcgi/ask.h"
#include "fcgi/exec_priv.h"
#include "fcgi/launcher.h"
#include "fcgi/placeholder.h"
#include "fcgi/report.h"
#include "common/banned.h"

#define FRAME_DEPTH 2 /* of a line around a result */
#define STATM_MAX   128

static struct log_rate statm_rate;

int exec_make_resident(struct exec *exec, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct slice part;

	for (size_t i = 1; i < exec->words.count; i++) {
		for (size_t at = 0; exec->words.items[i][at];) {
			if (placeholder_next(exec->words.items[i], &at, &part) == 1)
				return cfg_complain_at(cfg, pointer, "resident",
				    "a resident program is started before there are arguments: {%.*s} can't be filled",
				    part.len > 100 ? 100 : (int)part.len, part.p);
		}
	}
	if (exec->cpu_s)
		return cfg_complain_at(cfg, pointer, "resident",
		    "the kernel counts the CPU time of all calls together: a resident program takes no cpu_s");
	exec->pool = exec_pool_new();
	return exec->pool ? 0 : err_set(err, ERR_NOMEM, "exec");
}

/* The program. */

static void note_pid(struct exec_program *program, pid_t pid)
{
	char path[64];
	unsigned dropped;

	program->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	program->statm_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (program->statm_fd == -1 && log_rate_ok(&statm_rate, 1, 60000, &dropped))
		LOG(WARN, "tool.resident_unlimited", "pid=%d why=\"its memory can't be read from /proc\" dropped=%u",
		    (int)pid, dropped);
}

void exec_resident_note_pid(struct exec_run *run)
{
	note_pid(run->program, run->report.value);
	LOG(INFO, "tool.resident_started", "tool=%s pid=%d", run->name, (int)run->report.value);
}

static bool is_alive(struct exec_program *program, int leash)
{
	struct launch_report report;
	struct err ignored;
	int got;

	while ((got = launcher_read(leash, &report, &ignored)) == 1 && report.event == LAUNCH_STARTED)
		note_pid(program, report.value);
	return got == 0;
}

/* Why an idle program can't take a call. NULL: it can. */
static const char *why_unfit(struct exec_program *program)
{
	int written = 0;

	if (!is_alive(program, program->fds[EXEC_LEASH]))
		return "it has ended";
	/* Perhaps half a line, which would spoil the first of the next call. */
	if (ioctl(program->fds[EXEC_MESSAGES], FIONREAD, &written) == -1 || written)
		return "it wrote something without a call";
	return NULL;
}

static struct exec_program *take_fit(struct exec_pool *pool)
{
	struct exec_program *program;
	const char *why;

	while ((program = exec_pool_take(pool)) && (why = why_unfit(program)))
		exec_program_end(&program, why);
	return program;
}

static bool is_too_large(const struct exec_program *program, int64_t rss_max_bytes)
{
	char text[STATM_MAX];
	ssize_t len = program->statm_fd == -1 ? -1 : pread(program->statm_fd, text, sizeof(text) - 1, 0);
	char *end;

	if (len <= 0)
		return false;
	text[len] = '\0';
	strtoull(text, &end, 10); /* its address space; the next number is what of that is in memory */
	return strtoull(end, NULL, 10) > (unsigned long long)(rss_max_bytes / sysconf(_SC_PAGESIZE));
}

/* Why the program takes no further call. NULL: it can. */
static const char *why_done(const struct exec_run *run, int ret)
{
	const struct cfg *cfg = run->call->cfg;

	if (ret == -1 || !run->is_answered)
		return "its call had no answer";
	if (run->to_stdin.len || run->message.len || run->fds[EXEC_STDIN] == -1 || run->fds[EXEC_MESSAGES] == -1)
		return "it answered, and left something half read or half written";
	if (run->program->statm_fd == -1 && !is_alive(run->program, run->fds[EXEC_LEASH]))
		return "it has ended";
	if (run->program->calls >= cfg->exec_resident_calls_max)
		return "exec_resident_calls_max";
	if (is_too_large(run->program, cfg->exec_resident_rss_max_bytes))
		return "exec_resident_rss_max_bytes";
	return NULL;
}

/* One call. */

static int put_call(struct exec_run *run, json_object *args, struct err *err)
{
	struct buf *line = &run->to_stdin, can;
	const char *handle;

	if (report_open(run->call, &handle, err))
		return -1;
	buf_init(&can, EXEC_SCALAR_MAX_BYTES);
	ask_put_abilities(run->call, &can);
	buf_clear(line);
	buf_addf(line, "{\"call\":%" PRId64 ",\"arguments\":", ++run->program->calls);
	jx_write(line, args);
	buf_addf(line, ",\"can\":\"%s\"", can.data ? can.data : "");
	if (handle)
		buf_addf(line, ",\"handle\":\"%s\"", handle);
	if (run->call->answers) {
		buf_adds(line, ",\"answers\":");
		jx_write(line, run->call->answers);
	}
	if (run->call->kept) {
		buf_adds(line, ",\"state\":");
		jx_write(line, run->call->kept);
	}
	buf_adds(line, "}\n");
	run->line_len = line->len;
	buf_release(&can);
	return buf_check(line, err);
}

static int start_program(struct exec_run *run, struct err *err)
{
	json_object *none = json_object_new_object();
	int ret = -1;

	run->program = exec_program_new();
	if (run->program && none)
		ret = exec_start(run, none, err);
	else
		err_set(err, ERR_NOMEM, "exec");
	json_object_put(none);
	return ret;
}

int exec_resident_start(struct exec_run *run, json_object *args, struct err *err)
{
	const struct cfg *cfg = run->call->cfg;
	struct exec_pool *pool = run->exec->pool;
	int ret = 0;

	if (!run->has_place)
		ret = exec_pool_enter(pool, run->call, (size_t)cfg->exec_resident_max, run->deadline_ms, err);
	if (ret == 1)
		return exec_run_fail(
		    run, "timed out after %llu s: its programs were busy", (unsigned long long)run->timeout_ms / 1000);
	if (ret == -1)
		return -1;
	run->has_place = true;
	run->program = take_fit(pool);
	if (run->program) {
		memcpy(run->fds, run->program->fds, sizeof(run->fds));
		memset(run->program->fds, -1, sizeof(run->program->fds));
	} else {
		ret = start_program(run, err);
	}
	return ret == 0 ? put_call(run, args, err) : ret;
}

static int break_off(struct exec_run *run, const char *why, struct slice line)
{
	exec_log_bad_message(run, why, line);
	exec_run_fail(run, "wrote a line that is no message: %s", why);
	run->is_over = true;
	return 0;
}

/* {"call": N, "result": ANY} or {"call": N, "error": WORDS} */
static void take_answer(struct exec_run *run, json_object *val, bool is_error)
{
	struct slice text = jx_str(val);

	if (is_error)
		exec_run_fail(run, "failed");
	if (text.p && (is_error || run->is_text))
		buf_add_slice(&run->out, text);
	else
		jx_write(&run->out, val);
	run->is_answered = true;
	run->is_over = true;
}

int exec_resident_take(struct exec_run *run, struct slice line, struct err *err)
{
	json_object *message, *call;
	struct slice method;
	struct err why;
	int ret = 0;

	if (run->is_over) { /* whatever it is, it doesn't undo what was there before */
		exec_log_bad_message(run, "the call is over", line);
		return 0;
	}
	message = jx_parse(line, (int)run->call->cfg->body_depth_max + FRAME_DEPTH, &why);
	if (!message && why.code == ERR_NOMEM) {
		*err = why;
		return -1;
	}
	call = jx_get(json_object_is_type(message, json_type_object) ? message : NULL, "call");
	method = call ? jx_get_str(message, "method") : (struct slice){0};
	if (!call || !jx_is_integer(call))
		ret = break_off(run, message ? "not an object with the number of its call" : why.msg, line);
	else if (json_object_get_int64(call) != run->program->calls)
		exec_log_bad_message(run, "of another call", line);
	else if (jx_has(message, "result"))
		take_answer(run, jx_get(message, "result"), false);
	else if (jx_get_str(message, "error").p)
		take_answer(run, jx_get(message, "error"), true);
	else if (!method.p)
		ret = break_off(run, "neither a method, a result nor an error in words", line);
	else
		ret = exec_ask_take(run, method, message, line, err);
	json_object_put(message);
	return ret;
}

/* Ends the program, if there is one, with all that this run had of it. */
static void end_program(struct exec_run *run, const char *why)
{
	if (!run->program)
		return;
	memcpy(run->program->fds, run->fds, sizeof(run->fds));
	memset(run->fds, -1, sizeof(run->fds));
	exec_program_end(&run->program, why);
}

bool exec_resident_is_unread(struct exec_run *run)
{
	size_t written = run->line_len - run->to_stdin.len;
	int unread = 0;

	/* The first call of a program is no accident: it ends whatever it is given. */
	if (run->is_answered || run->program->calls <= 1)
		return false;
	if (written && (run->fds[EXEC_STDIN] == -1 || ioctl(run->fds[EXEC_STDIN], FIONREAD, &unread) == -1))
		return false;
	if ((size_t)unread != written)
		return false;
	end_program(run, "it has ended");
	buf_clear(&run->message);
	buf_clear(&run->why);
	run->is_over = false;
	return true;
}

void exec_resident_end(struct exec_run *run, int ret)
{
	const char *why = run->program ? why_done(run, ret) : NULL;

	if (run->program && !why) {
		memcpy(run->program->fds, run->fds, sizeof(run->fds));
		memset(run->fds, -1, sizeof(run->fds));
		exec_pool_put(run->exec->pool, run->program, run->call->cfg->exec_resident_idle_s);
		run->program = NULL;
	}
	end_program(run, why);
	if (run->has_place)
		exec_pool_leave(run->exec->pool);
	run->has_place = false;
}
