/* common/bucket.h - a token bucket: so many a second, and burst at once after a pause. Zeroed is full. */
#ifndef MCP_COMMON_BUCKET_H
#define MCP_COMMON_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t due_us; /* when all that was taken is due; the past is as good as now */
};

/* per_s 0: there is no limit. */
bool bucket_take(struct bucket *b, uint64_t now_us, uint64_t per_s, uint64_t burst);

#endif
