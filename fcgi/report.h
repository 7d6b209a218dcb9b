/* fcgi/report.h - progress of a call that others report: those to whom a tool hands its work (a queue, cron, PHP-FPM).
 *
 * The process that works on a call listens for them, at a socket of the call's own in run_dir/calls, from report_open()
 * to the call's end, and whenever the call waits in call_poll() it takes what came: as if the tool had said it.
 * mcp-runner sends it there for scripts (runner/reporter.h). So neither the broker nor a call of which nobody reports
 * has anything to do with it, tasks are no special case, and a call that has ended has no socket.
 *
 * Others know a call by its handle, MCP_CALL in a program's environment: the name of the socket, which every user of
 * the host can see (/proc/net/unix), and 132 random bits, which he can't. The wire, SOCK_SEQPACKET:
 *
 *   report = secret params    one message; params is the JSON of notifications/progress without progressToken
 *   answer = fate             one byte; none, when the call ends meanwhile, or the secret is another one's */
#ifndef MCP_FCGI_REPORT_H
#define MCP_FCGI_REPORT_H

#include "fcgi/call.h"

#define REPORT_DIR        "calls"
#define REPORT_NAME_LEN   12
#define REPORT_SECRET_LEN 22
#define REPORT_HANDLE_LEN (REPORT_NAME_LEN + REPORT_SECRET_LEN) /* of [A-Za-z0-9_-]; the first is REPORT_FIRST */
#define REPORT_FIRST      'c'                                   /* a word that begins with '-' would be an option */
#define REPORT_NOBODY     "none" /* the handle of a call whose client did not ask for progress */
#define REPORT_MAX_BYTES  65536  /* of params, as of a line on descriptor 3 */

/* What becomes of a report, as answered. */
enum report_fate {
	REPORT_SENT = 's',
	REPORT_UNASKED = 'u',  /* the client asked for no progress */
	REPORT_NOT_MORE = 'n', /* progress has to grow */
	REPORT_UNHEARD = 'j',  /* the answer is one JSON object: there is no stream for it */
	REPORT_FAILED = 'f',   /* nothing is wrong with it: again in a moment */
	REPORT_REFUSED = 'r',  /* no params of notifications/progress */
};

struct report; /* opaque: of one call */

/* Others may report on call from now on; *handle is for them, and valid until call_release(). NULL: nobody can, there
 * is no publish_socket and no publish_listen. What goes wrong with the socket is logged; a report is then answered as
 * for a call that has ended. -1: ERR_NOMEM. */
int report_open(struct call *call, const char **handle, struct err *err);

/* For call.c: what to poll for reading, and what to do then, or at any time. */
int report_fd(const struct report *r);
void report_take(struct call *call);
void report_free(struct report **rp);

#endif
