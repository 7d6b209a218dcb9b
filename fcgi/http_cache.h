/* fcgi/http_cache.h - answers of HTTP APIs, kept for all processes of a host: files below run_dir/cache.
 *
 * A file's name is the SHA-256 of the complete request: method, URL, headers with their secrets, body. So an answer is
 * only ever given to who asked the very same, and a request that names its client in a header is kept for that client.
 * A file is written beside its place and renamed: whoever reads sees all of one answer. Nothing is synced: what a crash
 * of the machine tears is seen by its length, and is no loss.
 * http_cache_max_bytes bounds them all. Each process adds up what it writes, and after a sixteenth of the bound looks
 * at all files, and removes the oldest until three quarters are left.
 *
 * Who wants to ask for something that others may be asking for takes its lock: a byte of the file "lock", so that
 * nothing is left behind. It belongs to a descriptor: it binds threads as well as processes, and ends with them. */
#ifndef MCP_FCGI_HTTP_CACHE_H
#define MCP_FCGI_HTTP_CACHE_H

#include "fcgi/http_client.h"

struct http_cache_key {
	unsigned char bytes[32];
};

bool http_cache_make_key(struct http_cache_key *key, const struct http_request *request); /* false: no memory */

/* Fills content_type and body of response, which is empty and has its ceiling, and says how old they are. False: there
 * is no such answer, or it can't be read. */
bool http_cache_read(
    const struct cfg *cfg, const struct http_cache_key *key, struct http_response *response, int64_t *age_ms);
/* One at a time in each process. Failures are logged: then it is not kept. */
void http_cache_write(
    const char *dir, int64_t max_bytes, const struct http_cache_key *key, const struct http_response *response);

/* A descriptor that has the lock until it is closed; -1: somebody else has it, or *err is set (else ERR_NONE). */
int http_cache_lock(const struct cfg *cfg, const struct http_cache_key *key, struct err *err);

/* run_dir/cache, owned by the caller. NULL: no memory. */
char *http_cache_dir(const struct cfg *cfg);

#endif
