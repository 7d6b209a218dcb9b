/* A transfer belongs to those who wait for it, and to the thread while it works on it. It is freed when nobody is left.
 *
 *   begin    -> client.incoming (by mtx) -> the thread adds it to the multi handle
 *   release  -> nobody waits (by mtx)    -> the thread takes it off and lets go
 *   its end  -> the thread fills response, writes done_fd, lets go; from then on response is only read
 *
 * Nothing of libcurl but curl_multi_wakeup() is called for a transfer outside of the thread once it is incoming. */
#include "config.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/ascii.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/http_address.h"
#include "fcgi/http_cache.h"
#include "fcgi/http_client.h"
#include "common/banned.h"

#define IDLE_POLL_MS 60000
#define IDLE_MAX     32 /* connections kept without a transfer */

struct http_transfer {
	struct http_transfer *next; /* by mtx while incoming, then the thread's: active */
	struct http_request request;
	struct address_nets allowed; /* of the configuration */
	CURL *easy;
	struct curl_slist *headers;
	struct http_response response;
	uint64_t deadline_ms;
	int done_fd;
	bool is_refused;     /* an address was; the thread's */
	unsigned waiters;    /* by mtx */
	bool goes_on;        /* by mtx: to its end, even if nobody waits */
	bool is_with_thread; /* by mtx */
	bool is_shared;      /* what follows is there */
	struct http_cache_key key;
	int lock_fd;                       /* -1: none */
	struct http_transfer *next_shared; /* by mtx: of those under way */
	int redirects_left;
	size_t header_bytes;
};

/* All by mtx but what the thread alone has: multi is made before it, active. */
static struct client {
	pthread_mutex_t mtx;
	pid_t owner; /* the process that the thread is in; 0: none */
	CURLM *multi;
	char *ca_file;
	int64_t connect_ms, redirects_max;
	struct http_transfer *incoming, *active, *shared;
	char *cache_dir;
	int64_t cache_max_bytes;
} client = {.mtx = PTHREAD_MUTEX_INITIALIZER};

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

static void transfer_free(struct http_transfer *t)
{
	if (t->easy)
		curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	http_request_release(&t->request);
	address_nets_release(&t->allowed);
	buf_release(&t->response.body);
	if (t->done_fd != -1)
		close(t->done_fd);
	if (t->lock_fd != -1)
		close(t->lock_fd);
	mem_free(t);
}

/* ---- callbacks of libcurl, in the thread ---- */

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

/* ---- a transfer's options ---- */

static CURLcode set_time(struct http_transfer *t)
{
	uint64_t now = now_ms();

	return curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, t->deadline_ms > now ? (long)(t->deadline_ms - now) : 1L);
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
		return curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
	if (strcmp(method, "GET") == 0 && !t->request.has_body)
		return CURLE_OK;
	if (t->request.has_body || !has_no_body(method)) {
		code = curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->request.body.len);
		if (!code)
			code = curl_easy_setopt(
			    t->easy, CURLOPT_POSTFIELDS, t->request.body.data ? t->request.body.data : "");
	}
	return code ? code : curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
}

/* The list of headers; a name alone ("Expect:") keeps libcurl from adding it. */
static int set_headers(struct http_transfer *t)
{
	struct curl_slist *more = curl_slist_append(NULL, "Expect:");

	t->headers = more;
	if (more && !t->request.has_body) /* of an empty one libcurl says that it is a form */
		more = curl_slist_append(t->headers, "Content-Type:");
	for (size_t at = 0; more && at < t->request.headers.len; at += strlen(t->request.headers.data + at) + 1)
		more = curl_slist_append(t->headers, t->request.headers.data + at);
	return more && !curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) ? 0 : -1;
}

static int set_options(struct http_transfer *t)
{
	CURL *easy = t->easy;
	CURLcode bad = CURLE_OK;

#define SET(option, value) bad = bad ? bad : curl_easy_setopt(easy, option, value)
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_URL, t->request.url.data);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	/* Wait for a connection that is being made, for it may carry all of them. Without TLS it can't, and libcurl would learn
	 * that from the first response only. */
	SET(CURLOPT_PIPEWAIT, strncmp(t->request.url.data, "https:", 6) == 0 ? 1L : 0L);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
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
		    code == CURLE_UNSUPPORTED_PROTOCOL ? "this is no HTTP" : curl_easy_strerror(code));
	else
		snprintf(response->why, sizeof(response->why), "%s", words[response->failure]);
}

