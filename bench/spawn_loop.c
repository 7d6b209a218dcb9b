/* bench/spawn_loop - what an exec tool can do at most: threads that start a program by posix_spawn(), read what it says
 * to its end, and wait for it.
 *
 *     spawn_loop THREADS SECONDS PROGRAM
 *
 * Prints "rate N": programs a second. */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/target.h"
#include "common/util.h"
#include "common/banned.h"

#define THREADS_MAX 256

static char *program;
static uint64_t until_us;
static atomic_uint_fast64_t count;
static atomic_bool failed;

/* Whether it could be started, said something and ended well. */
static bool run_once(void)
{
	char *const argv[] = {program, NULL}, *const env[] = {NULL};
	posix_spawn_file_actions_t actions;
	int fds[2], status = -1;
	size_t said = 0;
	char text[4096];
	ssize_t got;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	if (posix_spawn(&pid, program, &actions, NULL, argv, env))
		pid = -1;
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while (pid != -1 && (got = read(fds[0], text, sizeof(text))) > 0)
		said += (size_t)got;
	close(fds[0]);
	return pid != -1 && waitpid(pid, &status, 0) == pid && status == 0 && said > 0;
}

static void *run(void *arg)
{
	while (now_us() < until_us && !failed) {
		if (run_once())
			count++;
		else
			failed = true;
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	uint64_t from_us;
	long started = 0, wanted;

	if (argc != 4) {
		fputs("usage: spawn_loop THREADS SECONDS PROGRAM\n", stderr);
		return 2;
	}
	wanted = option_number(argv[1], "THREADS", 1, THREADS_MAX);
	program = argv[3];
	from_us = now_us();
	until_us = from_us + option_seconds_us(argv[2], "SECONDS");
	while (started < wanted && pthread_create(&threads[started], NULL, run, NULL) == 0)
		started++;
	for (long i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (started < wanted || failed) {
		fprintf(stderr, "spawn_loop: %s: could not be run\n", program);
		return 1;
	}
	printf("rate %.0f\n", (double)count * 1e6 / (double)(now_us() - from_us));
	return 0;
}
