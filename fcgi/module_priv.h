/* fcgi/module_priv.h - what fcgi/module*.c share. */
#ifndef MCP_FCGI_MODULE_PRIV_H
#define MCP_FCGI_MODULE_PRIV_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "fcgi/module_run.h"

struct module_offers {
	struct module_offer *items; /* owned; in the order of the module's list */
	size_t count;
};

struct module {
	char *path;     /* owned, absolute */
	char *settings; /* owned; JSON text */
	struct stat file;
	int fd;                         /* of the copy: its number is part of the name by which the loader knows it */
	void *handle;                   /* of dlopen() */
	struct mcp_module table;        /* as we know it */
	struct module_offers offers[3]; /* by enum definition_kind */
	int refs;                       /* by the registry's lock */
	struct module *next;            /* by the registry's lock */
	pthread_mutex_t start_mtx;
	atomic_bool is_started; /* set by start_mtx */
	void *state;            /* by start_mtx until it is started */
	atomic_bool has_run;    /* some of its code has */
	atomic_uint running;    /* handlers */
};

struct module_run;

/* What a handler is lent. Its memory is never freed but lent again: a module that keeps it, or takes it to another
 * thread, is refused there (module_host.c) and not served by what has been freed. */
struct module_shell {
	struct mcp_call pub;       /* first: what the module has is a pointer to it */
	struct module_shell *next; /* by a lock of module_run.c, while nobody has it */
};

/* What a handler wants of its call. */
struct module_op {
	enum module_op_kind { MODULE_NOTIFY, MODULE_ASK, MODULE_KEEP } kind;
	const char *key, *method;
	json_object *params; /* taken by who serves it */
	bool is_served;
	int ret;
	struct err err;
};

/* How a handler reaches its call: it is in another thread (module_run.c), or in another process (module_apart.c). */
struct module_way {
	void (*serve)(struct module_run *run, struct module_op *op); /* waits until that is done */
	int (*wait)(struct module_run *run, int64_t timeout_ms);     /* as mcp_wait() */
	int (*cancel_fd)(struct module_run *run);                    /* as mcp_cancel_fd() */
};

/* One run of a handler. Two threads share it: the handler's own, and that of the call, which alone may touch the call.
 * What the handler wants of the call it hands over as an op and waits. */
struct module_run {
	struct module_shell *shell; /* owned; lent to the module */
	const struct module_offer *offer;
	struct module *module; /* counted */
	char *name;            /* owned; the shell's */
	uint64_t ends_at_ms;
	const struct module_way *way;
	struct module_thread *thread; /* borrowed: the handler's */

	/* The handler's thread alone, until it is done. */
	struct buf info;                      /* JSON text of what the call is about */
	json_object *info_doc, *settings_doc; /* owned; NULL: not read yet */
	struct buf text;                      /* since the last piece; need not be UTF-8, jx_write() sees to that */
	struct buf base64;                    /* of the last piece */
	size_t room;                          /* bytes that may still be answered */
	struct module_answer answer;
	struct err why; /* of the last function that failed */
	int depth_max;

	struct err lacks; /* the call's thread alone: what the client can't be asked; ERR_NONE: nothing */

	atomic_bool is_cancelled;
	pthread_mutex_t mtx;
	pthread_cond_t changed;
	struct module_op *op; /* by mtx; NULL: nothing is wanted */
	bool is_polling;      /* by mtx: the call's thread is to be woken by the eventfd of the handler's */
	bool is_done;         /* by mtx: the handler has returned */
	bool is_abandoned;    /* by mtx: the call's thread has gone; the handler's frees the run */
	int cancel_fd;        /* by mtx; -1: nobody has asked for it */
};

extern const struct mcp_host module_host;

/* module.c: the module whose copy another process has opened for this one, as fd. Takes fd, path and settings; one user
 * has it then. */
struct module *module_open_copy(int fd, char *path, char *settings, struct err *err);

/* module_host.c, in the handler's thread: */
void module_let_in(struct module_run *run); /* whose functions this thread may call from now on; NULL: none */
int module_end_text(struct module_run *run, struct err *err); /* what it has added as text becomes a piece */

/* module_run.c: */
struct module_run *module_run_alloc(
    const struct module_offer *offer, struct slice name, const struct module_way *way, struct err *err);
/* With all that the handler may know of the call. */
struct module_run *module_run_new(
    struct call *call, const struct module_input *input, const struct module_way *way, struct err *err);
void module_run_free(struct module_run *run);
/* In the handler's thread, whose signals are other threads' business but for those of its own faults. */
void module_block_signals(sigset_t *before);
void module_run_handler(struct module_run *run);
/* In the call's thread. */
void module_run_serve(struct module_run *run, struct call *call, struct module_op *op);
int module_run_take_answer(struct module_run *run, struct call *call, struct module_answer *answer, struct err *err);

#endif
