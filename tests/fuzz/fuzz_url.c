/* server_public_url and cors_origins: an origin that was made of a URL is its own origin, and has the same host. */
#include "config.h"

#include <stdlib.h>

#include "common/mem.h"
#include "fcgi/guard.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *url = mem_dup((const char *)data, size), *host, *origin, *host_again, *origin_again;
	struct err err = {0};

	if (!url)
		return 0;
	if (guard_split_url(url, &host, &origin, &err) == 0) {
		if (guard_split_url(origin, &host_again, &origin_again, &err) || strcmp(host, host_again) != 0 ||
		    strcmp(origin, origin_again) != 0)
			abort();
		mem_free(host_again);
		mem_free(origin_again);
	} else if (err.code == ERR_NONE || host || origin) {
		abort();
	}
	mem_free(host);
	mem_free(origin);
	mem_free(url);
	return 0;
}
