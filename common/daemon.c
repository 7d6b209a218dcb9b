#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/banned.h"

void daemon_close_inherited(void)
{
	struct rlimit lim;

#ifdef HAVE_CLOSE_RANGE
	if (close_range(STDERR_FILENO + 1, ~0u, 0) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur > 65536)
		lim.rlim_cur = 65536;
	for (int fd = STDERR_FILENO + 1; fd < (int)lim.rlim_cur; fd++)
		close(fd);
}

/* stderr is the log and stays. */
static int leave_starter(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int ret = null == -1 || dup2(null, STDIN_FILENO) == -1 || dup2(null, STDOUT_FILENO) == -1 ? -1 : 0;

	if (null > STDERR_FILENO)
		close(null);
	return ret;
}

void daemon_tell(int ready_fd, enum daemon_status status)
{
	unsigned char byte = (unsigned char)status;

	if (ready_fd == -1)
		return;
	if (write(ready_fd, &byte, 1) != 1)
		LOG(DEBUG, "daemon.orphan", "why=\"who started it did not wait\"");
	close(ready_fd);
}

/* In the child: everything, libzmq's threads too, begins after the last fork. The parent waits to hear how it went, so
 * that whoever started us can go on when we return. */
static int run_in_background(int (*run)(void *arg, int ready_fd), void *arg)
{
	unsigned char status = DAEMON_NO_START;
	int ready[2], wstatus;
	pid_t pid;
	ssize_t n;

	if (pipe2(ready, O_CLOEXEC) || (pid = fork()) == -1) {
		LOG(ERROR, "daemon.failed", "why=\"fork\" errno=%d", errno);
		return DAEMON_NO_START;
	}
	if (pid > 0) {
		close(ready[1]);
		while (waitpid(pid, &wstatus, 0) == -1 && errno == EINTR)
			;
		do
			n = read(ready[0], &status, 1);
		while (n == -1 && errno == EINTR);
		return n == 1 ? status : DAEMON_NO_START;
	}
	close(ready[0]);
	setsid();
	pid = fork();
	if (pid != 0)
		_exit(pid > 0 ? 0 : DAEMON_NO_START);
	if (leave_starter())
		_exit(DAEMON_NO_START);
	return run(arg, ready[1]);
}

int daemon_run(bool stay, int (*run)(void *arg, int ready_fd), void *arg)
{
	return stay ? run(arg, -1) : run_in_background(run, arg);
}
