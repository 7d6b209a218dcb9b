/* fcgi/supervisor.c: what --socket takes, and what it says of what it doesn't take */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fcgi/supervisor.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static void refused(const char *address, const char *says)
{
	struct err err = {0};

	if (supervisor_listen(address, &err) != -1)
		fail_msg("%s: taken", address);
	if (!strstr(err.msg, says))
		fail_msg("%s: %s", address, err.msg);
}

static void test_listen(void **state)
{
	char dir[] = "/tmp/mcp-test-supervisor.XXXXXX", path[64], nowhere[64], says[96];
	struct stat st;
	struct err err = {0};
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/worker.sock", dir);
	fd = supervisor_listen(path, &err);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	refused(path, "another worker is listening there");
	close(fd);
	fd = supervisor_listen(path, &err); /* left behind by one that was killed */
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	snprintf(nowhere, sizeof(nowhere), "%s/no/worker.sock", dir);
	snprintf(says, sizeof(says), "there is no directory %s/no; make it, for this user to write", dir);
	refused(nowhere, says);
	assert_int_equal(rmdir(dir), 0);
}

static void test_addresses(void **state)
{
	char path[200] = "/";

	(void)state;
	memset(path + 1, 'x', sizeof(path) - 2);
	refused(path, "a path has at most");
	refused(":9000", "HOST:PORT needs a host");
	refused("127.0.0.1:none", "--socket 127.0.0.1:none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_listen),
	    cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
