/* fcgi/exec.h - programs: what a definition says about one, and one run of it. No shell is ever in between.
 *
 * What a definition holds for every program: "exec" (its words), cwd, env, inherit_env, output_max_bytes, limits. What
 * its output means is its user's business (provider_exec.c: a tool's result).
 *
 * How a program gets its arguments:
 *   stdin          all of them, as one JSON object (and then, if it waits, its answers: exec_wait.c)
 *   environment    each string, number and boolean of at most 4 KiB as MCP_ARG_<NAME>: the name in upper case, what is
 *                  not a letter or digit as _
 *   command line   {name} in a word of "exec" is replaced by such an argument; a word whose argument is missing is left
 *                  out; {{ is a plain {. A string that begins with '-' is refused at the beginning of a word, unless a
 *                  word "--" stands before it: it could be read as an option.
 * An argument that is missing and has a default has that value.
 *
 * On descriptor 3, also named in MCP_FD, it may say something while it runs: one JSON object a line of at most 64 KiB.
 *   {"method": "notifications/...", "params": {...}}
 *       as call_notify() takes it: progress, what it logs, what has changed
 *   {"id": KEY, "method": "elicitation/create", "params": {...}}
 *       a question to the client: this, sampling/createMessage or roots/list. When it ends with status 0 and a question
 *       is open, its output counts for nothing, the questions go out, and it is run again from its beginning with the
 *       same arguments. If the client can't be asked the run ends, unless the line has "optional": true
 *   {"method": "state", "params": ANY}
 *       what its next run shall know, at most 4 KiB as JSON
 * and it finds in its environment
 *   MCP_CALL        what others who work for it name the call by, when they report its progress (fcgi/report.h)
 *   MCP_CAN         what the client can be asked: words of "elicitation elicitation.url sampling sampling.tools
 *                   sampling.context roots"
 *   MCP_ANSWERS     once there are answers: path of a file with all of them, {KEY: RESULT}, or {KEY: {"error": ...}}
 *   MCP_ANSWER_<KEY>_ACTION, MCP_ANSWER_<KEY>_<FIELD>
 *                   of a form: accept, decline or cancel, and what was filled in
 *   MCP_ANSWER_<KEY>_TEXT    of a model: the first text that it wrote
 *   MCP_ANSWER_<KEY>_ERROR   of an error: its message
 *   MCP_STATE       what the run before left: a string as it is, else JSON
 * Names are made, and values bounded, as for arguments. stderr goes to the log, line by line, and its end is kept.
 *
 * A resident program ("resident": true of a tool) is started once in a process and then takes one call after another,
 * one JSON object a line: on standard input
 *   {"call": N, "arguments": {...}, "can": WORDS, "handle": WORD, "answers": {KEY: RESULT}, "state": ANY}
 *       the last three only if there are any; what the variables MCP_CAN, MCP_CALL, MCP_ANSWERS and MCP_STATE tell
 * others and on standard output, which is its descriptor 3 too, what others say on descriptor 3, each line with the
 * call's number, and at last one of
 *   {"call": N, "result": ANY}
 *       what others write to stdout: a string is the text where text is wanted, all else is JSON
 *   {"call": N, "error": WORDS}
 *       the call failed
 * stderr is logged, and in no answer: it can't be said which call it is about. A line of another call is logged and
 * left out. A line that is no message ends the call and the program; so does whatever ends a call before its answer, as
 * below. When it asks, its result counts for nothing, and the call comes again, with the answers, perhaps to another
 * such program. How many there are, and how long they are kept, is fcgi/exec_pool.h.
 *
 * It runs in its own process group, which is ended when the run is over: at its timeout, when it writes too much, when
 * the client cancels, when the worker dies. SIGTERM tells it to clean up; SIGKILL follows when the program has ended or
 * exec_grace_ms are over, and comes at once to whatever a program left running that ended by itself. */
#ifndef MCP_FCGI_EXEC_H
#define MCP_FCGI_EXEC_H

#include "fcgi/call.h"
#include "fcgi/exec_strings.h"
#include "fcgi/launch.h"

