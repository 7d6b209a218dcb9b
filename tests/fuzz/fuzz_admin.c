/* Requests of the admin socket: what is taken is taken because of a whole head and nothing else, in whatever pieces it
 * came, and says no more than one of the pages. */
#include "config.h"

#include <stdlib.h>

#include "broker/admin_request.h"
#include "common/link.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = {(const char *)data, size};
	struct admin_request r, early;
	int status;

	if (size > ADMIN_HEAD_MAX)
		return 0;
	status = admin_request_read(in, &r);
	if (status == 0 && size == ADMIN_HEAD_MAX)
		abort();
	if (status == 200) {
		if (size < 4 || memcmp(data + size - 4, "\r\n\r\n", 4) != 0 || memchr(data, '\0', size))
			abort();
		if ((r.page == ADMIN_KILL) != (r.prefix.len >= ADMIN_PREFIX_MIN) || r.prefix.len > LINK_KEY_MAX)
			abort();
	}
	for (size_t len = 0; len < size && (status == 0 || status == 200); len++) {
		if (admin_request_read((struct slice){in.p, len}, &early) != 0)
			abort(); /* what becomes a whole request was never refused, nor taken, before */
	}
	return 0;
}
