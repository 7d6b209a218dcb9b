/* bench/hello_fcgi - what libfcgi can do at most: reads the request and answers with the same bytes each time, or, when
 * the URL's query is "as-long", with as many as came. With HELLO_ACCEPT in its environment a connection is accepted and
 * ended as mcp-worker does it (fcgi/req_fcgi.c), so that what remains to it is what is done for the request itself.
 *
 * It takes those options of mcp-worker that concern it and passes over the others, so that tests/serve can run it in the
 * place of mcp-worker, behind the same web server with the same configuration. */
#include "config.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "bench/target.h"
#include "common/err.h"
#include "fcgi/req_fcgi.h"
#include "common/banned.h"

#define HEAD "Status: 200\r\nContent-Type: application/json\r\nContent-Length: 178\r\n"
#define BODY                                                                                                           \
	"{\"jsonrpc\":\"2.0\",\"id\":1000000000,\"result\":{\"resultType\":\"complete\","                              \
	"\"content\":[{\"type\":\"text\",\"text\":\"hello, world: as many bytes as the answer of an echo call has, "   \
	"or nearly\"}]}}"

static int listen_fd;

static void answer_as_long(FCGX_Stream *out, size_t len)
{
	static const char begin[] = "{\"result\":\"", end[] = "\"}";
	const size_t least = sizeof(begin) + sizeof(end) - 2;
	char filling[8192];
	int head_len;

	if (len < least)
		len = least;
	head_len = snprintf(filling, sizeof(filling),
	    "Status: 200\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", len, begin);
	FCGX_PutStr(filling, head_len, out);
	memset(filling, 'x', sizeof(filling));
	for (size_t left = len - least, part; left > 0; left -= part) {
		part = left < sizeof(filling) ? left : sizeof(filling);
		FCGX_PutStr(filling, (int)part, out);
	}
	FCGX_PutStr(end, sizeof(end) - 1, out);
}

static void *thread_run(void *arg)
{
	FCGX_Request req;
	const char *query;
	char in[8192];
	size_t came;
	int got;

	FCGX_InitRequest(&req, listen_fd, 0);
	while (FCGX_Accept_r(&req) == 0) {
		for (came = 0; (got = FCGX_GetStr(in, sizeof(in), req.in)) > 0; came += (size_t)got)
			;
		query = FCGX_GetParam("QUERY_STRING", req.envp);
		if (query && strcmp(query, "as-long") == 0)
			answer_as_long(req.out, came);
		else
			FCGX_PutStr(HEAD "\r\n" BODY, sizeof(HEAD "\r\n" BODY) - 1, req.out);
		FCGX_Finish_r(&req);
	}
	return arg;
}

static void *thread_run_ours(void *arg)
{
	struct req_fcgi req;
	struct err err;

	if (req_fcgi_init(&req, listen_fd, &err))
		return arg;
	while (req_fcgi_accept(&req, &err) == 0) {
		req_discard_body(&req.base, SIZE_MAX);
		req_reply(&req.base, SLICE(HEAD), SLICE(BODY), &err);
	}
	return arg;
}

static int process_run(long threads)
{
	void *(*run)(void *) = getenv("HELLO_ACCEPT") ? thread_run_ours : thread_run;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	FCGX_Init();
	for (long i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, run, NULL))
			return 1;
	run(NULL);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, 's'},
	    {"processes", required_argument, NULL, 'p'}, {"threads", required_argument, NULL, 't'},
	    {"conf", required_argument, NULL, 'x'}, {"set", required_argument, NULL, 'x'}, {NULL, 0, NULL, 0}};
	long processes = 2, threads = 8;
	const char *path = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			path = optarg;
		else if (opt == 'p')
			processes = option_number(optarg, "--processes", 1, 64);
		else if (opt == 't')
			threads = option_number(optarg, "--threads", 1, 256);
		else if (opt != 'x')
			return 2;
	}
	if (!path) {
		fputs("usage: hello_fcgi --socket path [--processes n] [--threads n]\n", stderr);
		return 2;
	}
	FCGX_Init();
	listen_fd = FCGX_OpenSocket(path, 1024);
	if (listen_fd == -1) {
		perror(path);
		return 1;
	}
	for (long i = 0; i < processes; i++)
		if (fork() == 0)
			_exit(process_run(threads));
	while (wait(NULL) > 0)
		;
	return 0;
}
