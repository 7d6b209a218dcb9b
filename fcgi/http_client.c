/* libcurl's multi interface, its handle shared by all threads under one lock, which nobody holds while it waits.
 *
 *   own      without TLS a connection carries one transfer at a time: who waits for that sends its request, polls its
 *            sockets and reads what comes
 *   others   whose sockets several transfers may share, or for which several may wait, or nobody: their sockets are
 *            polled by a thread, which starts with the first of them
 *   its end  whoever comes upon it fills response and says so by done_fd; from then on response is only read
 *
 * A transfer is freed when nobody waits for it and it is over, or is broken off because nobody does. */
#include "config.h"

#include <arpa/inet.h>
#define CURL_DISABLE_TYPECHECK /* a macro in the place of each call */
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/http_address.h"
#include "fcgi/http_cache.h"
#include "fcgi/http_client.h"
#include "fcgi/library.h"
#include "common/banned.h"

#define IDLE_MAX      32   /* connections kept without a transfer */
#define KEPT_MAX      16   /* handles kept without one */
#define FDS_MAX       4    /* of one transfer: a name that is looked up, an address of each family */
#define LATE_MS       50   /* by which libcurl may miss a deadline before its waiter keeps it */
#define TURNS_MAX     1000 /* that libcurl is given at once for what it wants to do now; it needs a few */
#define THREAD_EVENTS 64   /* that the thread takes at once */

#define FUNCTIONS(FUNCTION)                                                                                            \
	FUNCTION(curl_easy_cleanup)                                                                                    \
	FUNCTION(curl_easy_getinfo)                                                                                    \
	FUNCTION(curl_easy_init)                                                                                       \
	FUNCTION(curl_easy_reset)                                                                                      \
	FUNCTION(curl_easy_setopt)                                                                                     \
	FUNCTION(curl_easy_strerror)                                                                                   \
	FUNCTION(curl_global_init)                                                                                     \
	FUNCTION(curl_multi_add_handle)                                                                                \
	FUNCTION(curl_multi_info_read)                                                                                 \
	FUNCTION(curl_multi_init)                                                                                      \
	FUNCTION(curl_multi_remove_handle)                                                                             \
	FUNCTION(curl_multi_setopt)                                                                                    \
	FUNCTION(curl_multi_socket_action)                                                                             \
	FUNCTION(curl_multi_timeout)                                                                                   \
	FUNCTION(curl_slist_append)                                                                                    \
	FUNCTION(curl_slist_free_all)

static struct {
	FUNCTIONS(LIBRARY_MEMBER)
} curl;

static struct library libcurl = {LIBCURL, (const char *const[]){FUNCTIONS(LIBRARY_NAME) NULL}, &curl, false};

/* What the next transfer uses again. */
struct kept {
	CURL *easy;
	int done_fd; /* eventfd: it is over; to the waiter that drives it, also: look again */
};

struct http_transfer {
	struct http_request request;
	struct address_nets allowed; /* of the configuration */
	struct http_response response;
	uint64_t deadline_ms;
	struct kept kept;
	struct curl_slist *headers;
	/* By mtx: */
	bool is_begun, is_over;
	bool is_seen;               /* the end, by the only one who waits */
	bool is_own;                /* driven by its waiter; libcurl gets it when that begins to wait */
	struct pollfd fds[FDS_MAX]; /* if so */
	nfds_t fds_count;
	bool is_told;    /* by done_fd */
	bool is_refused; /* an address was */
	unsigned waiters;
	bool goes_on;   /* to its end, even if nobody waits */
	bool is_shared; /* what follows is there */
	struct http_cache_key key;
	int lock_fd;                       /* -1: none */
	struct http_transfer *next_shared; /* of those under way */
	int redirects_left;
	size_t header_bytes;
};

static struct {
	pthread_mutex_t mtx;
	pid_t owner; /* the process that has begun; 0: none */
	struct kept items[KEPT_MAX];
	size_t count;
} kept = {.mtx = PTHREAD_MUTEX_INITIALIZER};