static void read_info(struct http_transfer *t)
{
	curl_off_t retry_after_s = 0;
	const char *type = NULL;
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
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
	if (curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to) || !to)
		return 0;
	if (!is_get)
		return refuse(t, "it redirects a request that is not to be repeated elsewhere");
	if (t->redirects_left-- == 0)
		return refuse(t, "it redirects too often");
	if (strncmp(to, "https://", 8) != 0 && (strncmp(to, "http://", 7) != 0 || strncmp(from, "https", 5) == 0))
		return refuse(t, "it redirects to what is not https");
	if (!is_same_origin(from, to)) {
		curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
		curl_slist_free_all(t->headers);
		t->headers = NULL;
		address_nets_release(&t->request.allowed);
	}
	buf_clear(&t->request.url);
	buf_adds(&t->request.url, to);
	if (t->request.url.fault)
		return refuse(t, "it redirects to a URL that is too long");
	buf_clear(&t->response.body);
	t->header_bytes = 0;
	return curl_easy_setopt(t->easy, CURLOPT_URL, t->request.url.data) || set_time(t) ? -1 : 1;
}

/* ---- the thread ---- */

/* Those who wait see the end; without them it is freed. t is off every list of the thread. */
static void let_go(struct http_transfer *t)
{
	struct http_transfer **at = &client.shared;
	bool is_waited_for;

	curl_easy_cleanup(t->easy); /* here, where nobody else waits for it */
	t->easy = NULL;
	pthread_mutex_lock(&client.mtx);
	while (t->is_shared && *at != t)
		at = &(*at)->next_shared;
	if (t->is_shared)
		*at = t->next_shared;
	if (t->lock_fd != -1)
		close(t->lock_fd);
	t->lock_fd = -1;
	t->is_with_thread = false;
	is_waited_for = t->waiters > 0;
	if (is_waited_for)
		eventfd_write(t->done_fd, 1); /* which nobody reads: it tells all of them */
	pthread_mutex_unlock(&client.mtx);
	if (!is_waited_for)
		transfer_free(t);
}

static void take_off(struct http_transfer *t)
{
	struct http_transfer **at = &client.active;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	curl_multi_remove_handle(client.multi, t->easy);
}

static void end(struct http_transfer *t, CURLcode code)
{
	int ret = 0;

	if (code == CURLE_OK) {
		read_info(t);
		ret = redirect(t);
		if (ret == 1) {
			curl_multi_remove_handle(client.multi, t->easy);
			if (curl_multi_add_handle(client.multi, t->easy) == CURLM_OK)
				return;
			ret = -1;
		}
		if (ret == -1 && t->response.failure == HTTP_DONE)
			t->response.failure = HTTP_NO_MEMORY;
	} else {
		t->response.failure = failure_of(t, code);
	}
	if (t->response.failure != HTTP_DONE && !t->response.why[0])
		explain(&t->response, code);
	take_off(t);
	if (t->is_shared && t->response.failure == HTTP_DONE && t->response.status >= 200 && t->response.status < 300)
		http_cache_write(client.cache_dir, client.cache_max_bytes, &t->key, &t->response);
	let_go(t);
}

static void take_incoming(void)
{
	struct http_transfer *t, *next;

	pthread_mutex_lock(&client.mtx);
	t = client.incoming;
	client.incoming = NULL;
	pthread_mutex_unlock(&client.mtx);
	for (; t; t = next) {
		next = t->next;
		t->next = client.active;
		client.active = t;
		if (curl_multi_add_handle(client.multi, t->easy) != CURLM_OK)
			end(t, CURLE_OUT_OF_MEMORY);
	}
}

static void drop_abandoned(void)
{
	struct http_transfer *t, *next, *dropped = NULL, **at = &client.active;

	pthread_mutex_lock(&client.mtx);
	for (t = client.active; t; t = next) {
		next = t->next;
		if (t->waiters || t->goes_on) {
			at = &t->next;
			continue;
		}
		*at = next;
		t->next = dropped;
		dropped = t;
	}
	pthread_mutex_unlock(&client.mtx);
	for (t = dropped; t; t = next) {
		next = t->next;
		curl_multi_remove_handle(client.multi, t->easy);
		t->response.failure = HTTP_BROKEN; /* for who joins now */
		explain(&t->response, CURLE_ABORTED_BY_CALLBACK);
		let_go(t);
	}
}

