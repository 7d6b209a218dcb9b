#include "config.h"

#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bucket.h"
#include "common/http_head.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "runner/publication.h"
#include "runner/publish_request.h"
#include "runner/publisher.h"
#include "runner/reporter.h"
#include "common/banned.h"

#define BACKLOG       64
#define ANSWER_MAX    4096
#define PAUSE_MS      100  /* after an accept() without a descriptor to be had */
#define LINGER_MS     1000 /* for what a client still says after its answer: unread it would look like an error there */
#define GROUP_MAX     65536
#define LISTENERS_MAX 2

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_ANSWER, PHASE_LINGER };

struct client {
	int fd; /* owned */
	bool needs_key;
	enum phase phase;
	struct buf in, out;
	size_t out_sent;
	struct publish_request request;
	uint64_t ends_ms;
};

struct listener {
	int fd; /* owned; -1: none */
	bool needs_key;
};

struct publisher {
	pthread_mutex_t mtx;
	const struct worker *w;      /* borrowed; by mtx */
	char *path, *group, *listen; /* owned: of the settings that it was made by */
	struct listener listeners[LISTENERS_MAX];
	struct client *clients; /* owned; the thread's, as what follows */
	size_t clients_count, clients_max;
	struct pollfd *fds; /* owned */
	uint64_t pause_until_ms;
	struct bucket bucket;
	pthread_t thread;
	bool is_running, has_path;
	int stop_fd;
};

/* --- one client --- */

static void close_client(struct publisher *p, size_t i)
{
	struct client *c = &p->clients[i];

	close(c->fd);
	buf_release(&c->in);
	buf_release(&c->out);
	*c = p->clients[--p->clients_count];
}

static void start_answer(struct publisher *p, struct client *c, int status, const struct buf *body)
{
	buf_addf(&c->out,
	    "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
	    "%s%s%sConnection: close\r\n\r\n",
	    status, http_reason(status), body->len, status == 405 ? "Allow: POST\r\n" : "",
	    status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
	    status == 429 || status == 503 ? "Retry-After: 1\r\n" : "");
	buf_add_slice(&c->out, buf_slice(body));
	if (body->fault)
		c->out.fault = body->fault;
	c->phase = PHASE_ANSWER;
	c->ends_ms = now_ms() + (uint64_t)p->w->cfg.publish_wait_ms;
}

static void refuse(struct publisher *p, struct client *c, int status, const char *why)
{
	struct buf body;

	buf_init(&body, ANSWER_MAX);
	buf_adds(&body, "{\"error\":");
	jx_write_str(&body, slice_str(why));
	buf_adds(&body, "}\n");
	start_answer(p, c, status, &body);
	buf_release(&body);
}

static const char *why_head(int status)
{
	switch (status) {
	case 404:
		return "the path is " PUBLISH_PATH;
	case 405:
		return "the method is POST";
	case 411:
		return "a Content-Length is needed; chunked bodies are not read";
	case 413:
		return "the body is larger than publish_body_max_bytes";
	case 431:
		return "the head of the request is too large";
	case 505:
		return "HTTP/1.1 or HTTP/1.0 is spoken here";
	default:
		return "this is no HTTP request that can be understood; see mcpctl(1), publish";
	}
}

static int status_of(enum err_code code)
{
	int status = err_http(code);

	return code == ERR_DUPLICATE ? 409 : code == ERR_NOT_FOUND ? 404 : status == 200 ? 400 : status;
}

static const char *why_failed(const struct err *err)
{
	switch (err->code) {
	case ERR_NO_SESSION:
		return "session: no session has an id that begins so; it may have ended";
	case ERR_DUPLICATE:
		return "session: several sessions have an id that begins so; give more of it";
	default:
		return err->msg;
	}
}

static void publish(struct publisher *p, struct client *c)
{
	const struct cfg *cfg = &p->w->cfg;
	struct slice text = {c->in.data + c->request.head_len, c->request.body_len};
	struct publication_outcome outcome;
	struct err err = {0};
	struct buf body;

	if (!bucket_take(&p->bucket, now_us(), (uint64_t)cfg->publish_rate, (uint64_t)cfg->publish_burst)) {
		refuse(p, c, 429, "more than publish_rate a second, and publish_burst at once");
		return;
	}
	if (publication_send(p->w, text, &outcome, &err)) {
		int status = status_of(err.code);

		if (status >= 500)
			LOG(WARN, "publish.failed", "why=\"%s\"", err.msg);
		refuse(p, c, status, why_failed(&err));
		return;
	}
	buf_init(&body, ANSWER_MAX);
	buf_addf(&body, "{\"reached\":%llu", (unsigned long long)outcome.reached);
	if (outcome.why)
		buf_addf(&body, ",\"why\":\"%s\"", outcome.why);
	buf_adds(&body, "}\n");
	start_answer(p, c, 200, &body);
	buf_release(&body);
}