/* What comes before mtx is set by the beginning and not changed, the rest is by mtx. It may be held for as long as
 * libcurl has something to do, so what can be done without it is. */
static struct client {
	CURLM *multi;
	char *ca_file;
	int64_t connect_ms, redirects_max;
	char *cache_dir;
	int64_t cache_max_bytes;
	pthread_mutex_t mtx;
	uint64_t due_ms;              /* when libcurl wants to be called, whatever the sockets do */
	struct http_transfer *driver; /* whose waiter is in libcurl now; NULL: somebody else */
	size_t thread_count;          /* transfers that the thread drives */
	uint64_t thread_until_ms;     /* how long it sleeps */
	bool has_thread;
	int epoll_fd, wake_fd; /* the thread's; -1: not yet */
	struct http_transfer *shared;
} client = {.mtx = PTHREAD_MUTEX_INITIALIZER, .epoll_fd = -1, .wake_fd = -1};

void http_request_init(struct http_request *request)
{
	*request = (struct http_request){.method = "GET"};
	buf_init(&request->url, HTTP_URL_MAX);
	buf_init(&request->headers, HTTP_HEADERS_MAX);
}

void http_request_release(struct http_request *request)
{
	buf_release(&request->url);
	buf_release(&request->headers);
	buf_release(&request->body);
	address_nets_release(&request->allowed);
}

static void kept_close(struct kept *k)
{
	if (k->easy)
		curl.curl_easy_cleanup(k->easy);
	if (k->done_fd != -1)
		close(k->done_fd);
	*k = (struct kept){.done_fd = -1};
}

static int kept_take(struct kept *k, struct err *err)
{
	*k = (struct kept){.done_fd = -1};
	pthread_mutex_lock(&kept.mtx);
	if (kept.count)
		*k = kept.items[--kept.count];
	pthread_mutex_unlock(&kept.mtx);
	if (!k->easy)
		k->easy = curl.curl_easy_init();
	if (!k->easy)
		return err_set(err, ERR_NOMEM, "http");
	if (k->done_fd == -1)
		k->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return k->done_fd == -1 ? err_sys(err, "eventfd") : 0;
}

/* is_told: something was written to done_fd. */
static void kept_give(struct kept *k, bool is_told)
{
	eventfd_t ignored;

	if (is_told)
		eventfd_read(k->done_fd, &ignored);
	curl.curl_easy_reset(k->easy); /* of all options; connections are not its own */
	pthread_mutex_lock(&kept.mtx);
	if (kept.count < KEPT_MAX) {
		kept.items[kept.count++] = *k;
		*k = (struct kept){.done_fd = -1};
	}
	pthread_mutex_unlock(&kept.mtx);
	kept_close(k);
}

/* Nobody has it any more. */
static void transfer_free(struct http_transfer *t)
{
	if (t->is_over)
		kept_give(&t->kept, t->is_told);
	else
		kept_close(&t->kept);
	if (t->headers)
		curl.curl_slist_free_all(t->headers);
	http_request_release(&t->request);
	address_nets_release(&t->allowed);
	buf_release(&t->response.body);
	if (t->lock_fd != -1)
		close(t->lock_fd);
	mem_free(t);
}

/* With mtx. */
static void tell(struct http_transfer *t)
{
	if (client.driver == t) /* it sees so itself */
		return;
	t->is_told = true;
	eventfd_write(t->kept.done_fd, 1);
}

/* ---- callbacks of libcurl ---- */

static bool is_allowed(const struct http_transfer *t, const struct sockaddr *address)
{
	return http_address_is_allowed(address, &t->allowed) || http_address_is_allowed(address, &t->request.allowed);
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *t = arg;

	(void)purpose;
	if (is_allowed(t, &address->addr))
		return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	t->is_refused = true;
	return CURL_SOCKET_BAD;
}

/* Just before the request is sent: a connection that was kept may have been opened for another API, which may go there.
 */
