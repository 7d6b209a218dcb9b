/* fcgi/rpc.h - what a parsed JSON value is as JSON-RPC 2.0 (differences.md DT-09), and JSON-RPC answers as text. */
#ifndef MCP_FCGI_RPC_H
#define MCP_FCGI_RPC_H

#include <json-c/json.h>

#include "common/buf.h"

#define RPC_ID_MAX 1024 /* bytes of an id's JSON text */

enum rpc_kind { RPC_REQUEST, RPC_NOTIFICATION, RPC_RESPONSE };

struct rpc {
	enum rpc_kind kind;
	json_object *message;    /* borrowed */
	struct slice method;     /* empty for a response; borrowed from the message, as the rest */
	json_object *params;     /* object or NULL */
	json_object *meta;       /* params._meta, an object, or NULL */
	char id[RPC_ID_MAX + 1]; /* JSON text of the id: "7" or "\"a\""; "" when there is none */
};

/* Classifies msg. ERR_INVALID, also then out->id is set when a valid id could be read. */
int rpc_read(json_object *msg, struct rpc *out, struct err *err);

/* JSON text of an id ("7", "\"a\"") into out; -1 with ERR_INVALID if it is not one, or ERR_NOMEM. */
int rpc_id_text(json_object *id, char out[RPC_ID_MAX + 1], struct err *err);

/* {"jsonrpc":"2.0","id":ID,"error":{...}}. id "" leaves the member out (J-13). The message is the table's text, and for
 * a peer's mistake what was wrong with it. data is JSON text or NULL. */
void rpc_put_error(struct buf *out, const char *id, const struct err *err, const char *data);
/* What a peer is told of err, in words. */
#define RPC_ERROR_TEXT_SIZE 320
void rpc_error_text(const struct err *err, char text[RPC_ERROR_TEXT_SIZE]);
/* The error alone: {"code":...,"message":...}, as above. */
void rpc_put_error_object(struct buf *out, const struct err *err, const char *data);
/* {"jsonrpc":"2.0","id":ID,"result":{   - the caller adds the members and "}}". */
void rpc_put_result_head(struct buf *out, const char *id);

#endif
