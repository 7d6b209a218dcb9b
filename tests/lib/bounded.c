/* bounded PROGRAM [ARGUMENT]...: runs a test that must end within a time, and lets nothing outlive it.
 *
 * A test that hangs, or that dies and leaves a server which holds its output open, would stop the whole check. Here it
 * fails instead: after TEST_LIMIT_S seconds (600) PROGRAM is killed and "not ok" printed, and whatever it left behind
 * is killed and named in a comment (processes of other sessions too: they become our children, PR_SET_CHILD_SUBREAPER).
 * Exit status: PROGRAM's; 124 after the time; 128 + N when signal N ended it. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/banned.h"

enum { LIMIT_S = 600, CLEAN_UP_S = 10 };

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static int status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits until child ended (then its status goes to *status), a signal that ends us came (its number is returned) or the
 * time is over (-1). Others that ended are reaped. child 0: until no child is left. */
static int wait_until(pid_t child, int *status, time_t end_s)
{
	sigset_t signals;
	siginfo_t info;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	for (;;) {
		const struct timespec second = {.tv_sec = 1};
		int one, number;
		pid_t pid;

		while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
			if (pid == child) {
				*status = status_of(one);
				return 0;
			}
		}
		if (pid == -1 && errno == ECHILD)
			return 0;
		if (now_s() >= end_s)
			return -1;
		number = sigtimedwait(&signals, &info, &second);
		if (number > 0 && number != SIGCHLD)
			return number;
	}
}

/* Kills our children, and so makes theirs ours. Names them when they are asked for. */
static void kill_children(bool name)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc)) != NULL) {
		char path[64], text[512], comm[64];
		long pid = strtol(entry->d_name, NULL, 10);
		const char *rest;
		char state;
		int parent;
		size_t len;
		FILE *stat;

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
		stat = fopen(path, "re");
		if (!stat)
			continue;
		len = fread(text, 1, sizeof(text) - 1, stat);
		fclose(stat);
		text[len] = '\0';
		rest = strrchr(text, ')'); /* the name may hold anything */
		if (!rest || sscanf(rest, ") %c %d", &state, &parent) != 2 || parent != getpid() || state == 'Z')
			continue;
		if (name && sscanf(text, "%*d (%63[^)]", comm) == 1)
			printf("# left behind: %s, pid %ld\n", comm, pid);
		kill((pid_t)pid, SIGKILL);
	}
	if (proc)
		closedir(proc);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("TEST_LIMIT_S");
	time_t limit_s = limit ? strtol(limit, NULL, 10) : LIMIT_S, clean_up_end_s;
	int status = 124, number;
	sigset_t all, before;
	pid_t child;

	if (argc < 2 || limit_s <= 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
		fprintf(stderr, "Usage: bounded PROGRAM [ARGUMENT]...\n");
		return 2;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	child = fork();
	if (child == -1) {
		perror("bounded: fork");
		return 2;
	}
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		execvp(argv[1], argv + 1);
		fprintf(stderr, "bounded: %s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}
	number = wait_until(child, &status, now_s() + limit_s);
	if (number == -1)
		printf("\nnot ok - ends within %lld s\n", (long long)limit_s);
	if (number > 0)
		status = 128 + number;
	clean_up_end_s = now_s() + CLEAN_UP_S;
	do {
		kill_children(number == 0);
	} while (wait_until(0, &status, now_s() + 1) == -1 && now_s() < clean_up_end_s);
	return status;
}
