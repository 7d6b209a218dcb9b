/* common/err.h - one type for every failure.
 *
 * A function that can fail returns 0 or -1 (or an object or NULL), takes a struct err * last, and fills it when it
 * fails. The low layer says what happened (err_set, err_sys), its caller adds what it was doing (err_wrap), whoever
 * handles it logs it, once. A peer is told err_text() of the code, never msg, unless the code's module says so. */
#ifndef MCP_COMMON_ERR_H
#define MCP_COMMON_ERR_H

#include "common/util.h"

enum err_code {
#define ERR(name, http, rpc, text) ERR_##name,
#include "common/err_tbl.h"
#undef ERR
	ERR__COUNT
};

struct err {
	enum err_code code;
	int sys; /* errno, when a system call was to blame; else 0 */
	char msg[256];
};

/* Each returns -1, so that "return err_set(...)" reads well. err may be NULL: then nothing is kept. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int err_sys(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);  /* ERR_SYS, errno and its text appended */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3); /* puts "fmt: " before msg */

int err_http(enum err_code code);	 /* HTTP status of the table */
int err_rpc(enum err_code code);	 /* JSON-RPC code */
const char *err_text(enum err_code code); /* what the peer is told */
const char *err_name(enum err_code code); /* "PARSE", for logs */
enum err_code err_find(const char *name); /* of that name; ERR_INTERNAL: there is none */

#endif
