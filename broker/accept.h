/* broker/accept.h - how many peers libzmq may accept.
 *
 * It accepts whoever connects to the data channel by itself, in a thread of its own, and has no setting for how many.
 * With no descriptor left it aborts the process (ipc_listener.cpp of 4.3.4 asserts that accept() never fails so).
 * Workers are within the broker's budget, for each has its control connection first; but whoever may enter run_dir
 * could connect a thousand times. So accept4() is defined here: libzmq's calls find the program's definition before
 * that of libc. */
#ifndef MCP_BROKER_ACCEPT_H
#define MCP_BROKER_ACCEPT_H

/* To be called in the loop's thread, whose own calls are not bound by it. From this number on descriptors are not for
 * others: who would get one finds its connection closed. */
void accept_limit(int fd_end);

#endif
