#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "fcgi/exec_priv.h"
#include "fcgi/launcher.h"
#include "common/banned.h"

#define MESSAGE_MAX_BYTES  65536 /* of a line on descriptor 3 */
#define MESSAGE_DEPTH_MAX  64
#define RESULT_FRAME_BYTES 256 /* that a resident program's line may have beside its result */
#define LOG_LINE_MAX       400 /* bytes of a line of stderr that are logged */
#define READ_BYTES         65536
#define WHY_MAX            2200

static struct log_rate stderr_rate, message_rate, start_rate;

void exec_run_init(
    struct exec_run *run, const struct exec *exec, struct call *call, const char *name, int64_t timeout_s)
{
	*run = (struct exec_run){
	    .exec = exec,
	    .call = call,
	    .name = name,
	    .timeout_ms = (uint64_t)timeout_s * 1000,
	    .exit_status = -1,
	    .fds = {-1, -1, -1, -1, -1},
	};
	buf_init(&run->out, exec->output_max_bytes);
	buf_init(&run->errors, (size_t)call->cfg->exec_stderr_max_bytes);
	buf_init(&run->why, WHY_MAX);
	buf_init(&run->log_line, LOG_LINE_MAX);
	buf_init(&run->message, exec->pool ? exec->output_max_bytes + RESULT_FRAME_BYTES : MESSAGE_MAX_BYTES);
	buf_init(&run->to_stdin, 16 * (size_t)call->cfg->body_max_bytes);
}

int exec_run_fail(struct exec_run *run, const char *fmt, ...)
{
	char words[WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	buf_clear(&run->why);
	buf_adds(&run->why, words);
	return 1;
}

void exec_run_put_failure(const struct exec_run *run, struct buf *text)
{
	buf_add_slice(text, buf_slice(&run->why));
	if (run->errors.len) {
		buf_adds(text, "\n");
		utf8_add_repaired(text, buf_slice(&run->errors));
	}
	if (run->out.len) {
		buf_adds(text, run->errors.len && run->errors.data[run->errors.len - 1] == '\n' ? "" : "\n");
		utf8_add_repaired(text, buf_slice(&run->out));
	}
}

/* A file with the JSON text of val, for a program to read. Returns its descriptor. */
static int open_json(const struct exec_run *run, json_object *val, struct err *err)
{
	struct buf json;
	int fd = -1;

	buf_init(&json, 16 * (size_t)run->call->cfg->body_max_bytes);
	jx_write(&json, val);
	buf_adds(&json, "\n");
	if (buf_check(&json, err) == 0)
		fd = launcher_open_text(buf_slice(&json), err);
	buf_release(&json);
	return fd;
}

/* A pipe whose reading end is ours, in run->fds, and the other the program's. */
static int open_pipe(struct exec_run *run, int at, int *theirs, struct err *err)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) == -1)
		return err_sys(err, "pipe");
	run->fds[at] = pair[0];
	*theirs = pair[1];
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) == -1)
		return err_sys(err, "fcntl");
	return 0;
}

/* As open_fds(): its descriptors 1 and 3 are one pipe. */
static int open_resident_fds(struct exec_run *run, struct launcher_job *job, struct err *err)
{
	job->fds[LAUNCH_STDIN] = exec_open_stdin(run, err);
	if (job->fds[LAUNCH_STDIN] == -1 || open_pipe(run, EXEC_STDERR, &job->fds[LAUNCH_STDERR], err) ||
	    open_pipe(run, EXEC_MESSAGES, &job->fds[LAUNCH_MESSAGES], err))
		return -1;
	job->fds[LAUNCH_STDOUT] = fcntl(job->fds[LAUNCH_MESSAGES], F_DUPFD_CLOEXEC, 0);
	return job->fds[LAUNCH_STDOUT] == -1 ? err_sys(err, "dup") : 0;
}

