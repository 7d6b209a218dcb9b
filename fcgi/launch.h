/* fcgi/launch.h - what a worker process and its mcp-launch say to each other.
 *
 * mcp-launch is started with one end of a SOCK_SEQPACKET socketpair as descriptor LAUNCH_FD. A packet there asks for
 * one program: struct launch_head, then NUL-terminated strings: the directory to run in, argv, the environment. It
 * carries LAUNCH_FD_COUNT descriptors in the order of enum launch_fd, or one less: LAUNCH_ANSWERS may be left out. The
 * first is the job's leash, the writing end of a pipe: on it comes one struct launch_report, or two. (A pipe, because
 * each socket that is closed while another one is sent has the kernel look for sockets that nobody can reach.)
 * When the program ends, what it left of its process group is ended by SIGKILL, before that is reported. When the
 * worker closes its end before (it is done, or dead) the whole group is ended: by SIGTERM, and by SIGKILL when the
 * program has ended or its grace is over. Both ends are of one build and one machine: numbers stand as they are in
 * memory. */
#ifndef MCP_FCGI_LAUNCH_H
#define MCP_FCGI_LAUNCH_H

#include <stdint.h>

#define LAUNCH_FD            3
#define LAUNCH_FD_LAST       4 /* of a program */
#define LAUNCH_MAGIC         0x6d63704cu
#define LAUNCH_READERS_COUNT 3
#define LAUNCH_MAX_BYTES     131072 /* of a packet: less than the default of SO_SNDBUF, which one packet must fit */

enum launch_fd {
	LAUNCH_LEASH,
	LAUNCH_STDIN,
	LAUNCH_STDOUT,
	LAUNCH_STDERR,
	LAUNCH_MESSAGES,
	LAUNCH_READERS, /* the worker's ends of the three before: kept open, so that no program that cleans up dies of
			   SIGPIPE */
	LAUNCH_ANSWERS = LAUNCH_READERS + LAUNCH_READERS_COUNT,
	LAUNCH_FD_COUNT
};

struct launch_head {
	uint32_t magic;
	uint32_t argc, envc;
	uint32_t cpu_s;        /* RLIMIT_CPU; 0: as mcp-launch has it */
	uint32_t grace_ms;     /* between SIGTERM and SIGKILL; 0: SIGKILL at once */
	uint32_t tells_pid;    /* LAUNCH_STARTED is to be reported too */
	uint64_t memory_bytes; /* RLIMIT_AS; 0: the same */
};

enum launch_event {
	LAUNCH_NO_FORK, /* value: errno */
	LAUNCH_NO_CWD,  /* value: errno */
	LAUNCH_NO_EXEC, /* value: errno */
	LAUNCH_EXITED,  /* value: as waitpid() has it */
	LAUNCH_STARTED, /* value: its pid; another report follows */
};

struct launch_report {
	uint32_t event; /* enum launch_event */
	int32_t value;
};

#endif
