/* common/daemon.h - programs that go to the background, and tell whoever started them how their start went. */
#ifndef MCP_COMMON_DAEMON_H
#define MCP_COMMON_DAEMON_H

#include <stdbool.h>

/* Exit statuses; see mcp-broker(8), EXIT STATUS. */
enum daemon_status { DAEMON_READY = 0, DAEMON_USAGE = 2, DAEMON_NO_START = 3 };

/* What the starter left open is not ours to keep, a web server's listening socket among it: to be called before anything
 * is opened, by who goes to the background. */
void daemon_close_inherited(void);

/* Runs run(arg, ready_fd) and returns its status: here, with ready_fd -1, if stay, else in a process of the background.
 * Then the starter's process waits for daemon_tell() and returns what that said. */
int daemon_run(bool stay, int (*run)(void *arg, int ready_fd), void *arg);

/* How the start went; to be called once, before the work begins. */
void daemon_tell(int ready_fd, enum daemon_status status);

#endif
