#include "config.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/standin.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

extern char **environ;

pid_t standin_start(const char *dir)
{
	const char *top = getenv("abs_top_srcdir");
	char path[512],
	    line[256] = "", *const argv[] = {(char *)(uintptr_t) "python3", path, (char *)(uintptr_t)dir, NULL};
	posix_spawn_file_actions_t actions;
	FILE *said;
	int pair[2];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/tests/lib/http_standin.py", top ? top : ".");
	assert_int_equal(pipe(pair), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], 1);
	posix_spawn_file_actions_addclose(&actions, pair[0]);
	posix_spawn_file_actions_addclose(&actions, pair[1]);
	assert_int_equal(posix_spawnp(&pid, "python3", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	said = fdopen(pair[0], "r");
	assert_non_null(said);
	while (fgets(line, sizeof(line), said) && strncmp(line, "ENV ", 4) == 0) {
		char *value = strchr(line, '=');

		assert_non_null(value);
		*value++ = '\0';
		value[strcspn(value, "\n")] = '\0';
		setenv(line + 4, value, 1);
	}
	fclose(said);
	assert_string_equal(line, "READY\n");
	return pid;
}

void standin_stop(pid_t pid)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}
