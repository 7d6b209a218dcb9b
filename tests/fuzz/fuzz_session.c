/* What the broker keeps of a session: refused with an error, or the session that was read is written as a text that is
 * read as the same. */
#include "config.h"

#include <stdlib.h>

#include "fcgi/session.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session first, second;
	struct buf text, again;
	struct err err = {0};
	int ret = session_read((struct slice){(const char *)data, size}, &first, &err);

	if ((ret != 0) != (err.code != ERR_NONE))
		abort();
	if (ret == 0) {
		buf_init(&text, 8 * size + 256);
		buf_init(&again, 8 * size + 256);
		session_put(&first, &text);
		if (session_read(buf_slice(&text), &second, &err))
			abort();
		session_put(&second, &again);
		if (!slice_eq(buf_slice(&text), buf_slice(&again)) || first.initialized != second.initialized ||
		    first.revision != second.revision || first.log_level != second.log_level)
			abort();
		session_release(&second);
		buf_release(&text);
		buf_release(&again);
	}
	session_release(&first);
	return 0;
}
