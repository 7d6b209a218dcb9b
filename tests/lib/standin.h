/* tests/lib/standin.h - the HTTP API that tests/lib/http_standin.py plays, as a child process. */
#ifndef MCP_TESTS_STANDIN_H
#define MCP_TESTS_STANDIN_H

#include <sys/types.h>

/* Starts it; dir is for its certificate. Sets API and API_TLS in the environment, where configurations find them. */
pid_t standin_start(const char *dir);
void standin_stop(pid_t pid);

#endif
