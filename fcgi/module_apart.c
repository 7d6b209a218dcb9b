/* Descriptor 3 of the process is its end of a stream socket. On it each side speaks in parts, a length and so many
 * bytes, in the forms of common/link.h:
 *
 *   process   KIND KEY METHOD PARAMS      an op; PARAMS is JSON text, or empty
 *   runner    RET CODE MESSAGE            what came of it: there is one op at a time
 *   process   ANSWER STATUS CODE MESSAGE PIECES STRUCTURED WHOLE    its answer, and the last part
 *
 * When nobody waits any more the runner ends its direction. The socket is readable then, as it never is otherwise while
 * the handler's own code runs: so it is all that a handler needs that waits or polls to hear of it. What the process is
 * to do it reads from descriptor 0, and its module is descriptor 4. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/launcher.h"
#include "fcgi/module_apart.h"
#include "fcgi/module_priv.h"
#include "common/banned.h"

#define SOCK         3                 /* of the process */
#define ANSWER       (MODULE_KEEP + 1) /* after the kinds of ops */
#define READ_BYTES   65536
#define PARAMS_MAX   (1 << 20) /* bytes of an op */
#define ANSWER_TIMES 7         /* what a byte of an answer may become in JSON */

extern char **environ;

/* Parts. Lengths are as they are in memory, for both ends are of one build. */

static void part_begin(struct buf *part)
{
	const uint32_t len = 0;

	buf_init(part, SIZE_MAX / 2);
	buf_add(part, &len, sizeof(len));
}

/* part is whole. -1: it could not be sent. */
static int part_send(int sock, struct buf *part, int flags)
{
	const uint32_t len = (uint32_t)(part->len - sizeof(len));
	struct slice rest = buf_slice(part);

	memcpy(part->data, &len, sizeof(len));
	while (rest.len) {
		ssize_t put = send(sock, rest.p, rest.len, MSG_NOSIGNAL | flags);

		if (put == -1 && errno == EINTR)
			continue;
		if (put == -1)
			return -1;
		rest.p += put;
		rest.len -= (size_t)put;
	}
	return 0;
}

static void put_json(struct buf *part, json_object *val)
{
	struct buf text;

	buf_init(&text, SIZE_MAX / 2);
	if (val)
		jx_write(&text, val);
	link_put_bytes(part, buf_slice(&text));
	if (text.fault)
		part->fault = text.fault;
	buf_release(&text);
}

/* NULL: there is none, or *bad. */
static json_object *get_json(struct slice *in, int depth_max, bool *bad, struct err *err)
{
	struct slice text = link_get_bytes(in, bad);
	json_object *val = NULL;

	if (text.len) {
		val = jx_parse(text, depth_max, err);
		*bad = *bad || !val;
	}
	return val;
}

static void put_err(struct buf *part, const struct err *err)
{
	link_put_u32(part, (uint32_t)err->code);
	link_put_bytes(part, slice_str(err->code == ERR_NONE ? "" : err->msg));
}

static void get_err(struct slice *in, struct err *err, bool *bad)
{
	uint32_t code = link_get_u32(in, bad);
	struct slice msg = link_get_bytes(in, bad);

	*err = (struct err){0};
	if (code >= ERR__COUNT)
		*bad = true;
	else if (code != ERR_NONE)
		err_set(err, (enum err_code)code, "%.*s", (int)msg.len, msg.p);
}

/* The process. */

static int receive(void *to, size_t len)
{
	return recv(SOCK, to, len, MSG_WAITALL) == (ssize_t)len ? 0 : -1;
}

/* -1: nobody waits any more. */
static int receive_reply(struct module_op *op)
{
	char bytes[sizeof(op->err.msg) + 64];
	struct slice in = {bytes, 0};
	bool bad = false;
	uint32_t len;

	if (receive(&len, sizeof(len)) || len > sizeof(bytes) || receive(bytes, len))
		return -1;
	in.len = len;
	op->ret = (int)link_get_u32(&in, &bad);
	get_err(&in, &op->err, &bad);
	return bad ? -1 : 0;
}

static int wait_in_process(struct module_run *run, int64_t timeout_ms)
{
	struct pollfd fd = {.fd = SOCK, .events = POLLIN};
	int64_t left_ms = timeout_ms > INT_MAX ? INT_MAX : timeout_ms > 0 ? timeout_ms : 0;

	(void)run;
	return poll(&fd, 1, (int)left_ms) == 1 ? MCP_CANCELLED : MCP_OK;
}