static int on_connected(void *arg, char *to, char *from, int to_port, int from_port)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct http_transfer *t = arg;

	(void)from;
	(void)to_port;
	(void)from_port;
	if (inet_pton(AF_INET, to, &v4.sin_addr) == 1)
		t->is_refused = !is_allowed(t, (struct sockaddr *)(void *)&v4);
	else if (inet_pton(AF_INET6, to, &v6.sin6_addr) == 1)
		t->is_refused = !is_allowed(t, (struct sockaddr *)(void *)&v6);
	else
		t->is_refused = true;
	return t->is_refused ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;

	(void)bytes;
	t->header_bytes += size * count;
	return t->header_bytes > HTTP_HEADERS_MAX ? 0 : size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;

	buf_add(&t->response.body, bytes, size * count);
	return t->response.body.fault ? 0 : size * count;
}

static void watch_own(struct http_transfer *t, curl_socket_t fd, short events)
{
	nfds_t i = 0;

	while (i < t->fds_count && t->fds[i].fd != fd)
		i++;
	if (i == t->fds_count && (!events || i == FDS_MAX)) /* one too many would only end by its time */
		return;
	if (events) {
		t->fds[i] = (struct pollfd){.fd = fd, .events = events};
		t->fds_count += i == t->fds_count;
	} else {
		t->fds[i] = t->fds[--t->fds_count];
	}
	tell(t);
}

static void watch_in_thread(curl_socket_t fd, short events)
{
	struct epoll_event event = {.events = (uint32_t)events, .data.fd = fd};

	if (!events)
		epoll_ctl(client.epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(client.epoll_fd, EPOLL_CTL_MOD, fd, &event) == -1)
		epoll_ctl(client.epoll_fd, EPOLL_CTL_ADD, fd, &event); /* if not, it ends by its time */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	static const short events[] = {[CURL_POLL_IN] = POLLIN,
	    [CURL_POLL_OUT] = POLLOUT,
	    [CURL_POLL_INOUT] = POLLIN | POLLOUT,
	    [CURL_POLL_REMOVE] = 0};
	struct http_transfer *t = NULL;

	(void)arg, (void)socket_arg;
	curl.curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
	if (t && t->is_own)
		watch_own(t, fd, events[what]);
	else if (client.epoll_fd != -1)
		watch_in_thread(fd, events[what]);
	return 0;
}

/* ---- a transfer's options ---- */

/* Several transfers may share a connection of it, by HTTP/2. */
static bool is_tls(const char *url)
{
	return strncasecmp(url, "https:", 6) == 0;
}

static CURLcode set_time(struct http_transfer *t)
{
	uint64_t now = now_ms();

	return curl.curl_easy_setopt(
	    t->kept.easy, CURLOPT_TIMEOUT_MS, t->deadline_ms > now ? (long)(t->deadline_ms - now) : 1L);
}

static bool has_no_body(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "DELETE") == 0;
}

static CURLcode set_method(struct http_transfer *t)
{
	const char *method = t->request.method;
	CURLcode code = CURLE_OK;

	if (strcmp(method, "HEAD") == 0)
		return curl.curl_easy_setopt(t->kept.easy, CURLOPT_NOBODY, 1L);
	if (strcmp(method, "GET") == 0 && !t->request.has_body)
		return CURLE_OK;
	if (t->request.has_body || !has_no_body(method)) {
		code =
		    curl.curl_easy_setopt(t->kept.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->request.body.len);
		if (!code)
			code = curl.curl_easy_setopt(
			    t->kept.easy, CURLOPT_POSTFIELDS, t->request.body.data ? t->request.body.data : "");
	}
	return code ? code : curl.curl_easy_setopt(t->kept.easy, CURLOPT_CUSTOMREQUEST, method);
}

/* The list of headers; a name alone ("Expect:") keeps libcurl from adding it. */
static int set_headers(struct http_transfer *t)
{
	struct curl_slist *more = curl.curl_slist_append(NULL, "Expect:");

	t->headers = more;
	if (more && !t->request.has_body) /* of an empty one libcurl says that it is a form */
		more = curl.curl_slist_append(t->headers, "Content-Type:");
	for (size_t at = 0; more && at < t->request.headers.len; at += strlen(t->request.headers.data + at) + 1)
		more = curl.curl_slist_append(t->headers, t->request.headers.data + at);
	return more && !curl.curl_easy_setopt(t->kept.easy, CURLOPT_HTTPHEADER, t->headers) ? 0 : -1;
}