#define EXEC_MEMBERS "cwd", "env", "inherit_env", "output_max_bytes", "limits" /* of a definition, beside "exec" */

struct exec; /* what a definition says: made when the configuration is read, then only read, by any thread */

/* Reads def, which stands at pointer of the configuration; its member ("exec") has the words. has_argument says whether
 * a {placeholder} of that name can ever be filled. NULL: complained about through cfg_complain(), or *err is ERR_NOMEM.
 */
struct exec *exec_new(json_object *def, const char *member, bool (*has_argument)(const void *arg, struct slice name),
    const void *arg, struct cfg *cfg, const char *pointer, struct err *err);
void exec_free(struct exec **execp);
/* The value of an argument that is missing; val is read, not kept. */
int exec_add_default(struct exec *exec, const char *name, json_object *val, struct err *err);
/* Makes it a resident program. -1: complained about (it has {placeholders}, or a limit that can't be), or ERR_NOMEM. */
int exec_make_resident(struct exec *exec, struct cfg *cfg, const char *pointer, struct err *err);

enum { EXEC_STDOUT, EXEC_STDERR, EXEC_MESSAGES, EXEC_LEASH, EXEC_STDIN, EXEC_FD_COUNT };

/* One run, from exec_run_init() to exec_run_release(). */
struct exec_run {
	const struct exec *exec; /* borrowed, as all that exec_run_init() is given */
	struct call *call;       /* cancels the run, and is told of what it waits for */
	const char *name;        /* in the log and in failures */
	uint64_t timeout_ms;
	struct exec_strings env; /* variables of this run, by exec_run_set() */
	bool waits;              /* it stays alive while its questions are out; only where call_can_wait() */
	bool is_text;            /* of a resident program: a string that is its result is the output as it is */

	/* What came of it. */
	struct buf out;    /* stdout */
	struct buf errors; /* the end of stderr */
	struct buf why;    /* empty: it exited with status 0. Else how it failed, in words for the client */
	int exit_status; /* with which it exited; EX_USAGE too when an argument can't be a word of its command; else -1
			  */

	/* exec.c's */
	int fds[EXEC_FD_COUNT]; /* ours: nonblocking ends; -1: at its end */
	struct buf log_line;    /* of stderr, not complete */
	struct buf message;     /* line of descriptor 3, not complete */
	bool message_is_too_long;
	struct launch_report report;
	uint64_t deadline_ms;

	struct buf to_stdin; /* not written yet; of one that waits or is resident */

	/* exec_wait.c's, of a run that waits */
	json_object *waiting;  /* owned; the keys of its open questions */
	bool has_asked;        /* since they went out last */
	uint64_t wait_left_ms; /* while it waits: what it may take afterwards; else 0 */

	/* exec_resident.c's, of a resident program */
	struct exec_program *program; /* owned; NULL: none yet, or no more */
	size_t line_len;              /* of the call, as it was put into to_stdin */
	bool has_place;               /* in the pool */
	bool is_answered;
	bool is_over; /* it is answered, or nothing more is heard */
};

void exec_run_init(
    struct exec_run *run, const struct exec *exec, struct call *call, const char *name, int64_t timeout_s);
/* Sets a variable of the program's environment; the last one of a name wins. Those of the arguments come after it. */
int exec_run_set(struct exec_run *run, const char *name, struct slice value, struct err *err);
/* Runs it, once, to its end. args is an object; what is missing in it has its default. 0: it ran, or could not be
 * started: look at run->why, and if that is empty whether the call is asking. -1: ERR_CANCELLED, ERR_CAPABILITY, or
 * what went wrong inside us. */
int exec_run(struct exec_run *run, json_object *args, struct err *err);
/* What came of it was no good, though the program had no objection: sets run->why. Returns 1. */
int exec_run_fail(struct exec_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends why, then stderr, then stdout, as UTF-8. */
void exec_run_put_failure(const struct exec_run *run, struct buf *text);
void exec_run_release(struct exec_run *run);

#endif
