/* common/opts.h - the command line that all our programs share: --conf, --set, --help, --version, and a program's own. */
#ifndef MCP_COMMON_OPTS_H
#define MCP_COMMON_OPTS_H

#include "common/util.h"

/* An option of one program. The table ends with a NULL name. */
struct opts_row {
	const char *name;    /* "socket": --socket VALUE or --socket=VALUE */
	const char *value;   /* what --help calls its value; NULL: a switch */
	const char *help;
	const char **target; /* gets the value, or "" for a switch; borrowed from argv */
};

struct opts {
	const char *conf;  /* --conf FILE; NULL: not given */
	const char **sets; /* each --set NAME=VALUE, borrowed from argv; the array is owned */
	size_t sets_count;
	char **rest; /* arguments that are no options, wherever they stood; borrowed */
	int rest_count;
	int status; /* what to exit with when opts_parse() returned -1 */
};

/* -1: the program is to exit with opts->status: --help or --version was answered (0), or the line was wrong and stderr says how (2).
 * rest_names is how --help names further arguments ("COMMAND [FILE]"), NULL: there may be none. Settings are listed by --help too. */
int opts_parse(struct opts *opts, int argc, char **argv, const char *program, const char *purpose, const struct opts_row *rows,
    const char *rest_names);
void opts_release(struct opts *opts);

#endif