/* Everything that the program has open at its beginning, into job. */
static int open_fds(struct exec_run *run, json_object *args, struct launcher_job *job, struct err *err)
{
	json_object *answers = run->call->answers;

	if (run->exec->pool)
		return open_resident_fds(run, job, err);
	job->fds[LAUNCH_STDIN] = run->waits ? exec_wait_open(run, args, err) : open_json(run, args, err);
	if (job->fds[LAUNCH_STDIN] == -1)
		return -1;
	job->fds[LAUNCH_ANSWERS] = answers ? open_json(run, answers, err) : -1;
	if (answers && job->fds[LAUNCH_ANSWERS] == -1)
		return -1;
	if (open_pipe(run, EXEC_STDOUT, &job->fds[LAUNCH_STDOUT], err) ||
	    open_pipe(run, EXEC_STDERR, &job->fds[LAUNCH_STDERR], err))
		return -1;
	return open_pipe(run, EXEC_MESSAGES, &job->fds[LAUNCH_MESSAGES], err);
}

int exec_start(struct exec_run *run, json_object *args, struct err *err)
{
	struct launcher_job job = {.cwd = run->exec->cwd,
	    .cpu_s = run->exec->cpu_s,
	    .grace_ms = (uint32_t)run->call->cfg->exec_grace_ms,
	    .memory_bytes = run->exec->memory_bytes,
	    .tells_pid = run->exec->pool != NULL,
	    .fds = {[0 ... LAUNCH_FD_COUNT - 1] = -1}};
	struct exec_strings argv = {0}, env = {0};
	int ret = exec_args_words(run, args, &argv, err);

	if (ret == 0 && !run->exec->pool)
		ret = exec_ask_prepare(run, err);
	if (ret == 0)
		ret = exec_args_env(run, args, &env, err);
	if (ret == 0)
		ret = open_fds(run, args, &job, err);
	if (ret == 0) {
		memcpy(&job.fds[LAUNCH_READERS], &run->fds[EXEC_STDOUT], LAUNCH_READERS_COUNT * sizeof(int));
		if (run->exec->pool)
			job.fds[LAUNCH_READERS] = run->fds[EXEC_MESSAGES];
		job.argv = argv.items;
		job.env = env.items;
		run->fds[EXEC_LEASH] = launcher_start(run->call->cfg, &job, err);
		ret = run->fds[EXEC_LEASH] == -1 ? -1 : 0;
	}
	if (ret == -1 && err->code == ERR_TOO_BIG)
		ret = exec_run_fail(run, "its arguments are too long");
	for (int i = 0; i < LAUNCH_READERS; i++)
		fd_close(&job.fds[i]);
	fd_close(&job.fds[LAUNCH_ANSWERS]);
	exec_strings_release(&argv);
	exec_strings_release(&env);
	return ret;
}

static void log_stderr_line(const struct exec_run *run, struct slice line)
{
	char quoted[LOG_LINE_MAX];
	unsigned dropped;

	if (line.len == 0 || !log_rate_ok(&stderr_rate, 50, 1000, &dropped))
		return;
	if (dropped)
		LOG(WARN, "tool.stderr_dropped", "lines=%u", dropped);
	LOG(INFO, "tool.stderr", "tool=%s line=\"%s\"", run->name, log_quote(quoted, sizeof(quoted), line));
}

static void take_stderr(struct exec_run *run, struct slice bytes)
{
	size_t keep = (size_t)run->call->cfg->exec_stderr_max_bytes;

	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.p[i] != '\n') {
			buf_add(&run->log_line, bytes.p + i, 1); /* what is past its ceiling is not logged */
			continue;
		}
		log_stderr_line(run, buf_slice(&run->log_line));
		buf_clear(&run->log_line);
	}
	if (run->exec->pool) /* it can't be said which call this is about, nor whose */
		return;
	if (bytes.len > keep) {
		bytes.p += bytes.len - keep;
		bytes.len = keep;
	}
	if (run->errors.len > keep - bytes.len)
		buf_drop(&run->errors, run->errors.len - (keep - bytes.len));
	buf_add_slice(&run->errors, bytes);
}

void exec_log_bad_message(const struct exec_run *run, const char *why, struct slice line)
{
	char quoted[120];
	unsigned dropped;

	if (log_rate_ok(&message_rate, 10, 1000, &dropped))
		LOG(WARN, "tool.bad_message", "tool=%s dropped=%u why=\"%s\" line=\"%s\"", run->name, dropped, why,
		    log_quote(quoted, sizeof(quoted), line));
}

