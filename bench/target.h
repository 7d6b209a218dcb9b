/* bench/target.h - the server under load: where it is, and what each connection says to it. */
#ifndef MCP_BENCH_TARGET_H
#define MCP_BENCH_TARGET_H

#include <inttypes.h>
#include <netinet/in.h>

#include "common/buf.h"

/* An event that says when it was sent (now_us()): what bench/streams looks for. For printf, with a uint64_t. */
#define BENCH_EVENT                                                                                                    \
	"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"at_us\":%" PRIu64  \
	",\"data\":\"a text of a usual length\"}}"

struct target {
	struct sockaddr_in addr;
	char host[64]; /* as it goes into the Host header */
	char path[256];
	struct buf headers; /* of all connections, each line with its CRLF */
	struct buf file;    /* per connection: one line of headers each, between them LF */
};

void target_init(struct target *t);
void target_release(struct target *t);
int target_set_url(
    struct target *t, const char *url, struct err *err); /* http://127.0.0.1:8080/mcp; no names but localhost */
int target_load_file(struct target *t, const char *path, struct err *err);
/* The headers that connection number n sends: the common ones and line n of the file, which starts over at its end. */
void target_add_headers(const struct target *t, size_t n, struct buf *out);
int target_connect(
    const struct target *t, struct err *err); /* a non-blocking descriptor, perhaps still connecting; -1 */

/* Reads all of a file. out has the ceiling. */
int file_read(const char *path, struct buf *out, struct err *err);
/* A whole number of an option; ends the program with a message when it is none or not in min .. max. */
long option_number(const char *text, const char *what, long min, long max);
uint64_t option_seconds_us(const char *text, const char *what); /* seconds, which may have a fraction; as above */

#endif
