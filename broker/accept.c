#include "config.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/accept.h"
#include "common/log.h"
#include "common/banned.h"

#define PAUSE_US 10000 /* where nothing can be accepted: libzmq would come again at once */

static atomic_int limit = INT_MAX;
static pthread_t loop_thread;

void accept_limit(int fd_end)
{
	loop_thread = pthread_self();
	limit = fd_end;
}

/* The kernel gives the lowest number that is free, so the number says how many are open at least. */
int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	int peer = (int)syscall(SYS_accept4, fd, address, len, flags);
	static struct log_rate rate;
	unsigned dropped;

	if (limit == INT_MAX || pthread_equal(pthread_self(), loop_thread))
		return peer;
	if (peer >= limit) {
		close(peer);
		if (log_rate_ok(&rate, 1, 10000, &dropped))
			LOG(ERROR, "bus.refused",
			    "descriptor=%d why=\"more peers at the data channel than workers\" not_logged=%u", peer,
			    dropped);
		errno = ECONNABORTED;
		return -1;
	}
	if (peer == -1 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
		usleep(PAUSE_US);
		errno = EAGAIN;
	}
	return peer;
}
