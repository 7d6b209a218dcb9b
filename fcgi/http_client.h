/* fcgi/http_client.h - requests to other servers, over connections that all threads of a process share.
 *
 * They are libcurl's, of one multi handle per process, so that they are kept, reused and (HTTP/2) shared. Whoever wants
 * something begins a transfer, waits for its end, and reads the response. Nobody ever waits inside of libcurl: a call
 * that is cancelled meanwhile goes at once.
 *
 * Only http and https; no proxies, no cookies, no .netrc, nothing from the environment. Each address is checked
 * (fcgi/http_address.h). Redirects of GET and HEAD are followed, http_redirects_max of them, never from https to http,
 * and to another origin without the headers of the request: they may hold secrets. */
#ifndef MCP_FCGI_HTTP_CLIENT_H
#define MCP_FCGI_HTTP_CLIENT_H

#include "common/cfg.h"
#include "fcgi/address.h"
#include "fcgi/call.h"

#define HTTP_URL_MAX          8192
#define HTTP_HEADERS_MAX      65536 /* bytes of a request's headers, and of a response's */
#define HTTP_CONTENT_TYPE_MAX 128

struct http_request {
	const char *method; /* borrowed for ever: of a table */
	struct buf url;
	struct buf headers; /* "Name: value" and a NUL, each */
	struct buf body;
	bool has_body;
	struct address_nets allowed; /* beside those of the configuration, but not after a redirect to elsewhere */
};

enum http_failure {
	HTTP_DONE,    /* there is a response, of any status */
	HTTP_REFUSED, /* its address, or a redirect, is not allowed */
	HTTP_TIMEOUT,
	HTTP_UNREACHABLE, /* no name, no connection: nothing was sent */
	HTTP_UNTRUSTED,   /* its certificate */
	HTTP_BROKEN,      /* it broke off, or is no HTTP */
	HTTP_TOO_BIG,
	HTTP_NO_MEMORY,
};

struct http_response {
	enum http_failure failure;
	char why[200]; /* of a failure, in words for the log and the client: hosts and addresses, no URL, no secret */
	int status;
	char content_type[HTTP_CONTENT_TYPE_MAX]; /* "" without */
	struct buf body;                          /* decoded; of a response that is complete */
	int64_t retry_after_s;                    /* 0: it did not say */
};

struct http_transfer;
struct http_cache_key; /* fcgi/http_cache.h */

/* Whether what stands at pointer can be asked for: complains about settings of http that are wrong, or that there is no
 * libcurl, which is opened here; or *err is ERR_NOMEM. */
int http_client_check(struct cfg *cfg, const char *pointer, struct err *err);

void http_request_init(struct http_request *request);
void http_request_release(struct http_request *request);

/* Takes request, also when it fails. The transfer ends at deadline_ms (now_ms()) at the latest. NULL: *err. */
struct http_transfer *http_client_begin(
    const struct cfg *cfg, struct http_request *request, uint64_t deadline_ms, size_t body_max_bytes, struct err *err);
/* The same for an answer that is kept under key: if it is good, it is written into the cache. lock_fd, from
 * http_cache_lock(), is taken too, and closed at the end. */
struct http_transfer *http_client_begin_shared(const struct cfg *cfg, struct http_request *request,
    uint64_t deadline_ms, size_t body_max_bytes, const struct http_cache_key *key, int lock_fd, struct err *err);
/* A share in the transfer that this process has under way for key; NULL: there is none. */
struct http_transfer *http_client_join(const struct http_cache_key *key);
/* Until it is over; -1: as call_poll(). A transfer that isn't shared goes on only while somebody waits here. */
int http_transfer_wait(struct http_transfer *t, struct call *call, struct err *err);
/* Borrowed from t. To be asked only then. */
const struct http_response *http_transfer_response(const struct http_transfer *t);
/* Gives back a share: if nobody has one and it is not over, it is broken off at once. NULLs *tp; NULL is harmless. */
void http_transfer_release(struct http_transfer **tp);
/* The same of one that is shared, but it goes on to its end, for the cache. */
void http_transfer_detach(struct http_transfer **tp);

#endif
