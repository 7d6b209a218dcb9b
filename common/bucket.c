#include "config.h"

#include "common/bucket.h"
#include "common/banned.h"

bool bucket_take(struct bucket *b, uint64_t now_us, uint64_t per_s, uint64_t burst)
{
	uint64_t each_us = per_s > 0 ? 1000000 / per_s : 0;

	if (b->due_us < now_us)
		b->due_us = now_us;
	if (each_us > 0 && b->due_us - now_us > (burst - 1) * each_us)
		return false;
	b->due_us += each_us;
	return true;
}