/* -1: the run ends. A line that is no message is logged and ignored. */
static int take_message(struct exec_run *run, struct slice line, struct err *err)
{
	json_object *message;
	struct slice method;
	struct err why = {0};
	int ret = 0;

	if (line.len == 0)
		return 0;
	if (run->exec->pool)
		return exec_resident_take(run, line, err);
	message = jx_parse(line, MESSAGE_DEPTH_MAX, &why);
	method = jx_get_str(json_object_is_type(message, json_type_object) ? message : NULL, "method");
	if (!method.p)
		exec_log_bad_message(run, message ? "not an object with a method" : why.msg, line);
	else
		ret = exec_ask_take(run, method, message, line, err);
	json_object_put(message);
	return ret;
}

static int too_much(struct exec_run *run)
{
	buf_clear(&run->out);
	return exec_run_fail(run, "wrote more than %zu bytes", run->exec->output_max_bytes);
}

/* A line is too long, or there is no memory for it. */
static int refuse_line(struct exec_run *run, struct slice part, struct err *err)
{
	run->message_is_too_long = true;
	if (!run->exec->pool) {
		exec_log_bad_message(run, "the line is too long", part);
		return 0;
	}
	if (run->message.fault == ERR_NOMEM)
		return err_set(err, ERR_NOMEM, "exec");
	if (!run->is_over)
		too_much(run);
	run->is_over = true;
	return 0;
}

static int take_messages(struct exec_run *run, struct slice bytes, struct err *err)
{
	while (bytes.len) {
		const char *end = memchr(bytes.p, '\n', bytes.len);
		size_t len = end ? (size_t)(end - bytes.p) : bytes.len;

		buf_add(&run->message, bytes.p, len);
		if (run->message.fault && !run->message_is_too_long &&
		    refuse_line(run, (struct slice){bytes.p, len}, err))
			return -1;
		if (!end)
			return 0;
		if (!run->message_is_too_long && take_message(run, buf_slice(&run->message), err))
			return -1;
		buf_clear(&run->message);
		run->message_is_too_long = false;
		bytes.p += len + 1;
		bytes.len -= len + 1;
	}
	return 0;
}

/* Reads what is there, at most once READ_BYTES: 1 means there may be more. -1: the run ends. */
static int take(struct exec_run *run, int at, struct err *err)
{
	char bytes[READ_BYTES];
	ssize_t got = read(run->fds[at], bytes, sizeof(bytes));

	if (got == -1 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0) {
		fd_close(&run->fds[at]);
		return 0;
	}
	if (at == EXEC_MESSAGES)
		return take_messages(run, (struct slice){bytes, (size_t)got}, err) ? -1 : 1;
	if (at == EXEC_STDERR)
		take_stderr(run, (struct slice){bytes, (size_t)got});
	else
		buf_add(&run->out, bytes, (size_t)got);
	return 1;
}

/* The program has ended: what it wrote is in the pipes. Somebody that it left behind may go on writing, so there is an
 * end to reading, too. */
static int drain(struct exec_run *run, struct err *err)
{
	for (int at = EXEC_STDOUT; at <= EXEC_MESSAGES; at++) {
		size_t limit = run->exec->output_max_bytes + READ_BYTES;
		int more = 1;

		for (size_t got = 0; more == 1 && run->fds[at] != -1 && got < limit; got += READ_BYTES)
			more = take(run, at, err);
		if (more == -1)
			return -1;
	}
	if (run->message.len && !run->exec->pool) /* a last line without its end */
		return take_messages(run, SLICE("\n"), err);
	return 0;
}

static int time_is_over(struct exec_run *run)
{
	if (run->wait_left_ms)
		return exec_run_fail(
		    run, "nobody answered its questions within %lld s", (long long)run->call->cfg->ask_wait_s);
	return exec_run_fail(run, "timed out after %llu s", (unsigned long long)run->timeout_ms / 1000);
}

/* 0: the program has ended, run->report says how. 1: it is to be stopped, run->why says why; or it is resident and has
 * answered. */
