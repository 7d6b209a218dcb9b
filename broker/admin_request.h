/* broker/admin_request.h - what somebody asks of the admin socket: the head of an HTTP/1 request, read strictly. */
#ifndef MCP_BROKER_ADMIN_REQUEST_H
#define MCP_BROKER_ADMIN_REQUEST_H

#include "common/util.h"

#define ADMIN_HEAD_MAX   4096
#define ADMIN_PREFIX_MIN 4 /* of a session's id, for who wants to end it */

enum admin_page { ADMIN_METRICS, ADMIN_STATUS, ADMIN_SESSIONS, ADMIN_STREAMS, ADMIN_KILL, ADMIN_RESTART };

struct admin_request {
	enum admin_page page;
	struct slice prefix; /* of ADMIN_KILL: how the session's id begins; lent out of the head */
};

/* 200: *r; 0: it is not complete yet; else the HTTP status of its refusal. Never 0 from ADMIN_HEAD_MAX bytes on. */
int admin_request_read(struct slice in, struct admin_request *r);

#endif
