/* What scripts say at the publishing socket: heads of requests, and bodies. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/mem.h"
#include "runner/publication.h"
#include "runner/publish_request.h"
#include "runner/publisher.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/site.h"
#include "common/banned.h"

#define POST   "POST /publish HTTP/1.1\r\n"
#define LENGTH "Content-Length: 7\r\n"

static const struct {
	const char *name;
	struct slice text;
	int status;
	size_t body_len;
	const char *key;
	bool wants_continue;
} heads[] = {
    {"the least", TEXT(POST LENGTH "\r\n"), 200, 7, "", false},
    {"HTTP/1.0, and a body", TEXT("POST /publish HTTP/1.0\r\ncontent-length:  7 \r\n\r\n{\"a\":1}\0\1"), 200, 7, "",
	false},
    {"a bearer", TEXT(POST LENGTH "Authorization: bearer k1\r\n\r\n"), 200, 7, "k1", false},
    {"a key", TEXT(POST LENGTH "X-API-KEY: k2\r\n\r\n"), 200, 7, "k2", false},
    {"the same key twice", TEXT(POST LENGTH "X-API-Key: k\r\nAuthorization: Bearer k\r\n\r\n"), 200, 7, "k", false},
    {"another scheme", TEXT(POST LENGTH "Authorization: Basic eDp5\r\n\r\n"), 200, 7, "", false},
    {"expects", TEXT(POST LENGTH "Expect: 100-Continue\r\n\r\n"), 200, 7, "", true},
    {"the same length twice", TEXT(POST LENGTH LENGTH "\r\n"), 200, 7, "", false},
    {"nothing yet", TEXT(""), 0, 0, "", false},
    {"a part", TEXT(POST LENGTH), 0, 0, "", false},
    {"a part of the end", TEXT(POST LENGTH "\r"), 0, 0, "", false},
    {"another path", TEXT("POST /publish/ HTTP/1.1\r\n" LENGTH "\r\n"), 404, 0, "", false},
    {"another method", TEXT("GET /publish HTTP/1.1\r\n\r\n"), 405, 0, "", false},
    {"another version", TEXT("POST /publish HTTP/2.0\r\n\r\n"), 505, 0, "", false},
    {"no HTTP", TEXT("{\"lists\":[\"tools\"]}\r\n\r\n"), 400, 0, "", false},
    {"no version", TEXT("POST /publish\r\n\r\n"), 400, 0, "", false},
    {"LF alone", TEXT("POST /publish HTTP/1.1\n" LENGTH "\r\n"), 400, 0, "", false},
    {"a NUL", TEXT(POST "Content-Length: 7\0\r\n\r\n"), 400, 0, "", false},
    {"no length", TEXT(POST "\r\n"), 411, 0, "", false},
    {"chunked", TEXT(POST "Transfer-Encoding: chunked\r\n\r\n"), 411, 0, "", false},
    {"chunked, with a length", TEXT(POST LENGTH "Transfer-Encoding: chunked\r\n\r\n"), 411, 0, "", false},
    {"two lengths", TEXT(POST LENGTH "Content-Length: 8\r\n\r\n"), 400, 0, "", false},
    {"a negative length", TEXT(POST "Content-Length: -1\r\n\r\n"), 400, 0, "", false},
    {"an empty length", TEXT(POST "Content-Length: \r\n\r\n"), 400, 0, "", false},
    {"a length that 32 bits don't hold", TEXT(POST "Content-Length: 4294967303\r\n\r\n"), 413, 0, "", false},
    {"an endless length", TEXT(POST "Content-Length: 99999999999999999999\r\n\r\n"), 413, 0, "", false},
    {"two keys", TEXT(POST LENGTH "X-API-Key: k\r\nAuthorization: Bearer l\r\n\r\n"), 400, 0, "", false},
    {"a field without a name", TEXT(POST ": x\r\n\r\n"), 400, 0, "", false},
    {"a folded field", TEXT(POST "X: y\r\n z\r\n\r\n"), 400, 0, "", false},
};

static void heads_are_read_strictly(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		struct publish_request r;
		int status = publish_request_read(heads[i].text, &r);

		if (status != heads[i].status)
			fail_msg("%s: %d, not %d", heads[i].name, status, heads[i].status);
		if (status != 200)
			continue;
		if (r.body_len != heads[i].body_len || !slice_is(r.key, heads[i].key) ||
		    r.wants_continue != heads[i].wants_continue ||
		    memcmp(heads[i].text.p + r.head_len - 4, "\r\n\r\n", 4) != 0)
			fail_msg("%s: read wrongly", heads[i].name);
	}
}

static void a_head_has_an_end(void **state)
{
	struct publish_request r;
	struct buf text;

	(void)state;
	buf_init(&text, 2 * PUBLISH_HEAD_MAX);
	buf_adds(&text, POST "X: ");
	while (text.len < PUBLISH_HEAD_MAX - 1)
		buf_adds(&text, "x");
	assert_int_equal(publish_request_read(buf_slice(&text), &r), 0);
	buf_adds(&text, "x");
	assert_int_equal(publish_request_read(buf_slice(&text), &r), 431);
	buf_release(&text);
}

#define RESOURCES "{\"shop://pears\":{\"text\":\"x\"},\"shop://{fruit}/count\":{\"text\":\"{fruit}\"}}"

static const struct {
	const char *text;
	enum err_code code;
	const char *says; /* part of the error */
} bodies[] = {
    {"{\"resource\":\"shop://pears\"}", ERR_NONE, ""},
    {"{\"resource\":\"shop://plums/count\"}", ERR_NONE, ""},
    {"{\"lists\":[\"tools\",\"resources\",\"tools\"]}", ERR_NONE, ""},
    {"{\"log\":{\"level\":\"info\",\"data\":null}}", ERR_NONE, ""},
    {"{\"log\":{\"level\":\"emergency\",\"logger\":\"x\",\"data\":{\"a\":[1]}},\"session\":\"abcd\"}", ERR_NONE, ""},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1}}", ERR_NONE, ""},
    {"{\"progress\":{\"call\":\"none\",\"progress\":-0.5,\"total\":1e3,\"message\":\"\"}}", ERR_NONE, ""},
    {"", ERR_PARSE, ""},
    {"{\"lists\":[\"tools\"]", ERR_PARSE, ""},
    {"{\"lists\":[\"tools\"]}{}", ERR_PARSE, ""},
    {"{'lists':[\"tools\"]}", ERR_PARSE, ""},
    {"{\"resource\":\"\xff\"}", ERR_PARSE, ""},
    {"{\"lists\":[\"tools\"],\"lists\":[]}", ERR_INVALID, "twice"},
    {"[]", ERR_PARAMS, "body must be a JSON object"},
    {"{}", ERR_PARAMS, "nothing to publish"},
    {"{\"list\":[\"tools\"]}", ERR_PARAMS, "body: no such member \"list\"; did you mean \"lists\"?"},
    {"{\"lists\":[\"tools\"],\"sesion\":\"abcd\"}", ERR_PARAMS, "did you mean \"session\"?"},
    {"{\"lists\":[\"tools\"],\"resource\":\"shop://pears\"}", ERR_PARAMS, "resource and lists in one body"},
    {"{\"resource\":7}", ERR_PARAMS, "resource must be the URI"},
    {"{\"resource\":\"\"}", ERR_PARAMS, "resource must be the URI"},
    {"{\"resource\":\"shop://pear\"}", ERR_PARAMS,
	"no such resource of this site \"shop://pear\"; did you mean \"shop://pears\"?"},
    {"{\"resource\":\"shop://pears\\u0000/count\"}", ERR_PARAMS, "no such resource"},
    {"{\"lists\":\"tools\"}", ERR_PARAMS, "lists must be an array"},
    {"{\"lists\":[]}", ERR_PARAMS, "lists must be an array"},
    {"{\"lists\":[\"tools\",7]}", ERR_PARAMS, "lists[1] must be a string"},
    {"{\"lists\":[\"tools\",\"tool\"]}", ERR_PARAMS, "lists[1]: no such list \"tool\"; did you mean \"tools\"?"},
    {"{\"lists\":[\"prompts\"]}", ERR_PARAMS, "lists[0]: this site has no prompts"},
    {"{\"log\":\"x\"}", ERR_PARAMS, "log must be an object"},
    {"{\"log\":{\"level\":\"warn\",\"data\":1}}", ERR_PARAMS, "log.level must be debug, info"},
    {"{\"log\":{\"data\":1}}", ERR_PARAMS, "log.level must be debug, info"},
    {"{\"log\":{\"level\":\"info\"}}", ERR_PARAMS, "log.data is missing"},
    {"{\"log\":{\"level\":\"info\",\"data\":1,\"logger\":2}}", ERR_PARAMS, "log.logger must be a string"},
    {"{\"log\":{\"level\":\"info\",\"message\":1}}", ERR_PARAMS, "log: no such member \"message\""},
    {"{\"progress\":3}", ERR_PARAMS, "progress must be an object"},
    {"{\"progress\":{}}", ERR_PARAMS, "progress.call is missing"},
    {"{\"progress\":{\"call\":7,\"progress\":1}}", ERR_PARAMS, "progress.call is missing"},
    {"{\"progress\":{\"call\":\"none\"}}", ERR_PARAMS, "progress.progress must be a number"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":null}}", ERR_PARAMS, "progress.progress must be a number"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":\"1\"}}", ERR_PARAMS, "progress.progress must be a number"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":NaN}}", ERR_PARSE, ""},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1e999}}", ERR_PARSE, ""},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1,\"total\":null}}", ERR_PARAMS, "progress.total must be a number"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1,\"total\":\"2\"}}", ERR_PARAMS,
	"progress.total must be a number"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1,\"message\":2}}", ERR_PARAMS,
	"progress.message must be a string"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1,\"mesage\":\"x\"}}", ERR_PARAMS, "did you mean \"message\"?"},
    {"{\"progress\":{\"call\":\"none\",\"progress\":1},\"session\":\"abcd\"}", ERR_PARAMS,
	"session and principal say nothing"},
    {"{\"progress\":{\"call\":\"../../publish.sock\",\"progress\":1}}", ERR_PARAMS,
	"call must be what the tool finds in MCP_CALL"},
    {"{\"progress\":{\"call\":\"caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"progress\":1}}", ERR_NOT_FOUND,
	"no such call any more"},
    {"{\"lists\":[\"tools\"],\"session\":7}", ERR_PARAMS, "session must be"},
    {"{\"lists\":[\"tools\"],\"session\":\"abc\"}", ERR_PARAMS, "4 or more"},
    {"{\"lists\":[\"tools\"],\"principal\":\"ann\"}", ERR_PARAMS, "this site asks for no keys"},
    {"{\"lists\":[\"tools\"],\"principal\":\"\"}", ERR_PARAMS, "principal must be"},
};

