/* fcgi/library.h - libraries of others that are opened only when the configuration asks for what they do.
 *
 * libcurl, libpq and libmariadb bring two dozen more, and to bind all these is a third of a worker's start, which as
 * plain CGI every request has. So no program of ours is linked with them: who uses one lists the functions, which get
 * their types from its header, and calls them as members.
 *
 *	#define FUNCTIONS(FUNCTION) FUNCTION(PQclear) FUNCTION(PQfinish)
 *	static struct { FUNCTIONS(LIBRARY_MEMBER) } pq;
 *	static struct library libpq = {LIBPQ, (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &pq, false}; */
#ifndef MCP_FCGI_LIBRARY_H
#define MCP_FCGI_LIBRARY_H

#include <stdbool.h>

#include "common/err.h"

#define LIBRARY_MEMBER(function) __typeof__(&function) function;
#define LIBRARY_NAME(function)   #function,

struct library {
	const char *name;         /* as the dynamic linker knows it; configure finds it out */
	const char *const *names; /* of functions; NULL ends them */
	void *functions;          /* a pointer for each of them */
	bool is_open;
};

/* Fills l's functions, once per process; from any thread. It stays open. ERR_CONFIG: what is missing. */
int library_open(struct library *l, struct err *err);

#endif