/* Nothing of the body is read for who has no key. */
static void take_head(struct publisher *p, struct client *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	int status = publish_request_read(buf_slice(&c->in), &c->request);

	if (status == 0)
		return;
	if (status != 200)
		refuse(p, c, status, why_head(status));
	else if (c->needs_key && !keys_find(&p->w->publish_keys, c->request.key))
		refuse(p, c, 401, "a key of publish_keys_file is needed: Authorization: Bearer KEY, or X-API-Key: KEY");
	else if (c->request.body_len > (size_t)p->w->cfg.publish_body_max_bytes)
		refuse(p, c, 413, why_head(413));
	else
		c->phase = PHASE_BODY;
	if (c->phase == PHASE_BODY && c->request.wants_continue && c->in.len == c->request.head_len &&
	    send(c->fd, go_on, sizeof(go_on) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) == -1)
		LOG(DEBUG, "publish.no_continue", "why=\"%s\"", strerror(errno)); /* it asks no more, or has gone */
}

/* False: it is over. */
static bool write_answer(struct client *c)
{
	if (c->out.fault) {
		LOG(WARN, "publish.no_answer", "why=\"%s\"", err_name(c->out.fault));
		return false;
	}
	while (c->out_sent < c->out.len) {
		ssize_t n =
		    send(c->fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n == -1 && errno != EINTR)
			return errno == EAGAIN;
		if (n > 0)
			c->out_sent += (size_t)n;
	}
	shutdown(c->fd, SHUT_WR);
	c->phase = PHASE_LINGER;
	c->ends_ms = now_ms() + LINGER_MS;
	return true;
}

/* False: it is over. */
static bool read_more(struct publisher *p, struct client *c)
{
	char *room;
	ssize_t n;

	if (c->phase == PHASE_LINGER)
		buf_clear(&c->in);
	room = buf_reserve(&c->in, PUBLISH_HEAD_MAX);
	if (!room) {
		LOG(WARN, "publish.no_room", "why=\"%s\"", err_name(c->in.fault));
		return false;
	}
	n = recv(c->fd, room, PUBLISH_HEAD_MAX, MSG_DONTWAIT);
	if (n == -1)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	c->in.len += (size_t)n;
	if (c->phase == PHASE_HEAD)
		take_head(p, c);
	if (c->phase == PHASE_BODY && c->in.len - c->request.head_len >= c->request.body_len)
		publish(p, c);
	return true;
}

static bool step(struct publisher *p, struct client *c, short events)
{
	bool goes_on = true;

	if (c->phase != PHASE_ANSWER && events)
		goes_on = read_more(p, c);
	if (goes_on && c->phase == PHASE_ANSWER)
		goes_on = write_answer(c);
	return goes_on && now_ms() < c->ends_ms;
}

/* --- all of them --- */

static void take_client(struct publisher *p, const struct listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd == -1) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			LOG(WARN, "publish.no_descriptor", "why=\"%s\"", strerror(errno));
			p->pause_until_ms = now_ms() + PAUSE_MS;
		}
		return;
	}
	c = &p->clients[p->clients_count++];
	*c = (struct client){.fd = fd, .needs_key = l->needs_key};
	c->ends_ms = now_ms() + (uint64_t)p->w->cfg.publish_wait_ms;
	buf_init(&c->in, (size_t)p->w->cfg.publish_body_max_bytes + 3 * PUBLISH_HEAD_MAX);
	buf_init(&c->out, 2 * ANSWER_MAX);
}