static void *run(void *unused)
{
	(void)unused;
	for (;;) {
		CURLMsg *message;
		int running, left;

		take_incoming();
		drop_abandoned();
		curl_multi_perform(client.multi, &running);
		while ((message = curl_multi_info_read(client.multi, &left))) {
			struct http_transfer *t = NULL;

			if (message->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
			end(t, message->data.result);
		}
		curl_multi_poll(client.multi, NULL, 0, IDLE_POLL_MS, NULL);
	}
	return NULL;
}

/* ---- for everybody ---- */

int http_client_check(struct cfg *cfg, struct err *err)
{
	struct address_nets nets;
	int bad = address_nets_read(&nets, &cfg->http_allow_addresses, err);

	address_nets_release(&nets);
	if (bad && err->code != ERR_NOMEM)
		cfg_complain(cfg, "/http/allow_addresses", "%s", err->msg);
	return bad;
}

static int start_thread(struct err *err)
{
	sigset_t all, before;
	pthread_t thread;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* SIGPIPE too: a write to a connection that is gone */
	error = pthread_create(&thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return err_set(err, ERR_SYS, "pthread_create: %s", strerrordesc_np(error));
	pthread_detach(thread);
	return 0;
}

/* With mtx. */
static int start(const struct cfg *cfg, struct err *err)
{
	if (client.owner == getpid())
		return 0;
	DIE_UNLESS(client.owner == 0); /* nobody forks who has threads */
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
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		client.multi = curl_multi_init();
	if (!client.multi) {
		err_set(err, ERR_NOMEM, "http");
		goto fail;
	}
	curl_multi_setopt(client.multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)cfg->http_connections_max);
	curl_multi_setopt(client.multi, CURLMOPT_MAXCONNECTS, (long)IDLE_MAX);
	if (start_thread(err))
		goto fail;
	client.owner = getpid();
	return 0;
fail:
	if (client.multi)
		curl_multi_cleanup(client.multi);
	client.multi = NULL;
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
	buf_init(&t->response.body, body_max_bytes);
	t->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_lock(&client.mtx);
	ret = start(cfg, err);
	pthread_mutex_unlock(&client.mtx);
	t->redirects_left = (int)client.redirects_max;
	if (ret == 0)
		ret = address_nets_read(&t->allowed, &cfg->http_allow_addresses, err);
	if (ret == 0 && t->done_fd == -1)
		ret = err_sys(err, "eventfd");
	if (ret == 0) {
		t->easy = curl_easy_init();
		if (!t->easy || set_options(t))
			ret = err_set(err, ERR_NOMEM, "http");
	}
	if (ret == 0)
		return t;
	transfer_free(t);
	return NULL;
}

static void hand_over(struct http_transfer *t)
{
	pthread_mutex_lock(&client.mtx);
	t->is_with_thread = true;
	t->next = client.incoming;
	client.incoming = t;
	if (t->is_shared) {
		t->next_shared = client.shared;
		client.shared = t;
	}
	pthread_mutex_unlock(&client.mtx);
	curl_multi_wakeup(client.multi);
}

struct http_transfer *http_client_begin(
    const struct cfg *cfg, struct http_request *request, uint64_t deadline_ms, size_t body_max_bytes, struct err *err)
{
	struct http_transfer *t = transfer_new(cfg, request, deadline_ms, body_max_bytes, err);

	if (t)
		hand_over(t);
	return t;
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
	hand_over(t);
	return t;
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

int http_transfer_fd(const struct http_transfer *t)
{
	return t->done_fd;
}

const struct http_response *http_transfer_response(const struct http_transfer *t)
{
	pthread_mutex_lock(&client.mtx); /* after what the thread wrote */
	pthread_mutex_unlock(&client.mtx);
	return &t->response;
}

static void give_back(struct http_transfer *t, bool goes_on)
{
	bool is_last, is_with_thread;

	pthread_mutex_lock(&client.mtx);
	is_last = --t->waiters == 0;
	is_with_thread = t->is_with_thread;
	t->goes_on = t->goes_on || goes_on;
	pthread_mutex_unlock(&client.mtx);
	if (is_last && is_with_thread)
		curl_multi_wakeup(client.multi);
	else if (is_last)
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
