/* A frame of the link: a header that is taken is written again as it was, and reading fields never goes past the end. */
#include "config.h"

#include <stdlib.h>

#include "common/link.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = {(const char *)data, size};
	struct link_header h;
	struct err err = {0};
	struct buf out;
	bool bad = false;

	buf_init(&out, LINK_HEADER_LEN);
	if (link_get_header(in, &h, &err) == 0) {
		link_put_header(&out, &h);
		if (out.len != LINK_HEADER_LEN || memcmp(out.data, data, LINK_HEADER_LEN) != 0)
			abort();
		if (link_type_name(h.type)[0] == '?')
			abort();
		in.p += LINK_HEADER_LEN;
		in.len -= LINK_HEADER_LEN;
	} else if (err.code != ERR_LINK) {
		abort();
	}
	while (in.len > 0 && !bad) { /* fields in an order that the bytes choose */
		struct slice bytes;

		switch (link_get_u8(&in, &bad) % 4) {
		case 0:
			link_get_u16(&in, &bad);
			break;
		case 1:
			link_get_u32(&in, &bad);
			break;
		case 2:
			link_get_u64(&in, &bad);
			break;
		default:
			bytes = link_get_bytes(&in, &bad);
			if (bytes.len > 0 && ((const uint8_t *)bytes.p < data || (const uint8_t *)bytes.p + bytes.len > data + size))
				abort();
		}
	}
	buf_release(&out);
	return 0;
}
