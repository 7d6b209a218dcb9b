#include "config.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/http_unix.h"
#include "common/banned.h"

#define READ_BYTES 65536
#define WAIT_S     10 /* for anything of the answer */

int http_unix_open(const char *path)
{
	const struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, why;

	if (len >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sun.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	why = errno;
	close(fd);
	errno = why;
	return -1;
}

int http_unix_ask(int fd, struct slice request, struct buf *answer, struct err *err)
{
	ssize_t n;

	while (request.len > 0) {
		n = send(fd, request.p, request.len, MSG_NOSIGNAL);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			break;
		request.p += n;
		request.len -= (size_t)n;
	}
	do {
		char *room = buf_reserve(answer, READ_BYTES);

		if (!room)
			return buf_check(answer, err);
		n = recv(fd, room, READ_BYTES, 0);
		if (n > 0)
			answer->len += (size_t)n;
	} while (n > 0 || (n == -1 && errno == EINTR));
	if (n == 0 || errno == ECONNRESET)
		return 0;
	return errno == EAGAIN ? err_set(err, ERR_EXPIRED, "no answer within %d s", WAIT_S) : err_sys(err, "read");
}

int http_unix_cut_head(struct slice *answer)
{
	const char *end = answer->len ? memmem(answer->p, answer->len, "\r\n\r\n", 4) : NULL;
	int status = 0;

	if (!end || answer->len < 12 || memcmp(answer->p, "HTTP/1.", 7) != 0)
		return 0;
	for (int i = 9; i < 12 && answer->p[i] >= '0' && answer->p[i] <= '9'; i++)
		status = status * 10 + (answer->p[i] - '0');
	answer->len -= (size_t)(end + 4 - answer->p);
	answer->p = end + 4;
	return status;
}