static void serve_by_process(struct module_run *run, struct module_op *op)
{
	bool is_heard = wait_in_process(run, 0) != MCP_CANCELLED;
	struct buf part;

	part_begin(&part);
	link_put_u8(&part, (uint8_t)op->kind);
	link_put_bytes(&part, slice_str(op->key));
	link_put_bytes(&part, slice_str(op->method));
	put_json(&part, op->params);
	json_object_put(op->params);
	op->ret = buf_check(&part, &op->err);
	if (op->ret == 0)
		is_heard = is_heard && part_send(SOCK, &part, 0) == 0 && receive_reply(op) == 0;
	buf_release(&part);
	if (!is_heard)
		op->ret = err_set(&op->err, ERR_CANCELLED, "nobody waits any more");
}

static int cancel_fd_of_process(struct module_run *run)
{
	(void)run;
	return SOCK;
}

static const struct module_way by_process = {serve_by_process, wait_in_process, cancel_fd_of_process};

/* Takes what put_request() wrote. */
static struct module_run *read_request(struct slice in, struct err *err)
{
	bool bad = false;
	struct slice path = link_get_bytes(&in, &bad), settings = link_get_bytes(&in, &bad);
	uint32_t at = link_get_u32(&in, &bad);
	struct slice name = link_get_bytes(&in, &bad), info = link_get_bytes(&in, &bad);
	struct module_run *run = NULL;
	struct module *m;

	DIE_UNLESS(!bad);
	m = module_open_copy(LAUNCH_FD_LAST, mem_dup(path.p, path.len), mem_dup(settings.p, settings.len), err);
	if (m) {
		DIE_UNLESS(at < m->offers[DEFINITION_TOOL].count);
		run = module_run_alloc(&m->offers[DEFINITION_TOOL].items[at], name, &by_process, err);
		module_put(m); /* run has it */
	}
	if (!run)
		return NULL;
	run->ends_at_ms = link_get_u64(&in, &bad);
	run->room = (size_t)link_get_u64(&in, &bad);
	run->depth_max = (int)link_get_u32(&in, &bad);
	DIE_UNLESS(!bad);
	buf_add_slice(&run->info, info);
	if (buf_check(&run->info, err) == 0)
		return run;
	module_run_free(run);
	return NULL;
}

static struct module_run *hear_request(struct err *err)
{
	struct module_run *run = NULL;
	struct buf text;
	ssize_t got = -1;
	char *to;

	buf_init(&text, SIZE_MAX / 2);
	while ((to = buf_reserve(&text, READ_BYTES)) && (got = read(STDIN_FILENO, to, READ_BYTES)) > 0)
		text.len += (size_t)got;
	if (got == -1)
		err_sys(err, "read what to call");
	else
		run = read_request(buf_slice(&text), err);
	buf_release(&text);
	return run;
}

static int tell_answer(const struct module_answer *answer, struct err *err)
{
	struct buf part;
	int ret;

	part_begin(&part);
	link_put_u8(&part, ANSWER);
	link_put_u32(&part, (uint32_t)answer->status);
	put_err(&part, &answer->fault);
	put_json(&part, answer->pieces);
	put_json(&part, answer->structured);
	put_json(&part, answer->whole);
	ret = buf_check(&part, err);
	if (ret == 0)
		part_send(SOCK, &part, 0); /* else it has been given up, and nobody minds */
	buf_release(&part);
	return ret;
}

int module_serve_apart(void)
{
	struct module_run *run;
	struct err err = {0};
	sigset_t before;
	int type, ret = -1;
	socklen_t size = sizeof(type);

	if (getsockopt(SOCK, SOL_SOCKET, SO_TYPE, &type, &size) == -1 || type != SOCK_STREAM) {
		fprintf(
		    stderr, "--" MODULE_APART_OPTION " is what mcp-runner starts itself with, not for use by hand\n");
		return 2;
	}
	prctl(PR_SET_NAME, "mcp-module");
	fcntl(SOCK, F_SETFD, FD_CLOEXEC);
	fcntl(LAUNCH_FD_LAST, F_SETFD, FD_CLOEXEC);
	module_block_signals(&before);
	run = hear_request(&err);
	if (run) {
		module_run_handler(run);
		ret = tell_answer(&run->answer, &err);
		module_run_free(run); /* and with it the module, which is stopped */
	}
	if (ret)
		LOG(ERROR, "module.not_called", "why=\"%s\"", err.msg);
	return ret ? 1 : 0;
}

/* The runner. */

struct apart {
	struct call *call;      /* borrowed */
	struct module_run *run; /* owned */
	int sock, leash;        /* -1: closed */
	struct buf in;          /* parts that are not whole */
	bool is_answered, has_ended;
	struct err fault; /* not ERR_NONE: what it said could not be taken */
	struct launch_report report;
};

