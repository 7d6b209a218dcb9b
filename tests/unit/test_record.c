#include "config.h"

#include <stdlib.h>

#include "broker/record.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void stdout_records_carry_the_content(void **state)
{
	static const size_t lens[] = {0, 1, 7, 8, 9, 65527, 65528, 65529, 200000};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lens); i++) {
		char *content = malloc(lens[i] + 1);
		struct buf out;
		size_t seen = 0, at = 0;

		assert_non_null(content);
		for (size_t k = 0; k < lens[i]; k++)
			content[k] = (char)(k * 7);
		buf_init(&out, 1 << 20);
		record_put_stdout(&out, LINK_KIND_FCGI, 0x1234, (struct slice){content, lens[i]});
		while (at < out.len) {
			const unsigned char *r = (const unsigned char *)out.data + at;
			size_t len = (size_t)r[4] << 8 | r[5];

			assert_int_equal(r[0], 1);
			assert_int_equal(r[1], 6);
			assert_int_equal(r[2] << 8 | r[3], 0x1234);
			assert_true(len > 0); /* an empty one would end the answer */
			assert_int_equal((len + r[6]) % 8, 0);
			assert_true(len <= lens[i] - seen);
			assert_memory_equal(r + 8, content + seen, len);
			seen += len;
			at += 8 + len + r[6];
		}
		assert_int_equal(at, out.len);
		assert_int_equal(seen, lens[i]);
		assert_in_range(out.len - record_stdout_len(LINK_KIND_FCGI, lens[i]), 0, 7); /* the padding */
		buf_release(&out);
		free(content);
	}
}

static void the_end_is_two_records(void **state)
{
	static const unsigned char want[] = {1, 6, 0, 5, 0, 0, 0, 0, 1, 3, 0, 5, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	struct buf out;

	(void)state;
	buf_init(&out, 100);
	record_put_end(&out, LINK_KIND_FCGI, 5);
	assert_int_equal(out.len, sizeof(want));
	assert_memory_equal(out.data, want, sizeof(want));
	buf_release(&out);
}

static void plain_cgi_is_raw(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 100);
	record_put_stdout(&out, LINK_KIND_PIPE, 1, SLICE("abc"));
	record_put_stdout(&out, LINK_KIND_CGI_SOCKET, 1, SLICE("def"));
	record_put_end(&out, LINK_KIND_PIPE, 1);
	record_put_end(&out, LINK_KIND_CGI_SOCKET, 1);
	assert_string_equal(out.data, "abcdef");
	assert_int_equal(record_stdout_len(LINK_KIND_PIPE, 3), 3);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stdout_records_carry_the_content),
	    cmocka_unit_test(the_end_is_two_records),
	    cmocka_unit_test(plain_cgi_is_raw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
