/* broker/handover.h - another program takes the running one's place, in the same process, and nobody notices but a
 * pause.
 *
 * The order: the program is asked to check its settings (--check); workers are asked to send nothing more (HOLD), and
 * what is under way ends; then the store commits what it was given, and all that is known goes into a file in memory,
 * the snapshot; the data channel is closed; execve(). Listeners, control connections, clients' connections and locks
 * stay open over that, and so does the process's number. The new program reads the snapshot, opens the data channel,
 * and releases the workers, whose DEALERs come back by themselves.
 *
 * What fails before execve() changes nothing: the old program goes on. When the new one can't read the snapshot, it
 * ends the clients' connections properly, and starts as after a crash. */
#ifndef MCP_BROKER_HANDOVER_H
#define MCP_BROKER_HANDOVER_H

#include "broker/broker.h"

#define HANDOVER_VERSION 4 /* of the snapshot: to be raised with any change of it */
#define HANDOVER_OPTION  "handover"
#define HANDOVER_CHECK   "check"

struct admin;
struct ctl_listener;

/* What to start, with what arguments. */
struct handover_program {
	char *path;        /* owned */
	const char **argv; /* owned array; NULL at the end */
	int argc;
};
/* From main()'s. -1: no memory, or the program's path is not known. */
int handover_program_init(struct handover_program *p, int argc, char **argv, struct err *err);
void handover_program_release(struct handover_program *p);
/* Without a snapshot, as after a crash. Only returns when that failed. */
void handover_start_anew(const struct handover_program *p);

/* What must be the same in both programs: one line, which --check prints. */
void handover_put_facts(const struct cfg *cfg, struct buf *out);

enum handover_step { HANDOVER_NONE, HANDOVER_CHECKS, HANDOVER_HOLDS };

/* The old program's side; embedded. */
struct handover {
	struct broker *broker;                  /* borrowed, as all of this part */
	const struct handover_program *program; /* NULL: it is not known */
	struct ctl_listener *listener;
	struct admin *admin;
	const char *zmq_path;
	int lock_fd;

	enum handover_step step;
	uv_process_t check;
	bool is_check_open;
	int said_fd; /* owned: what the check prints */
	struct wheel_timer timer;
	uint64_t began_ms;
};
void handover_init(struct handover *h);
/* Begins. -1: *err says why not. */
int handover_begin(struct handover *h, struct err *err);
void handover_turn(struct handover *h); /* in each turn of the loop */
void handover_release(struct handover *h);

/* The new program's side. */
struct handover_taken {
	int lock_fd; /* owned, as the two that follow */
	struct ctl_listener *listener;
	struct admin *admin;
	uint64_t began_ms;
};
/* The snapshot as bytes; handover_load() takes b, which was only initialised, to where it was. -1: *err, and b can only
 * be released. */
int handover_save(const struct handover *h, int fd, struct err *err);
int handover_load(struct broker *b, struct slice snapshot, struct handover_taken *taken, struct err *err);
/* The same from the descriptor that --handover gives. When it fails, clients' connections were given an end. */
int handover_take(struct broker *b, const char *fd, struct handover_taken *taken, struct err *err);

#endif
