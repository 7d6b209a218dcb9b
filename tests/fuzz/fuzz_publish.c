/* Requests at the publishing socket: what is taken is taken because of a whole head and nothing else, in whatever
 * pieces it came, and what follows the head doesn't matter. */
#include "config.h"

#include <stdlib.h>

#include "runner/publish_request.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct publish_request r, early;
	int status = publish_request_read((struct slice){p, size}, &r);
	size_t end = status == 200 ? r.head_len : size;

	if (status == 0 && size >= PUBLISH_HEAD_MAX)
		abort();
	if (status == 200) {
		if (r.head_len > size || r.head_len > PUBLISH_HEAD_MAX || r.head_len < 4 ||
		    memcmp(p + r.head_len - 4, "\r\n\r\n", 4) != 0 || memchr(p, '\0', r.head_len))
			abort();
		if (r.key.len && (r.key.p < p || r.key.p + r.key.len > p + r.head_len))
			abort();
	}
	for (size_t len = 0; len < end && (status == 0 || status == 200); len++) {
		if (publish_request_read((struct slice){p, len}, &early) != 0)
			abort(); /* what becomes a whole head was never refused, nor taken, before */
	}
	return 0;
}
