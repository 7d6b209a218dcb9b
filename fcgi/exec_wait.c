/* Programs that stay alive while their questions are out ("wait": true). Their standard input is a pipe: its first line
 * is their arguments, each further one an answer. What they may take stands still as long as they wait for a person. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/jx.h"
#include "fcgi/exec_priv.h"
#include "common/banned.h"

static bool is_waiting(const struct exec_run *run)
{
	return run->waiting && json_object_object_length(run->waiting) > 0;
}

int exec_open_stdin(struct exec_run *run, struct err *err)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) == -1)
		return err_sys(err, "pipe");
	run->fds[EXEC_STDIN] = pair[1];
	if (fcntl(pair[1], F_SETFL, O_NONBLOCK) == -1) {
		close(pair[0]);
		return err_sys(err, "fcntl");
	}
	return pair[0];
}

int exec_wait_open(struct exec_run *run, json_object *args, struct err *err)
{
	jx_write(&run->to_stdin, args);
	buf_adds(&run->to_stdin, "\n");
	run->waiting = json_object_new_object();
	if (buf_check(&run->to_stdin, err) || !run->waiting)
		return err_set(err, ERR_NOMEM, "exec");
	return exec_open_stdin(run, err);
}

int exec_wait_ask(struct exec_run *run, const char *key, bool is_new, struct err *err)
{
	run->has_asked = run->has_asked || is_new;
	return jx_add(run->waiting, key, json_object_new_boolean(true), err);
}

/* {"id":KEY,"MEMBER":VAL} */
static void put_answer(struct exec_run *run, const char *key, const char *member, json_object *val)
{
	buf_adds(&run->to_stdin, "{\"id\":");
	jx_write_str(&run->to_stdin, slice_str(key));
	buf_addf(&run->to_stdin, ",\"%s\":", member);
	jx_write(&run->to_stdin, val);
	buf_adds(&run->to_stdin, "}\n");
}

int exec_wait_refuse(struct exec_run *run, const char *key, const struct err *why, struct err *err)
{
	json_object *error = json_object_new_object();
	int ret = jx_add(error, "code", json_object_new_int(err_rpc(why->code)), err);

	ret |= jx_add_str(error, "message", why->msg, err);
	if (ret == 0)
		put_answer(run, key, "error", error);
	json_object_put(error);
	return ret;
}

/* Hands on what has been answered. */
static void take_answers(struct exec_run *run)
{
	json_object *answers = run->call->answers;

	if (!answers)
		return;
	json_object_object_foreach(answers, key, val) {
		json_object *error = jx_has(val, "action") ? NULL : jx_get_object(val, "error");

		if (!jx_has(run->waiting, key))
			continue;
		put_answer(run, key, error ? "error" : "result", error ? error : val);
		json_object_object_del(run->waiting, key);
	}
}

void exec_write_stdin(struct exec_run *run)
{
	ssize_t put;

	if (run->to_stdin.len == 0 || run->fds[EXEC_STDIN] == -1)
		return;
	put = write(run->fds[EXEC_STDIN], run->to_stdin.data, run->to_stdin.len);
	if (put > 0) {
		buf_drop(&run->to_stdin, (size_t)put);
	} else if (errno != EAGAIN && errno != EINTR) {
		close(run->fds[EXEC_STDIN]);
		run->fds[EXEC_STDIN] = -1;
	}
}

int exec_wait_turn(struct exec_run *run, struct err *err)
{
	bool was_waiting = run->wait_left_ms != 0;
	uint64_t now = now_ms();

	if (run->has_asked && call_publish(run->call, err))
		return -1;
	run->has_asked = false;
	take_answers(run);
	if (is_waiting(run) && !was_waiting && now < run->deadline_ms) {
		run->wait_left_ms = run->deadline_ms - now;
		run->deadline_ms = now + (uint64_t)run->call->cfg->ask_wait_s * 1000;
	} else if (!is_waiting(run) && was_waiting) {
		run->deadline_ms = now + run->wait_left_ms;
		run->wait_left_ms = 0;
	}
	return buf_check(&run->to_stdin, err);
}