static int watch(struct exec_run *run, struct err *err)
{
	struct pollfd fds[EXEC_FD_COUNT];

	for (;;) {
		uint64_t now;
		int got;

		if (run->waits && exec_wait_turn(run, err))
			return -1;
		exec_write_stdin(run);
		now = now_ms();
		if (now >= run->deadline_ms)
			return time_is_over(run);
		for (int i = 0; i < EXEC_STDIN; i++)
			fds[i] = (struct pollfd){.fd = run->fds[i], .events = POLLIN};
		fds[EXEC_STDIN] =
		    (struct pollfd){.fd = run->to_stdin.len ? run->fds[EXEC_STDIN] : -1, .events = POLLOUT};
		if (call_poll(run->call, fds, EXEC_FD_COUNT, ms_until(run->deadline_ms, now), err) == -1)
			return -1;
		for (int at = EXEC_STDOUT; at <= EXEC_MESSAGES; at++) {
			if (fds[at].revents & POLLIN && take(run, at, err) == -1)
				return -1;
			if (fds[at].revents == POLLHUP)
				fd_close(&run->fds[at]);
		}
		if (run->out.fault) {
			if (run->out.fault == ERR_NOMEM)
				return err_set(err, ERR_NOMEM, "exec");
			return too_much(run);
		}
		if (run->is_over)
			return 1;
		if (!fds[EXEC_LEASH].revents)
			continue;
		got = launcher_read(run->fds[EXEC_LEASH], &run->report, err);
		if (got == 1 && run->report.event == LAUNCH_STARTED) {
			exec_resident_note_pid(run);
			continue;
		}
		if (got == 1)
			return drain(run, err);
		if (got == -1)
			return -1;
	}
}

/* Whether the end that was reported is a good one; run->why otherwise. */
static void judge(struct exec_run *run)
{
	int value = run->report.value;
	unsigned dropped;

	if (run->report.event != LAUNCH_EXITED) {
		if (log_rate_ok(&start_rate, 5, 1000, &dropped))
			LOG(ERROR, "tool.not_started", "tool=%s program=%s cwd=%s dropped=%u why=\"%s: %s\"", run->name,
			    run->exec->words.items[0], run->exec->cwd, dropped,
			    run->report.event == LAUNCH_NO_CWD    ? "chdir"
			    : run->report.event == LAUNCH_NO_EXEC ? "exec"
								  : "fork",
			    strerrordesc_np(value));
	} else if (!WIFSIGNALED(value)) {
		run->exit_status = WEXITSTATUS(value);
	}
	if (run->exit_status != 0)
		launcher_put_end(&run->report, &run->why);
	else if (run->exec->pool)
		exec_run_fail(run, "ended without an answer");
}

int exec_run(struct exec_run *run, json_object *args, struct err *err)
{
	json_object *full = exec_args_complete(run->exec, args, err);
	int ret = full ? 0 : -1;

	run->deadline_ms = now_ms() + run->timeout_ms;
	while (ret == 0) {
		ret = run->exec->pool ? exec_resident_start(run, full, err) : exec_start(run, full, err);
		if (ret == 0)
			ret = watch(run, err);
		if (ret || !run->exec->pool || !exec_resident_is_unread(run))
			break;
	}
	json_object_put(full);
	if (run->exec->pool)
		exec_resident_end(run, ret);
	fd_close(&run->fds[EXEC_LEASH]); /* whatever is left of the group ends here */
	if (ret == 0 && run->out.fault)
		too_much(run);
	else if (ret == 0 && run->why.len == 0 && !run->is_answered)
		judge(run);
	if (ret == -1 || run->why.len || run->waits)
		call_drop_asks(run->call);
	log_stderr_line(run, buf_slice(&run->log_line));
	return ret == -1 ? -1 : 0;
}

void exec_run_release(struct exec_run *run)
{
	for (int i = 0; i < EXEC_FD_COUNT; i++)
		fd_close(&run->fds[i]);
	exec_strings_release(&run->env);
	buf_release(&run->out);
	buf_release(&run->errors);
	buf_release(&run->why);
	buf_release(&run->log_line);
	buf_release(&run->message);
	buf_release(&run->to_stdin);
	json_object_put(run->waiting);
}