static void bodies_are_read_strictly(void **state)
{
	struct site s;

	(void)state;
	site_init(&s);
	site_offer(&s, RESOURCES, "{}");
	for (size_t i = 0; i < COUNT_OF(bodies); i++) {
		struct err err = {0};
		struct publication_outcome outcome = {.reached = 99};
		int ret = publication_send(&s.w, slice_str(bodies[i].text), &outcome, &err);

		if (err.code != bodies[i].code || ret != (err.code ? -1 : 0) || !strstr(err.msg, bodies[i].says))
			fail_msg("%s: %s \"%s\"", bodies[i].text, err_name(err.code), err.msg);
		if (ret && outcome.reached != 0)
			fail_msg("%s: reached %d", bodies[i].text, (int)outcome.reached);
	}
	site_release(&s);
}

/* All of a body is checked before anybody hears of it. */
static void nothing_is_done_by_half(void **state)
{
	struct publication_outcome outcome;
	struct err err = {0};
	struct site s;

	(void)state;
	site_init(&s);
	assert_int_equal(publication_send(&s.w, SLICE("{\"lists\":[\"tools\",\"prompts\"]}"), &outcome, &err), -1);
	assert_int_equal(err.code, ERR_PARAMS);
	assert_int_equal(s.w.link->asked[FAKE_NOTIFY], 0);
	s.w.link->fail[FAKE_NOTIFY] = ERR_BROKER;
	assert_int_equal(publication_send(&s.w, SLICE("{\"lists\":[\"tools\"]}"), &outcome, &err), -1);
	assert_int_equal(err.code, ERR_BROKER);
	site_release(&s);
}