/* Who goes to TLS waits for a connection that is being made, for it may carry all of them. Without TLS it can't, and
 * libcurl would learn that from the first response only. */
static CURLcode set_url(struct http_transfer *t)
{
	CURLcode bad = curl.curl_easy_setopt(t->kept.easy, CURLOPT_URL, t->request.url.data);

	return bad ? bad : curl.curl_easy_setopt(t->kept.easy, CURLOPT_PIPEWAIT, is_tls(t->request.url.data) ? 1L : 0L);
}

static int set_options(struct http_transfer *t)
{
	CURL *easy = t->kept.easy;
	CURLcode bad = set_url(t);

#define SET(option, value) bad = bad ? bad : curl.curl_easy_setopt(easy, option, value)
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is still looked up is left to the thread that does so */
	SET(CURLOPT_ACCEPT_ENCODING, "");
	SET(CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client.connect_ms);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	if (client.ca_file)
		SET(CURLOPT_CAINFO, client.ca_file);
#undef SET
	return bad || set_method(t) || set_headers(t) || set_time(t) ? -1 : 0;
}

/* ---- how it ended ---- */

static enum http_failure failure_of(const struct http_transfer *t, CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return HTTP_DONE;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_TIMEOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return t->is_refused ? HTTP_REFUSED : HTTP_UNREACHABLE;
	case CURLE_ABORTED_BY_CALLBACK:
		return t->is_refused ? HTTP_REFUSED : HTTP_BROKEN;
	case CURLE_PEER_FAILED_VERIFICATION:
		return HTTP_UNTRUSTED;
	case CURLE_OUT_OF_MEMORY:
		return HTTP_NO_MEMORY;
	case CURLE_WRITE_ERROR:
		return t->header_bytes > HTTP_HEADERS_MAX || t->response.body.fault == ERR_TOO_BIG ? HTTP_TOO_BIG
		       : t->response.body.fault                                                    ? HTTP_NO_MEMORY
												   : HTTP_BROKEN;
	default:
		return HTTP_BROKEN;
	}
}

static void explain(struct http_response *response, CURLcode code)
{
	static const char *const words[] = {
	    [HTTP_DONE] = "",
	    [HTTP_REFUSED] = "its address is not a public one (setting http.allow_addresses)",
	    [HTTP_TIMEOUT] = "it did not answer in time",
	    [HTTP_UNREACHABLE] = "it can't be reached",
	    [HTTP_UNTRUSTED] = "its certificate is not trusted",
	    [HTTP_BROKEN] = "it broke off",
	    [HTTP_TOO_BIG] = "its answer is too big",
	    [HTTP_NO_MEMORY] = "there is not enough memory",
	};

	if (response->failure == HTTP_UNREACHABLE || response->failure == HTTP_BROKEN)
		snprintf(response->why, sizeof(response->why), "%s: %s", words[response->failure],
		    code == CURLE_UNSUPPORTED_PROTOCOL ? "this is no HTTP" : curl.curl_easy_strerror(code));
	else
		snprintf(response->why, sizeof(response->why), "%s", words[response->failure]);
}

static void read_info(struct http_transfer *t)
{
	curl_off_t retry_after_s = 0;
	const char *type = NULL;
	long status = 0;

	curl.curl_easy_getinfo(t->kept.easy, CURLINFO_RESPONSE_CODE, &status);
	curl.curl_easy_getinfo(t->kept.easy, CURLINFO_CONTENT_TYPE, &type);
	curl.curl_easy_getinfo(t->kept.easy, CURLINFO_RETRY_AFTER, &retry_after_s);
	t->response.status = (int)status;
	t->response.retry_after_s = retry_after_s;
	snprintf(t->response.content_type, sizeof(t->response.content_type), "%s", type ? type : "");
}

static int refuse(struct http_transfer *t, const char *why)
{
	t->response.failure = HTTP_REFUSED;
	snprintf(t->response.why, sizeof(t->response.why), "%s", why);
	return -1;
}