static void put_request(const struct module_run *run, struct buf *out)
{
	const struct module *m = run->module;

	link_put_bytes(out, slice_str(m->path));
	link_put_bytes(out, slice_str(m->settings));
	link_put_u32(out, (uint32_t)(run->offer - m->offers[DEFINITION_TOOL].items));
	link_put_bytes(out, slice_str(run->name));
	link_put_bytes(out, buf_slice(&run->info));
	link_put_u64(out, run->ends_at_ms);
	link_put_u64(out, run->room);
	link_put_u32(out, (uint32_t)run->depth_max);
}

static int open_request(const struct module_run *run, struct err *err)
{
	struct buf text;
	int fd = -1;

	buf_init(&text, SIZE_MAX / 2);
	put_request(run, &text);
	if (buf_check(&text, err) == 0)
		fd = launcher_open_text(buf_slice(&text), err);
	buf_release(&text);
	return fd;
}

/* What it writes by accident goes to our log. That its program is what we run, an upgrade meanwhile or not, is by
 * /proc.
 */
static int start(struct apart *a, struct err *err)
{
	char program[64], option[] = "--" MODULE_APART_OPTION, *argv[] = {program, option, NULL};
	struct launcher_job job = {.argv = argv,
	    .env = environ,
	    .cwd = ".",
	    .grace_ms = (uint32_t)a->call->cfg->module_grace_ms,
	    .fds = {[0 ... LAUNCH_FD_COUNT - 1] = STDERR_FILENO}};
	int pair[2];

	snprintf(program, sizeof(program), "/proc/%d/exe", (int)getpid());
	job.fds[LAUNCH_STDIN] = open_request(a->run, err);
	if (job.fds[LAUNCH_STDIN] == -1)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
		a->sock = pair[0];
		job.fds[LAUNCH_MESSAGES] = pair[1];
		job.fds[LAUNCH_ANSWERS] = a->run->module->fd;
		a->leash = launcher_start(a->call->cfg, &job, err);
		close(pair[1]);
	} else {
		err_sys(err, "socketpair");
	}
	close(job.fds[LAUNCH_STDIN]);
	return a->leash == -1 ? -1 : 0;
}

/* What it says after it was told that nobody waits is for nobody. */
static void reply(struct apart *a, const struct module_op *op)
{
	struct buf part;

	part_begin(&part);
	link_put_u32(&part, (uint32_t)op->ret);
	put_err(&part, op->ret == -1 ? &op->err : &(struct err){0});
	if (!a->run->is_cancelled && (part.fault || part_send(a->sock, &part, MSG_DONTWAIT)))
		fd_close(&a->sock); /* to the handler as if nobody waited */
	buf_release(&part);
}

static void take_op(struct apart *a, enum module_op_kind kind, struct slice in, bool *bad)
{
	struct slice key = link_get_bytes(&in, bad), method = link_get_bytes(&in, bad);
	json_object *params = get_json(&in, a->run->depth_max, bad, &a->fault);
	char *key_text = *bad ? NULL : mem_dup(key.p, key.len),
	     *method_text = *bad ? NULL : mem_dup(method.p, method.len);
	struct module_op op = {.kind = kind, .key = key_text, .method = method_text, .params = params};

	if (key_text && method_text) {
		module_run_serve(a->run, a->call, &op);
		reply(a, &op);
	} else {
		json_object_put(params);
		if (!*bad)
			*bad = err_set(&a->fault, ERR_NOMEM, "what a module wants") != 0;
	}
	mem_free(key_text);
	mem_free(method_text);
}

static void take_answer(struct apart *a, struct slice in, bool *bad)
{
	struct module_answer *answer = &a->run->answer;
	int depth_max = a->run->depth_max + 2; /* of pieces, around what the handler gave */

	answer->status = (int)link_get_u32(&in, bad);
	get_err(&in, &answer->fault, bad);
	answer->pieces = get_json(&in, depth_max, bad, &a->fault);
	answer->structured = get_json(&in, depth_max, bad, &a->fault);
	answer->whole = get_json(&in, depth_max, bad, &a->fault);
	a->is_answered = !*bad;
}