/* A socket of that type at path, which takes no more connections than one. */
static int serve(const char *path, int type)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&sun, sizeof(sun)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 0), 0);
	return fd;
}

static void fill_queue(const char *path, int *client_fd)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	*client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*client_fd, (const struct sockaddr *)&sun, sizeof(sun)), 0);
}

/* Who serves it may speak otherwise (as a log does), or have no time: its socket stays. Who has ended leaves one that
 * goes. */
static void only_a_dead_socket_is_replaced(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	struct publisher *p = NULL;
	char path[64], *before;
	struct site s;

	(void)state;
	site_init(&s);
	snprintf(path, sizeof(path), "%s/publish.sock", s.run_dir);
	before = s.w.cfg.publish_socket;
	s.w.cfg.publish_socket = path;
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		struct err err = {0};
		int client_fd = -1, fd = serve(path, types[i]);

		if (types[i] == SOCK_STREAM)
			fill_queue(path, &client_fd);
		assert_int_equal(publisher_use(&p, &s.w, &err), -1);
		assert_non_null(strstr(err.msg, "somebody else serves"));
		assert_int_equal(access(path, F_OK), 0);
		close(fd);
		if (client_fd != -1)
			close(client_fd);
		if (types[i] == SOCK_STREAM) {
			assert_int_equal(publisher_use(&p, &s.w, &err), 0);
			publisher_end(&p);
			assert_int_equal(access(path, F_OK), -1);
		}
		unlink(path);
	}
	s.w.cfg.publish_socket = before;
	site_release(&s);
}

