/* bench/hello_fcgi - what libfcgi can do at most: reads the request and answers with the same bytes each time. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcgiapp.h>

#include "bench/target.h"
#include "common/banned.h"

static const char answer[] = "Status: 200\r\nContent-Type: application/json\r\nContent-Length: 178\r\n\r\n"
			     "{\"jsonrpc\":\"2.0\",\"id\":1000000000,\"result\":{\"resultType\":\"complete\","
			     "\"content\":[{\"type\":\"text\",\"text\":\"hello, world: as many bytes as the answer of an "
			     "echo call has, or nearly\"}]}}";
static int listen_fd;

static void *thread_run(void *arg)
{
	FCGX_Request req;
	char in[8192];

	FCGX_InitRequest(&req, listen_fd, 0);
	while (FCGX_Accept_r(&req) == 0) {
		while (FCGX_GetStr(in, sizeof(in), req.in) > 0)
			;
		FCGX_PutStr(answer, sizeof(answer) - 1, req.out);
		FCGX_Finish_r(&req);
	}
	return arg;
}

static int process_run(long threads)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	FCGX_Init();
	for (long i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, thread_run, NULL))
			return 1;
	thread_run(NULL);
	return 1;
}

int main(int argc, char **argv)
{
	long processes, threads;

	if (argc != 4) {
		fputs("usage: hello_fcgi socket processes threads\n", stderr);
		return 2;
	}
	processes = option_number(argv[2], "processes", 1, 64);
	threads = option_number(argv[3], "threads", 1, 256);
	FCGX_Init();
	listen_fd = FCGX_OpenSocket(argv[1], 1024);
	if (listen_fd == -1) {
		perror(argv[1]);
		return 1;
	}
	for (long i = 0; i < processes; i++)
		if (fork() == 0)
			_exit(process_run(threads));
	puts("READY");
	fflush(stdout);
	while (wait(NULL) > 0)
		;
	return 0;
}
