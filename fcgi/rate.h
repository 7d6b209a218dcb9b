/* fcgi/rate.h - how many requests somebody may make: buckets of tokens in a file that all workers of a host map.
 *
 * Each limit is so many requests a minute, with rate_burst of them at once. A bucket is one 64-bit number, the time at
 * which it will be full again (GCRA: "theoretical arrival time"), and is changed by compare and swap: no locks, no
 * system calls, exact however many processes take from it.
 *
 * The file, run_dir/rate.shm, has rate_buckets of them for each limit, and who has which is told by a keyed hash whose
 * key is in the file: nobody can choose to share another one's. Two that do share a bucket share its tokens, so a
 * collision makes a limit stricter, never weaker. Times are CLOCK_MONOTONIC, the same for all processes of a host; what
 * a file says from before a reboot is noticed, bucket by bucket. */
#ifndef MCP_FCGI_RATE_H
#define MCP_FCGI_RATE_H

#include "common/cfg.h"

enum rate_limit {
	RATE_PER_KEY,     /* requests of a principal */
	RATE_PER_ADDRESS, /* requests without a key, and those with a wrong one, of a client's address */
	RATE_COMPLETIONS, /* completion/complete, of either */
	RATE__COUNT
};

struct rate; /* opaque */

/* Maps the file, and makes it if it isn't there; one that is wrong or another user's is replaced, and that is logged.
 * *rate is NULL when no limit is set. To be called before the last fork: children share the mapping. */
int rate_open(struct rate **rate, const struct cfg *cfg, struct err *err);
void rate_close(struct rate **rate);

/* Takes a token of who's bucket at now_ms, of now_ms(). 0: there was one, or nothing limits it (rate may be NULL).
 * Otherwise none was taken, and one will be there in so many seconds. */
unsigned rate_take(struct rate *rate, enum rate_limit limit, struct slice who, uint64_t now_ms);
/* What rate_take() would say; takes nothing. */
unsigned rate_look(struct rate *rate, enum rate_limit limit, struct slice who, uint64_t now_ms);

/* SipHash-2-4 (Aumasson and Bernstein, 2012), which is fast for short texts. */
uint64_t rate_hash(const unsigned char key[16], struct slice text);

#endif