static void take_parts(struct apart *a)
{
	struct slice in = buf_slice(&a->in);
	bool bad = buf_check(&a->in, &a->fault) != 0;
	uint32_t len;

	while (!bad && !a->is_answered && in.len >= sizeof(len)) {
		struct slice part;
		uint8_t kind;

		memcpy(&len, in.p, sizeof(len));
		if (in.len - sizeof(len) < len)
			break;
		part = (struct slice){in.p + sizeof(len), len};
		in.p += sizeof(len) + len;
		in.len -= sizeof(len) + len;
		kind = link_get_u8(&part, &bad);
		if (kind < ANSWER)
			take_op(a, (enum module_op_kind)kind, part, &bad);
		else
			take_answer(a, part, &bad);
	}
	if (!bad)
		buf_drop(&a->in, a->in.len - in.len);
	else if (a->fault.code == ERR_NONE)
		err_set(&a->fault, ERR_INVALID, "not a part");
}

static bool is_over(const struct apart *a)
{
	return a->is_answered || a->has_ended || a->fault.code != ERR_NONE;
}

/* Takes what has come. Its end is looked at first: then all that it said before is there. */
static int look(struct apart *a, struct err *err)
{
	int got = launcher_read(a->leash, &a->report, err);

	for (size_t seen = 0; a->sock != -1 && !is_over(a) && seen < a->in.max; seen += READ_BYTES) {
		char bytes[READ_BYTES];
		ssize_t len = recv(a->sock, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (len == -1)
			break;
		if (len == 0) {
			fd_close(&a->sock);
			break;
		}
		buf_add(&a->in, bytes, (size_t)len);
		take_parts(a);
	}
	a->has_ended = got == 1;
	return got == -1 && !a->is_answered ? -1 : 0;
}

/* As those of module_run.c: 0: it is over. 1: its time is. -1: as call_poll(). */
static int wait_in_time(struct apart *a, struct err *err)
{
	while (!is_over(a)) {
		struct pollfd fds[] = {{.fd = a->sock, .events = POLLIN}, {.fd = a->leash, .events = POLLIN}};
		uint64_t now = now_ms();

		if (now >= a->run->ends_at_ms) {
			err_set(err, ERR_EXPIRED, "it took longer than its timeout_s");
			return 1;
		}
		if (call_poll(a->call, fds, COUNT_OF(fds), ms_until(a->run->ends_at_ms, now), err) == -1 ||
		    look(a, err))
			return -1;
	}
	return 0;
}

static void wait_in_grace(struct apart *a)
{
	uint64_t now = now_ms(), end_ms = now + (uint64_t)a->call->cfg->module_grace_ms;
	struct err err;

	a->run->is_cancelled = true;
	if (a->sock != -1)
		shutdown(a->sock, SHUT_WR);
	for (; !is_over(a) && now < end_ms; now = now_ms()) {
		struct pollfd fds[] = {{.fd = a->sock, .events = POLLIN}, {.fd = a->leash, .events = POLLIN}};

		poll(fds, COUNT_OF(fds), ms_until(end_ms, now));
		if (look(a, &err))
			return;
	}
}

/* It is over without an answer. */
static int fail(const struct apart *a, struct err *err)
{
	struct buf why;

	if (a->fault.code == ERR_NOMEM) {
		*err = a->fault;
		return -1;
	}
	buf_init(&why, sizeof(err->msg));
	if (a->has_ended)
		launcher_put_end(&a->report, &why);
	else
		buf_addf(&why, "said what makes no sense: %s", a->fault.msg);
	err_set(err, ERR_TOOL, "its process %s", why.data ? why.data : "has ended");
	LOG(ERROR, "module.died", "file=\"%s\" name=\"%s\" why=\"%s\"", a->run->module->path, a->run->name, err->msg);
	buf_release(&why);
	return 1;
}

static int call_process(struct apart *a, struct module_answer *answer, struct err *err)
{
	int ret = start(a, err);

	if (ret)
		return ret;
	ret = wait_in_time(a, err);
	if (ret)
		wait_in_grace(a);
	if (ret == 0 && !a->is_answered)
		return fail(a, err);
	if (ret == 0 || (ret == 1 && a->is_answered && a->run->answer.status != MCP_CANCELLED))
		ret = module_run_take_answer(a->run, a->call, answer, err);
	return ret;
}

int module_run_apart(struct call *call, const struct module_input *input, struct module_answer *answer, struct err *err)
{
	struct apart a = {.call = call, .sock = -1, .leash = -1};
	int ret = -1;

	*answer = (struct module_answer){0};
	a.run = module_run_new(call, input, NULL, err);
	if (!a.run)
		return -1;
	buf_init(&a.in, ANSWER_TIMES * a.run->room + PARAMS_MAX);
	ret = call_process(&a, answer, err);
	fd_close(&a.sock);
	fd_close(&a.leash); /* what still runs is ended */
	buf_release(&a.in);
	module_run_free(a.run);
	return ret;
}