/* Bytes of a URL up to its path: an origin. */
static struct slice origin_of(const char *url)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	return (struct slice){url, (size_t)(host - url) + strcspn(host, "/?#")};
}

static bool is_same_origin(const char *url, const char *other)
{
	struct slice a = origin_of(url), b = origin_of(other);

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	}
	return true;
}

/* 1: it leads on, and t is ready for that. 0: it is an answer as any. -1: it leads where nobody shall go. */
static int redirect(struct http_transfer *t)
{
	const char *to = NULL, *from = t->request.url.data;
	bool is_get = strcmp(t->request.method, "GET") == 0 || strcmp(t->request.method, "HEAD") == 0;

	if (t->response.status < 300 || t->response.status > 308 || t->response.status == 304)
		return 0;
	if (curl.curl_easy_getinfo(t->kept.easy, CURLINFO_REDIRECT_URL, &to) || !to)
		return 0;
	if (!is_get)
		return refuse(t, "it redirects a request that is not to be repeated elsewhere");
	if (t->redirects_left-- == 0)
		return refuse(t, "it redirects too often");
	if (strncmp(to, "https://", 8) != 0 && (strncmp(to, "http://", 7) != 0 || strncmp(from, "https", 5) == 0))
		return refuse(t, "it redirects to what is not https");
	if (!is_same_origin(from, to)) {
		curl.curl_easy_setopt(t->kept.easy, CURLOPT_HTTPHEADER, NULL);
		curl.curl_slist_free_all(t->headers);
		t->headers = NULL;
		address_nets_release(&t->request.allowed);
	}
	buf_clear(&t->request.url);
	buf_adds(&t->request.url, to);
	if (t->request.url.fault)
		return refuse(t, "it redirects to a URL that is too long");
	buf_clear(&t->response.body);
	t->header_bytes = 0;
	return set_url(t) || set_time(t) ? -1 : 1;
}

/* ---- the thread's start ---- */

static void *run(void *unused);

/* With mtx. */
static int open_fds(struct err *err)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (client.wake_fd == -1)
		client.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (client.epoll_fd == -1)
		client.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	event.data.fd = client.wake_fd;
	if (client.wake_fd == -1 || client.epoll_fd == -1)
		return err_sys(err, "http");
	if (epoll_ctl(client.epoll_fd, EPOLL_CTL_ADD, client.wake_fd, &event) == -1 && errno != EEXIST)
		return err_sys(err, "epoll_ctl");
	return 0;
}

