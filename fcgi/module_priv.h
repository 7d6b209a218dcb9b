/* fcgi/module_priv.h - what fcgi/module*.c share. */
#ifndef MCP_FCGI_MODULE_PRIV_H
#define MCP_FCGI_MODULE_PRIV_H

#include <pthread.h>
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

/* One run of a handler. Two threads share it: the handler's own, and that of the call, which alone may touch the call.
 * What the handler wants of the call it hands over as an op and waits. */
struct module_run {
	struct mcp_call pub; /* first: what the module has is a pointer to it */
	const struct module_offer *offer;
	struct module *module; /* counted */
	char *name;            /* owned; pub.name */
	uint64_t ends_at_ms;
	struct module_thread *thread; /* borrowed: the handler's */
	int ready_fd;                 /* borrowed: the thread's eventfd, by which the call's thread is told to look */

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
	bool is_done;         /* by mtx: the handler has returned */
	bool is_abandoned;    /* by mtx: the call's thread has gone; the handler's frees the run */
	int cancel_fd;        /* by mtx; -1: nobody has asked for it */
};

struct module_op {
	enum { MODULE_NOTIFY, MODULE_ASK, MODULE_KEEP } kind;
	const char *key, *method;
	json_object *params; /* taken by who serves it */
	bool is_served;
	int ret;
	struct err err;
};

extern const struct mcp_host module_host;

/* The handler's thread: what it has added as text becomes a piece. */
int module_end_text(struct module_run *run, struct err *err);

#endif
