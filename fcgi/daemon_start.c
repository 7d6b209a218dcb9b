#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/daemon_start.h"
#include "common/banned.h"

#define PROGRAM_PATH_MAX 4096
#define WAIT_STEP_MS     5

extern char **environ;

/* path, else the one beside this program, else the installed one. */
static void find_program(const char *name, const char *path, char out[PROGRAM_PATH_MAX])
{
	ssize_t len;
	char *slash;

	if (path[0]) {
		snprintf(out, PROGRAM_PATH_MAX, "%s", path);
		return;
	}
	len = readlink("/proc/self/exe", out, PROGRAM_PATH_MAX - strlen(name) - 1);
	if (len > 0) {
		out[len] = '\0';
		slash = strrchr(out, '/');
		if (slash) {
			memcpy(slash + 1, name, strlen(name) + 1);
			if (access(out, X_OK) == 0)
				return;
		}
	}
	snprintf(out, PROGRAM_PATH_MAX, "%s/%s", BINDIR, name);
}

/* program [--conf FILE] [--set TEXT]... --set run_dir=DIR. The array is the caller's, and so is run_dir's text; the
 * rest is borrowed. run_dir comes last: it is resolved already, whatever directory it was relative to. */
static char **make_argv(const struct cfg *cfg, char *program, char *run_dir)
{
	char **argv = mem_alloc(2 * cfg->sets.count + 6, sizeof(*argv));
	size_t n = 0;

	if (!argv)
		return NULL;
	argv[n++] = program;
	if (cfg->file && cfg->file[0]) {
		argv[n++] = (char *)"--conf";
		argv[n++] = cfg->file;
	}
	for (size_t i = 0; i < cfg->sets.count; i++) {
		argv[n++] = (char *)"--set";
		argv[n++] = cfg->sets.items[i];
	}
	argv[n++] = (char *)"--set";
	argv[n++] = run_dir;
	return argv;
}

/* With all signals at their defaults and unblocked, nothing of ours but stderr: a client's connection that another
 * thread just accepted must not live on in a daemon. */
static int spawn(const char *program, char **argv, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int rc;

	sigfillset(&all);
	sigemptyset(&none);
	rc = posix_spawn_file_actions_init(&files);
	if (rc)
		return rc;
	rc = posix_spawnattr_init(&attr);
	if (rc)
		goto out_files;
	if ((rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) ||
	    (rc = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO)) ||
#ifdef HAVE_POSIX_SPAWN_FILE_ACTIONS_ADDCLOSEFROM_NP
	    (rc = posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1)) ||
#endif
	    (rc = posix_spawnattr_setsigdefault(&attr, &all)) || (rc = posix_spawnattr_setsigmask(&attr, &none)) ||
	    (rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)))
		goto out;
	rc = posix_spawn(pid, program, &files, &attr, argv, environ);
out:
	posix_spawnattr_destroy(&attr);
out_files:
	posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* waitpid() knows no deadline; the child lives for some milliseconds, so ask again and again. */
static int wait_until_ready(const char *name, pid_t pid, uint64_t deadline_ms, struct err *err)
{
	const struct timespec step = {.tv_nsec = WAIT_STEP_MS * 1000000L};
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			break;
		if (got == -1 && errno == ECHILD)
			return 0; /* somebody who waits for all children has it: the socket will tell */
		if (got == -1 && errno != EINTR)
			return err_sys(err, "wait for %s", name);
		if (now_ms() >= deadline_ms) {
			kill(pid, SIGKILL);
			while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
				;
			return err_set(err, ERR_SYS, "%s was not ready in time", name);
		}
		nanosleep(&step, NULL);
	}
	if (WIFSIGNALED(status))
		return err_set(err, ERR_SYS, "%s died of signal %d at its start", name, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, ERR_SYS, "%s ended with status %d at its start", name, WEXITSTATUS(status));
	return 0;
}

int daemon_start(const struct cfg *cfg, const char *name, const char *path, uint64_t deadline_ms, struct err *err)
{
	char program[PROGRAM_PATH_MAX], run_dir[PROGRAM_PATH_MAX];
	char **argv;
	pid_t pid;
	int rc;

	find_program(name, path, program);
	if (snprintf(run_dir, sizeof(run_dir), "run_dir=%s", cfg->run_dir) >= (int)sizeof(run_dir))
		return err_set(err, ERR_SYS, "run_dir is too long");
	argv = make_argv(cfg, program, run_dir);
	if (!argv)
		return err_set(err, ERR_NOMEM, "arguments of %s", name);
	rc = spawn(program, argv, &pid);
	mem_free(argv);
	if (rc) {
		char why[128];

		return err_set(err, ERR_SYS, "start %s: %s", program, strerror_r(rc, why, sizeof(why)));
	}
	LOG(INFO, "daemon.start", "program=%s pid=%d", program, (int)pid);
	return wait_until_ready(name, pid, deadline_ms, err);
}
