/* fcgi/library.c: what is there, what is not, and what lacks a function */
#include "config.h"

#include <string.h>

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

#include "fcgi/library.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define FUNCTIONS(FUNCTION) FUNCTION(curl_slist_append) FUNCTION(curl_slist_free_all)

static struct {
	FUNCTIONS(LIBRARY_MEMBER)
} curl;

static void test_open(void **state)
{
	struct library libcurl = {LIBCURL, (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &curl, false};
	struct curl_slist *list;
	struct err err = {0};

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(library_open(&libcurl, &err), 0);
	list = curl.curl_slist_append(NULL, "one");
	assert_non_null(list);
	assert_string_equal(list->data, "one");
	curl.curl_slist_free_all(list);
}

static void test_missing(void **state)
{
	struct library nowhere = {"libnowhere.so.0", (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &curl, false};
	struct library older = {
	    LIBCURL, (const char *const[]){"curl_slist_append", "curl_of_2099", NULL}, &curl, false};
	struct err err = {0};

	(void)state;
	for (int i = 0; i < 2; i++) { /* what was missing once may have been installed */
		assert_int_equal(library_open(&nowhere, &err), -1);
		assert_int_equal(err.code, ERR_CONFIG);
		assert_non_null(strstr(err.msg, "libnowhere.so.0"));
		assert_int_equal(library_open(&older, &err), -1);
		assert_non_null(strstr(err.msg, "curl_of_2099"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_open),
	    cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