/* Fills fds: stop_fd, listeners (those that may be let in), clients. *end_ms: when to look without an event. */
static nfds_t watch(struct publisher *p, uint64_t *end_ms)
{
	bool is_open = p->clients_count < p->clients_max && now_ms() >= p->pause_until_ms;
	nfds_t count = 0;

	*end_ms = now_ms() < p->pause_until_ms ? p->pause_until_ms : UINT64_MAX;
	p->fds[count++] = (struct pollfd){.fd = p->stop_fd, .events = POLLIN};
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		p->fds[count++] = (struct pollfd){.fd = is_open ? p->listeners[i].fd : -1, .events = POLLIN};
	for (size_t i = 0; i < p->clients_count; i++) {
		const struct client *c = &p->clients[i];

		p->fds[count++] = (struct pollfd){.fd = c->fd, .events = c->phase == PHASE_ANSWER ? POLLOUT : POLLIN};
		if (c->ends_ms < *end_ms)
			*end_ms = c->ends_ms;
	}
	return count;
}

static void turn(struct publisher *p)
{
	const struct pollfd *of_listeners = &p->fds[1], *of_clients = &p->fds[1 + LISTENERS_MAX];

	/* From the last one on: who is closed gives its place to one that had its turn. */
	for (size_t i = p->clients_count; i-- > 0;) {
		if (!step(p, &p->clients[i], of_clients[i].revents))
			close_client(p, i);
	}
	for (size_t i = 0; i < LISTENERS_MAX && p->clients_count < p->clients_max; i++) {
		if (of_listeners[i].fd != -1 && of_listeners[i].revents)
			take_client(p, &p->listeners[i]);
	}
}

static void *run(void *arg)
{
	struct publisher *p = arg;

	for (;;) {
		uint64_t end_ms;
		nfds_t count = watch(p, &end_ms);
		int ready = poll(p->fds, count, ms_until(end_ms, now_ms()));

		if (ready == -1 && errno != EINTR) {
			LOG(ERROR, "publish.poll", "why=\"%s\" effect=\"scripts can't publish\"", strerror(errno));
			return NULL;
		}
		if (ready == -1)
			continue;
		if (p->fds[0].revents)
			return NULL;
		pthread_mutex_lock(&p->mtx);
		turn(p);
		pthread_mutex_unlock(&p->mtx);
	}
}

/* --- where they come in --- */

static int find_group(const char *name, gid_t *gid, struct err *err)
{
	struct group group, *found = NULL;
	char *room = mem_alloc(1, GROUP_MAX);
	int why = room ? getgrnam_r(name, &group, room, GROUP_MAX, &found) : ENOMEM;

	if (found)
		*gid = found->gr_gid;
	mem_free(room);
	if (found)
		return 0;
	errno = why;
	return why ? err_sys(err, "publish_group %s", name)
		   : err_set(err, ERR_CONFIG, "publish_group: there is no group %s", name);
}

/* What a runner before us left there goes; what is no socket, or is another one's, stays. */
static int clear_path(int fd, const struct sockaddr_un *sun, struct err *err)
{
	struct stat st;

	if (lstat(sun->sun_path, &st))
		return errno == ENOENT ? 0 : err_sys(err, "publish_socket %s", sun->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_CONFIG, "publish_socket: %s is there, and no socket", sun->sun_path);
	if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno != ECONNREFUSED)
		return err_set(err, ERR_CONFIG, "publish_socket: somebody else serves %s", sun->sun_path);
	return unlink(sun->sun_path) ? err_sys(err, "remove %s", sun->sun_path) : 0;
}

/* Nobody gets in between bind() and listen(), when the mode is not yet what it shall be. */
static int bind_path(int fd, const struct sockaddr_un *sun, const char *group, struct err *err)
{
	gid_t gid = (gid_t)-1;

	if (group[0] && find_group(group, &gid, err))
		return -1;
	if (bind(fd, (const struct sockaddr *)sun, sizeof(*sun)))
		return err_sys(err, "publish_socket: bind %s", sun->sun_path);
	if (chown(sun->sun_path, (uid_t)-1, gid) || chmod(sun->sun_path, 0660) || listen(fd, BACKLOG)) {
		err_sys(err, "publish_socket %s: group %s, mode 0660", sun->sun_path, group[0] ? group : "of its user");
		unlink(sun->sun_path);
		return -1;
	}
	return 0;
}