/* --- without memory --- */

/* One allocation fails, or all from that one on. Who is told what is wrong with a body is not told of another thing. */
static void a_body_without_memory_is_refused(void **state)
{
	static const long counts[] = {1, LONG_MAX / 2};
	struct site s;

	(void)state;
	site_init(&s);
	site_offer(&s, RESOURCES, "{}");
	for (size_t i = 0; i < 2 * COUNT_OF(bodies); i++) {
		struct slice text = slice_str(bodies[i / 2].text);
		bool reached = true;

		for (long nth = 0; reached; nth++) {
			struct err err = {0};
			struct publication_outcome outcome;
			long live = mem_fault_live();
			int ret;

			mem_fault_at(nth, counts[i % 2]);
			ret = publication_send(&s.w, text, &outcome, &err);
			reached = mem_fault_end();
			if (ret != (err.code ? -1 : 0) ||
			    (err.code != bodies[i / 2].code && (!reached || err.code != ERR_NOMEM)))
				fail_msg("%s, allocation %ld: %s \"%s\"", text.p, nth, err_name(err.code), err.msg);
			assert_int_equal(mem_fault_live(), live);
		}
	}
	site_release(&s);
}

static size_t count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void use_path(struct site *s, char *path, size_t size)
{
	snprintf(path, size, "%s/publish.sock", s->run_dir);
	mem_free(s->w.cfg.publish_socket);
	s->w.cfg.publish_socket = mem_dup(path, strlen(path));
	assert_non_null(s->w.cfg.publish_socket);
}

static void a_publisher_without_memory_does_not_start(void **state)
{
	struct publisher *p = NULL;
	bool reached = true;
	struct site s;
	char path[64];

	(void)state;
	site_init(&s);
	use_path(&s, path, sizeof(path));
	for (long nth = 0; reached; nth++) {
		size_t descriptors = count_descriptors();
		long live = mem_fault_live();
		struct err err = {0};
		int ret;

		mem_fault_at(nth, 1);
		ret = publisher_use(&p, &s.w, &err);
		reached = mem_fault_end();
		assert_int_equal(ret, reached ? -1 : 0);
		assert_int_equal(err.code, reached ? ERR_NOMEM : ERR_NONE);
		assert_true(reached ? !p : p != NULL);
		publisher_end(&p);
		assert_int_equal(access(path, F_OK), -1);
		assert_int_equal(mem_fault_live(), live);
		assert_int_equal(count_descriptors(), descriptors);
	}
	site_release(&s);
}

/* Whatever came of what was said; "": the connection was closed. */
static void ask(const char *path, char *answer, size_t size)
{
	static const char request[] = "POST /publish HTTP/1.1\r\nContent-Length: 19\r\n\r\n{\"lists\":[\"tools\"]}";
	struct timeval limit = {.tv_sec = 60};
	size_t len = 0;
	ssize_t n;
	int fd;

	fill_queue(path, &fd);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
	while ((n = recv(fd, answer + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	assert_true(n == 0 || errno == ECONNRESET);
	answer[len] = '\0';
	close(fd);
}

/* In its thread: an answer that is true, or none; the next one is served. */
static void a_client_without_memory_is_not_told_wrongly(void **state)
{
	struct publisher *p = NULL;
	char path[64], answer[8192];
	struct err err = {0};
	bool reached = true;
	struct site s;

	(void)state;
	site_init(&s);
	use_path(&s, path, sizeof(path));
	assert_int_equal(publisher_use(&p, &s.w, &err), 0);
	for (long nth = 0; reached; nth++) {
		mem_fault_in_all_at(nth, 1);
		ask(path, answer, sizeof(answer));
		reached = mem_fault_end();
		if (reached ? answer[0] && strncmp(answer, "HTTP/1.1 500 ", 13) != 0 &&
				  strncmp(answer, "HTTP/1.1 503 ", 13) != 0
			    : strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
			fail_msg("allocation %ld: %s", nth, answer);
	}
	publisher_end(&p);
	site_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(heads_are_read_strictly),
	    cmocka_unit_test(a_head_has_an_end),
	    cmocka_unit_test(bodies_are_read_strictly),
	    cmocka_unit_test(nothing_is_done_by_half),
	    cmocka_unit_test(only_a_dead_socket_is_replaced),
	    cmocka_unit_test(a_body_without_memory_is_refused),
	    cmocka_unit_test(a_publisher_without_memory_does_not_start),
	    cmocka_unit_test(a_client_without_memory_is_not_told_wrongly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
