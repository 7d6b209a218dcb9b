/* fcgi/exec_priv.h - what these share: exec.c (one run of a program), exec_def.c (its definition), exec_args.c (how it
 * is told its arguments), exec_ask.c (what it says meanwhile, and finds answered), exec_wait.c (it stays alive while
 * its questions are out), exec_resident.c (it stays alive from call to call). */
#ifndef MCP_FCGI_EXEC_PRIV_H
#define MCP_FCGI_EXEC_PRIV_H

#include "fcgi/exec.h"
#include "fcgi/exec_pool.h"

#define EXEC_SCALAR_MAX_BYTES 4096 /* of a value in the environment or on the command line */

struct exec_default {
	char *name, *json; /* owned */
};

struct exec {
	struct exec_strings words;     /* templates; the first is the program's path */
	struct exec_strings env;       /* "NAME=VALUE" */
	char *cwd;                     /* owned */
	struct exec_default *defaults; /* owned */
	size_t defaults_count;
	size_t output_max_bytes;
	uint32_t cpu_s;
	uint64_t memory_bytes;
	struct exec_pool *pool; /* owned; of a resident program, else NULL */
};

/* exec.c: starts the program of run, which becomes run->fds. 1: run->why says why not. */
int exec_start(struct exec_run *run, json_object *args, struct err *err);
/* A line of the program's made no sense. */
void exec_log_bad_message(const struct exec_run *run, const char *why, struct slice line);

/* exec_args.c: args with the defaults of those that are missing; the caller owns it. The request's own stay as the
 * client sent them: it has to repeat them. */
json_object *exec_args_complete(const struct exec *exec, json_object *args, struct err *err);
/* The words of the command. 1: an argument is refused, run->why says why. */
int exec_args_words(struct exec_run *run, json_object *args, struct exec_strings *argv, struct err *err);
/* The environment: what every run has, what this one has, the arguments. ERR_TOO_BIG: these are too much. */
int exec_args_env(const struct exec_run *run, json_object *args, struct exec_strings *env, struct err *err);
/* The text of a string, number or boolean in the environment or on the command line; text has EXEC_SCALAR_MAX_BYTES.
 * False: it has none. */
bool exec_scalar_text(json_object *val, struct buf *text);
/* Appends name as a part of a variable's name: in upper case, what is not a letter or digit as _. */
void exec_put_name(struct buf *out, const char *name);

/* exec_ask.c: sets the variables that tell of questions and answers, and who may report on the call. */
int exec_ask_prepare(struct exec_run *run, struct err *err);
/* Takes a message of descriptor 3, which is this line there: one that makes no sense is logged, and the run goes on.
 * -1: the run ends with *err. */
int exec_ask_take(
    struct exec_run *run, struct slice method, json_object *message, struct slice line, struct err *err);

/* exec_wait.c: a pipe as standard input. Returns the program's end, or -1. */
int exec_open_stdin(struct exec_run *run, struct err *err);
/* Writes what it takes of run->to_stdin. A program that reads no more has no use for the rest. */
void exec_write_stdin(struct exec_run *run);
/* A run that waits (run->waits). Opens what becomes its standard input; returns the program's end, or -1.
 */
int exec_wait_open(struct exec_run *run, json_object *args, struct err *err);
/* The program waits for the answer to key; is_new: which the client has not given yet. */
int exec_wait_ask(struct exec_run *run, const char *key, bool is_new, struct err *err);
/* The question key is not: the program reads why. */
int exec_wait_refuse(struct exec_run *run, const char *key, const struct err *why, struct err *err);
/* What is to be done before each poll(): questions go out, answers go in, the clock stands still. */
int exec_wait_turn(struct exec_run *run, struct err *err);

/* exec_resident.c: takes a program that is there already, or starts one, and gives it the call. 1: run->why says why
 * not. */
int exec_resident_start(struct exec_run *run, json_object *args, struct err *err);
/* launch_report says that it was started. */
void exec_resident_note_pid(struct exec_run *run);
/* Takes a line of the program's. -1: the run ends with *err. */
int exec_resident_take(struct exec_run *run, struct slice line, struct err *err);
/* The program has ended before it began to read the call, so that another one can take it: start again. */
bool exec_resident_is_unread(struct exec_run *run);
/* The run is over, and ret is how: keeps the program, if it can take another call; else run->fds are still open. */
void exec_resident_end(struct exec_run *run, int ret);

#endif