static int open_path(struct publisher *p, struct err *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(p->path);
	int probe, ret;

	if (len >= sizeof(sun.sun_path))
		return err_set(err, ERR_CONFIG, "publish_socket: %s is longer than a socket's path may be (%zu)",
		    p->path, sizeof(sun.sun_path) - 1);
	memcpy(sun.sun_path, p->path, len + 1);
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* its queue may be full */
	if (probe == -1)
		return err_sys(err, "socket");
	ret = clear_path(probe, &sun, err);
	close(probe);
	if (ret)
		return -1;
	p->listeners[0].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->listeners[0].fd == -1)
		return err_sys(err, "socket");
	ret = bind_path(p->listeners[0].fd, &sun, p->group, err);
	p->has_path = ret == 0;
	return ret;
}

static int open_port(struct publisher *p, struct err *err)
{
	struct listener *l = &p->listeners[1];
	struct sockaddr_storage address;
	socklen_t len;
	int one = 1;

	if (address_read_listen(p->listen, &address, &len, err))
		return err_wrap(err, "publish_listen");
	l->needs_key = true;
	l->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd == -1 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(l->fd, (struct sockaddr *)&address, len) || listen(l->fd, BACKLOG))
		return err_sys(err, "publish_listen %s", p->listen);
	return 0;
}

/* --- its life --- */

static int make_room(struct publisher *p, struct err *err)
{
	const struct cfg *cfg = &p->w->cfg;

	p->clients_max = (size_t)cfg->publish_connections_max;
	p->clients = mem_alloc(p->clients_max, sizeof(*p->clients));
	p->fds = mem_alloc(1 + LISTENERS_MAX + p->clients_max, sizeof(*p->fds));
	p->path = mem_dup(cfg->publish_socket, strlen(cfg->publish_socket));
	p->group = mem_dup(cfg->publish_group, strlen(cfg->publish_group));
	p->listen = mem_dup(cfg->publish_listen, strlen(cfg->publish_listen));
	if (!p->clients || !p->fds || !p->path || !p->group || !p->listen)
		return err_set(err, ERR_NOMEM, "a publisher");
	return 0;
}

static int start(struct publisher *p, struct err *err)
{
	int why;

	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->stop_fd == -1)
		return err_sys(err, "eventfd");
	if (make_room(p, err) || (p->path[0] && open_path(p, err)) || (p->listen[0] && open_port(p, err)))
		return -1;
	why = pthread_create(&p->thread, NULL, run, p);
	p->is_running = why == 0;
	errno = why;
	return why ? err_sys(err, "a thread") : 0;
}

static bool is_same(const struct publisher *p, const struct cfg *cfg)
{
	return strcmp(p->path, cfg->publish_socket) == 0 && strcmp(p->group, cfg->publish_group) == 0 &&
	       strcmp(p->listen, cfg->publish_listen) == 0 && p->clients_max == (size_t)cfg->publish_connections_max;
}

int publisher_use(struct publisher **pp, const struct worker *w, struct err *err)
{
	struct publisher *p = *pp;

	if (p && is_same(p, &w->cfg)) {
		pthread_mutex_lock(&p->mtx);
		p->w = w;
		pthread_mutex_unlock(&p->mtx);
		return 0;
	}
	publisher_end(pp);
	if (!w->cfg.publish_socket[0] && !w->cfg.publish_listen[0])
		return 0;
	p = mem_alloc(1, sizeof(*p));
	if (!p)
		return err_set(err, ERR_NOMEM, "a publisher");
	pthread_mutex_init(&p->mtx, NULL);
	p->w = w;
	p->stop_fd = p->listeners[0].fd = p->listeners[1].fd = -1;
	*pp = p;
	if (start(p, err)) {
		publisher_end(pp);
		return -1;
	}
	reporter_sweep(&w->cfg);
	LOG(INFO, "publish.ready", "socket=\"%s\" listen=\"%s\"", p->path, p->listen);
	return 0;
}

void publisher_end(struct publisher **pp)
{
	struct publisher *p = *pp;

	if (!p)
		return;
	*pp = NULL;
	if (p->is_running) {
		eventfd_write(p->stop_fd, 1);
		pthread_join(p->thread, NULL);
	}
	while (p->clients_count)
		close_client(p, p->clients_count - 1);
	if (p->has_path)
		unlink(p->path);
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		if (p->listeners[i].fd != -1)
			close(p->listeners[i].fd);
	}
	if (p->stop_fd != -1)
		close(p->stop_fd);
	pthread_mutex_destroy(&p->mtx);
	mem_free(p->clients);
	mem_free(p->fds);
	mem_free(p->path);
	mem_free(p->group);
	mem_free(p->listen);
	mem_free(p);
}