/* With mtx. */
static int start_thread(struct err *err)
{
	sigset_t all, before;
	pthread_t thread;
	int error;

	if (client.has_thread)
		return 0;
	if (open_fds(err))
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* SIGPIPE too: a write to a connection that is gone */
	error = pthread_create(&thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return err_set(err, ERR_SYS, "pthread_create: %s", strerrordesc_np(error));
	pthread_detach(thread);
	client.has_thread = true;
	return 0;
}

/* ---- the end; all with mtx ---- */

/* Takes it off libcurl. Those who wait see the end; without them it is freed. */
static void let_go(struct http_transfer *t)
{
	struct http_transfer **at = &client.shared;

	curl.curl_multi_remove_handle(client.multi, t->kept.easy);
	t->is_over = true;
	client.thread_count -= !t->is_own;
	while (t->is_shared && *at != t)
		at = &(*at)->next_shared;
	if (t->is_shared)
		*at = t->next_shared;
	if (t->lock_fd != -1)
		close(t->lock_fd);
	t->lock_fd = -1;
	if (t->waiters == 0)
		transfer_free(t);
	else
		tell(t);
}

static void give_to_thread(struct http_transfer *t)
{
	t->is_own = false;
	client.thread_count++;
}

/* After a redirect, to where that leads. */
static int begin_again(struct http_transfer *t)
{
	struct err err;

	curl.curl_multi_remove_handle(client.multi, t->kept.easy);
	if (t->is_own && is_tls(t->request.url.data)) {
		if (start_thread(&err)) {
			LOG(WARN, "http.failed", "why=\"%s\"", err.msg);
			return -1;
		}
		give_to_thread(t);
	}
	return curl.curl_multi_add_handle(client.multi, t->kept.easy) == CURLM_OK ? 0 : -1;
}

static void end(struct http_transfer *t, CURLcode code)
{
	int ret = 0;

	if (code == CURLE_OK) {
		read_info(t);
		ret = redirect(t);
		if (ret == 1 && begin_again(t) == 0)
			return;
		if (ret && t->response.failure == HTTP_DONE)
			t->response.failure = HTTP_NO_MEMORY;
	} else {
		t->response.failure = failure_of(t, code);
	}
	if (t->response.failure != HTTP_DONE && !t->response.why[0])
		explain(&t->response, code);
	if (t->is_shared && t->response.failure == HTTP_DONE && t->response.status >= 200 && t->response.status < 300)
		http_cache_write(client.cache_dir, client.cache_max_bytes, &t->key, &t->response);
	let_go(t);
}

static void take_ended(void)
{
	CURLMsg *message;
	int left;

	while ((message = curl.curl_multi_info_read(client.multi, &left))) {
		struct http_transfer *t = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
		end(t, message->data.result);
	}
}

/* ---- libcurl's turn; all with mtx ---- */

static void turn(curl_socket_t fd, int mask)
{
	int running;

	curl.curl_multi_socket_action(client.multi, fd, mask, &running);
	take_ended();
}

/* What it wants to do now, and when it is to be called next. */
static void settle(void)
{
	uint64_t now = now_ms();
	long wait_ms = -1;

	for (int i = 0; i < TURNS_MAX; i++) {
		curl.curl_multi_timeout(client.multi, &wait_ms);
		if (wait_ms != 0)
			break;
		turn(CURL_SOCKET_TIMEOUT, 0);
	}
	client.due_ms = wait_ms < 0 ? UINT64_MAX : now + (uint64_t)wait_ms;
	if (client.thread_count && client.due_ms < client.thread_until_ms) {
		client.thread_until_ms = client.due_ms;
		eventfd_write(client.wake_fd, 1);
	}
}

static int mask_of(uint32_t revents)
{
	const uint32_t broken = POLLERR | POLLHUP; /* it finds out by trying */

	return (revents & (POLLIN | broken) ? CURL_CSELECT_IN : 0) |
	       (revents & (POLLOUT | broken) ? CURL_CSELECT_OUT : 0);
}

/* ---- the thread ---- */

static void *run(void *unused)
{
	struct epoll_event events[THREAD_EVENTS];
	eventfd_t ignored;

	(void)unused;
	pthread_mutex_lock(&client.mtx);
	for (;;) {
		uint64_t until_ms = client.thread_count ? client.due_ms : UINT64_MAX;
		int count;

		client.thread_until_ms = until_ms;
		pthread_mutex_unlock(&client.mtx);
		count = epoll_wait(client.epoll_fd, events, THREAD_EVENTS, ms_until(until_ms, now_ms()));
		pthread_mutex_lock(&client.mtx);
		client.thread_until_ms = 0; /* it is awake */
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == client.wake_fd)
				eventfd_read(client.wake_fd, &ignored);
			else
				turn(events[i].data.fd, mask_of(events[i].events));
		}
		settle();
	}
	return NULL;
}

/* ---- for everybody ---- */

int http_client_check(struct cfg *cfg, const char *pointer, struct err *err)
{
	struct address_nets nets;
	int bad = address_nets_read(&nets, &cfg->http_allow_addresses, err);

	address_nets_release(&nets);
	if (bad && err->code != ERR_NOMEM)
		cfg_complain(cfg, "/http/allow_addresses", "%s", err->msg);
	if (!bad && library_open(&libcurl, err)) {
		cfg_complain(cfg, pointer, "%s", err->msg);
		bad = -1;
	}
	return bad;
}

/* With kept.mtx. */
static int start(const struct cfg *cfg, struct err *err)
{
	if (kept.owner == getpid())
		return 0;
	DIE_UNLESS(kept.owner == 0); /* nobody forks who has threads */
	client.connect_ms = cfg->http_connect_ms;
	client.redirects_max = cfg->http_redirects_max;
	if (cfg->http_ca_file[0]) {
		client.ca_file = mem_dup(cfg->http_ca_file, strlen(cfg->http_ca_file));
		if (!client.ca_file) {
			err_set(err, ERR_NOMEM, "http");
			goto fail;
		}
	}
	client.cache_dir = http_cache_dir(cfg);
	client.cache_max_bytes = cfg->http_cache_max_bytes;
	if (!client.cache_dir) {
		err_set(err, ERR_NOMEM, "http");
		goto fail;
	}
	if (library_open(&libcurl, err))
		goto fail;
	if (curl.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		client.multi = curl.curl_multi_init();
	if (!client.multi) {
		err_set(err, ERR_NOMEM, "http");
		goto fail;
	}
	curl.curl_multi_setopt(client.multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)cfg->http_connections_max);
	curl.curl_multi_setopt(client.multi, CURLMOPT_MAXCONNECTS, (long)IDLE_MAX);
	curl.curl_multi_setopt(client.multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	kept.owner = getpid();
	return 0;
fail:
	mem_free(client.ca_file);
	client.ca_file = NULL;
	mem_free(client.cache_dir);
	client.cache_dir = NULL;
	return -1;
}

/* Takes request. NULL: *err. */
static struct http_transfer *transfer_new(
    const struct cfg *cfg, struct http_request *request, uint64_t deadline_ms, size_t body_max_bytes, struct err *err)
{
	struct http_transfer *t = mem_alloc(1, sizeof(*t));
	int ret;

	if (!t) {
		http_request_release(request);
		err_set(err, ERR_NOMEM, "http");
		return NULL;
	}
	t->request = *request;
	http_request_init(request);
	t->deadline_ms = deadline_ms;
	t->waiters = 1;
	t->lock_fd = -1;
	t->kept.done_fd = -1;
	buf_init(&t->response.body, body_max_bytes);
	pthread_mutex_lock(&kept.mtx);
	ret = start(cfg, err);
	pthread_mutex_unlock(&kept.mtx);
	t->redirects_left = (int)client.redirects_max;
	if (ret == 0)
		ret = address_nets_read(&t->allowed, &cfg->http_allow_addresses, err);
	if (ret == 0)
		ret = kept_take(&t->kept, err);
	if (ret == 0 && set_options(t))
		ret = err_set(err, ERR_NOMEM, "http");
	t->is_own = !is_tls(t->request.url.data);
	if (ret == 0)
		return t;
	transfer_free(t);
	return NULL;
}

/* Takes t if it fails: NULL. */
static struct http_transfer *begin_in_thread(struct http_transfer *t, struct err *err)
{
	int ret;

	pthread_mutex_lock(&client.mtx);
	ret = start_thread(err);
	if (ret == 0 && curl.curl_multi_add_handle(client.multi, t->kept.easy) != CURLM_OK)
		ret = err_set(err, ERR_NOMEM, "http");
	if (ret == 0) {
		t->is_begun = true;
		give_to_thread(t);
		if (t->is_shared) {
			t->next_shared = client.shared;
			client.shared = t;
		}
		settle();
	}
	pthread_mutex_unlock(&client.mtx);
	if (ret == 0)
		return t;
	transfer_free(t);
	return NULL;
}

struct http_transfer *http_client_begin(
    const struct cfg *cfg, struct http_request *request, uint64_t deadline_ms, size_t body_max_bytes, struct err *err)
{
	struct http_transfer *t = transfer_new(cfg, request, deadline_ms, body_max_bytes, err);

	return t && !t->is_own ? begin_in_thread(t, err) : t;
}

struct http_transfer *http_client_begin_shared(const struct cfg *cfg, struct http_request *request,
    uint64_t deadline_ms, size_t body_max_bytes, const struct http_cache_key *key, int lock_fd, struct err *err)
{
	struct http_transfer *t = transfer_new(cfg, request, deadline_ms, body_max_bytes, err);

	if (!t) {
		close(lock_fd);
		return NULL;
	}
	t->is_shared = true;
	t->key = *key;
	t->lock_fd = lock_fd;
	return begin_in_thread(t, err);
}

struct http_transfer *http_client_join(const struct http_cache_key *key)
{
	struct http_transfer *t;

	pthread_mutex_lock(&client.mtx);
	t = client.shared;
	while (t && memcmp(t->key.bytes, key->bytes, sizeof(key->bytes)) != 0)
		t = t->next_shared;
	if (t)
		t->waiters++;
	pthread_mutex_unlock(&client.mtx);
	return t;
}

/* With mtx. What came at t's sockets, and what is due. */
static void drive(struct http_transfer *t, const struct pollfd *fds, nfds_t count)
{
	client.driver = t;
	for (nfds_t i = 0; i < count; i++) {
		if (fds[i].revents)
			turn(fds[i].fd, mask_of((uint32_t)fds[i].revents));
	}
	settle();
	client.driver = NULL;
}

/* With mtx. */
static void begin_own(struct http_transfer *t)
{
	if (curl.curl_multi_add_handle(client.multi, t->kept.easy) == CURLM_OK) {
		t->is_begun = true;
		drive(t, NULL, 0);
		return;
	}
	t->response.failure = HTTP_NO_MEMORY;
	explain(&t->response, CURLE_OUT_OF_MEMORY);
	t->is_over = true;
}

int http_transfer_wait(struct http_transfer *t, struct call *call, struct err *err)
{
	struct pollfd fds[1 + FDS_MAX];
	eventfd_t ignored;
	int ret = 0;

	pthread_mutex_lock(&client.mtx);
	if (t->is_own && !t->is_begun)
		begin_own(t);
	while (!t->is_over && ret != -1) {
		uint64_t late_ms = t->deadline_ms + LATE_MS;
		uint64_t until_ms = t->is_own && client.due_ms < late_ms ? client.due_ms : late_ms;
		nfds_t count = t->fds_count;

		fds[0] = (struct pollfd){.fd = t->kept.done_fd, .events = POLLIN};
		memcpy(fds + 1, t->fds, count * sizeof(*fds));
		pthread_mutex_unlock(&client.mtx);
		ret = call_poll(call, fds, 1 + count, ms_until(until_ms, now_ms()), err);
		pthread_mutex_lock(&client.mtx);
		if (ret == -1 || t->is_over)
			continue;
		if (now_ms() >= late_ms) {
			end(t, CURLE_OPERATION_TIMEDOUT);
			settle(); /* as in give_back() */
			continue;
		}
		if (t->is_shared)
			continue;
		if (fds[0].revents) { /* which leads elsewhere now, or has other sockets */
			eventfd_read(t->kept.done_fd, &ignored);
			t->is_told = false;
		}
		if (t->is_own)
			drive(t, fds + 1, count);
	}
	if (!t->is_shared)
		t->is_seen = t->is_over;
	pthread_mutex_unlock(&client.mtx);
	return ret == -1 ? -1 : 0;
}

const struct http_response *http_transfer_response(const struct http_transfer *t)
{
	return &t->response;
}

static void give_back(struct http_transfer *t, bool goes_on)
{
	bool is_free;

	if (t->is_seen || !t->is_begun) { /* nobody else knows it */
		transfer_free(t);
		return;
	}
	pthread_mutex_lock(&client.mtx);
	is_free = --t->waiters == 0 && t->is_over;
	t->goes_on = t->goes_on || goes_on;
	if (t->waiters == 0 && !is_free && !t->goes_on) {
		let_go(t);
		settle(); /* others may have waited for its connection */
	}
	pthread_mutex_unlock(&client.mtx);
	if (is_free)
		transfer_free(t);
}

void http_transfer_release(struct http_transfer **tp)
{
	struct http_transfer *t = *tp;

	*tp = NULL;
	if (t)
		give_back(t, false);
}

void http_transfer_detach(struct http_transfer **tp)
{
	struct http_transfer *t = *tp;

	*tp = NULL;
	if (t)
		give_back(t, true);
}
