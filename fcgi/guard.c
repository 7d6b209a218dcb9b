#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/guard.h"
#include "common/banned.h"

/* Takes host and port of "host[:port]" apart. false: not of that form. Brackets of an IPv6 address stay in host. */
static bool split_authority(struct slice s, struct slice *host, struct slice *port)
{
	size_t host_len;

	if (s.len > 0 && s.p[0] == '[') {
		const char *end = memchr(s.p, ']', s.len);

		if (!end)
			return false;
		host_len = (size_t)(end - s.p) + 1;
	} else {
		const char *colon = s.len ? memchr(s.p, ':', s.len) : NULL;

		host_len = colon ? (size_t)(colon - s.p) : s.len;
	}
	*host = (struct slice){s.p, host_len};
	*port = (struct slice){s.p + host_len, s.len - host_len};
	if (host_len == 0)
		return false;
	for (size_t i = 0; i < host_len; i++) {
		if (!isalnum((unsigned char)s.p[i]) && !strchr("-._[]:", s.p[i]))
			return false;
	}
	if (port->len == 0)
		return true;
	if (port->len < 2 || port->len > 6 || port->p[0] != ':')
		return false;
	port->p++;
	port->len--;
	for (size_t i = 0; i < port->len; i++) {
		if (!isdigit((unsigned char)port->p[i]))
			return false;
	}
	return true;
}

static bool same_nocase(struct slice a, const char *b)
{
	return a.len == strlen(b) && strncasecmp(a.p, b, a.len) == 0;
}

static bool is_loopback(struct slice host)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr addr;

	if (same_nocase(host, "localhost") || same_nocase(host, "[::1]"))
		return true;
	if (host.len >= sizeof(text))
		return false;
	memcpy(text, host.p, host.len);
	text[host.len] = '\0';
	return inet_pton(AF_INET, text, &addr) == 1 && (ntohl(addr.s_addr) >> 24) == 127;
}

/* "scheme://authority" and nothing behind it */
static bool split_origin(struct slice s, struct slice *scheme, struct slice *host, struct slice *port)
{
	const struct slice http = SLICE("http"), https = SLICE("https");

	for (int i = 0; i < 2; i++) {
		struct slice want = i ? https : http;

		if (s.len > want.len + 3 && strncasecmp(s.p, want.p, want.len) == 0 &&
		    memcmp(s.p + want.len, "://", 3) == 0) {
			*scheme = want;
			s.p += want.len + 3;
			s.len -= want.len + 3;
			return split_authority(s, host, port);
		}
	}
	return false;
}

static bool is_default_port(struct slice scheme, struct slice port)
{
	return port.len == 0 || slice_is(port, scheme.len == 4 ? "80" : "443");
}

int guard_split_url(const char *url, char **host, char **origin, struct err *err)
{
	struct slice scheme, h, port, rest = slice_str(url);
	char text[512];
	int len;

	*host = *origin = NULL;
	for (size_t slashes = 0, i = 0; i < rest.len; i++) { /* scheme://authority ends before the third slash */
		if (rest.p[i] == '/' && ++slashes == 3)
			rest.len = i;
	}
	if (!split_origin(rest, &scheme, &h, &port) || h.len > 255)
		return err_set(err, ERR_CONFIG, "\"%.100s\" is not an http or https URL", url);
	len = snprintf(text, sizeof(text), "%s://%.*s%s%.*s", scheme.p, (int)h.len, h.p,
	    is_default_port(scheme, port) ? "" : ":", is_default_port(scheme, port) ? 0 : (int)port.len, port.p);
	for (int i = 0; i < len; i++)
		text[i] = (char)tolower((unsigned char)text[i]);
	*origin = mem_dup(text, (size_t)len);
	*host = mem_dup(text + scheme.len + 3, h.len);
	if (!*origin || !*host) {
		mem_free(*origin);
		mem_free(*host);
		*origin = *host = NULL;
		return err_set(err, ERR_NOMEM, "no memory for an origin");
	}
	return 0;
}

/* One line per cause and second: a scanner must not fill the disk. */
static void log_refused(const char *what, const char *value, const char *hint)
{
	static struct log_rate rate;
	char quoted[200];
	unsigned dropped;

	if (!log_rate_ok(&rate, 10, 1000, &dropped))
		return;
	LOG(WARN, "request.refused", "status=403 %s=\"%s\" hint=\"%s\" dropped=%u", what,
	    log_quote(quoted, sizeof(quoted), slice_str(value)), hint, dropped);
}

static bool host_is_ours(const struct worker *w, struct slice host)
{
	return is_loopback(host) || (w->public_host[0] && same_nocase(host, w->public_host));
}

static bool origin_is_ours(const struct worker *w, const char *origin)
{
	struct slice scheme, host, port;
	char canonical[512];
	int len;

	if (!split_origin(slice_str(origin), &scheme, &host, &port))
		return false;
	if (is_loopback(host))
		return true;
	len = snprintf(canonical, sizeof(canonical), "%s://%.*s%s%.*s", scheme.p, (int)host.len, host.p,
	    is_default_port(scheme, port) ? "" : ":", is_default_port(scheme, port) ? 0 : (int)port.len, port.p);
	if (len < 0 || (size_t)len >= sizeof(canonical))
		return false;
	if (w->public_origin[0] && strcasecmp(canonical, w->public_origin) == 0)
		return true;
	for (size_t i = 0; i < w->cfg.cors_origins.count; i++) {
		if (strcasecmp(canonical, w->cfg.cors_origins.items[i]) == 0)
			return true;
	}
	return false;
}

int guard_origin(struct exchange *x, struct err *err)
{
	const char *host = req_env(x->req, "HTTP_HOST"), *origin = req_env(x->req, "HTTP_ORIGIN");
	struct slice name, port;

	/* HTTP/1.0 has no Host; then there is no browser either, and nothing to rebind. */
	if (host && x->route.kind != ROUTE_HEALTH &&
	    !(split_authority(slice_str(host), &name, &port) && host_is_ours(x->w, name))) {
		log_refused("host", host,
		    x->w->public_host[0] ? "only the host of server_public_url and loopback are served"
					 : "set server_public_url to serve another host than loopback");
		return err_set(err, ERR_FORBIDDEN, "Host is not served here");
	}
	if (!origin)
		return 0;
	if (!origin_is_ours(x->w, origin)) {
		log_refused("origin", origin, "list it in cors_origins, or set server_public_url");
		return err_set(err, ERR_FORBIDDEN, "Origin is not allowed here");
	}
	x->origin = origin;
	return 0;
}

static void log_limited(const struct exchange *x, enum rate_limit limit, unsigned wait_s)
{
	static const char *const settings[RATE__COUNT] = {"rate_per_key", "rate_per_address", "rate_completions"};
	static struct log_rate rate;
	char address[INET6_ADDRSTRLEN] = "";
	unsigned dropped;

	if (!log_rate_ok(&rate, 10, 10000, &dropped))
		return;
	inet_ntop(AF_INET6, x->address.bytes, address, sizeof(address));
	LOG(WARN, "request.limited", "limit=%s principal=%s address=%s wait_s=%u dropped=%u", settings[limit],
	    x->principal, address, wait_s, dropped);
}

int guard_key(struct exchange *x, const char **challenge, struct err *err)
{
	const char *key = req_env(x->req, "HTTP_X_API_KEY"), *auth = req_env(x->req, "HTTP_AUTHORIZATION");
	const char *principal;

	x->principal = "";
	*challenge = "Bearer";
	if (x->w->keys.count == 0)
		return 0;
	if (key && !*key)
		key = NULL; /* some web servers pass headers without a value, some don't */
	if (!key && auth && strncasecmp(auth, "Bearer", 6) == 0 && (auth[6] == ' ' || auth[6] == '\0')) {
		key = auth + 6 + strspn(auth + 6, " ");
		if (!*key || strpbrk(key, " ,")) {
			*challenge = "Bearer error=\"invalid_request\"";
			return err_set(err, ERR_INVALID, "Authorization: Bearer needs one token");
		}
	}
	if (!key)
		return err_set(err, ERR_UNAUTHORIZED, "an API key is needed, in X-API-Key or as Bearer token");
	principal = keys_find(&x->w->keys, slice_str(key));
	if (!principal) {
		*challenge = "Bearer error=\"invalid_token\"";
		return err_set(err, ERR_UNAUTHORIZED, "this API key is not known");
	}
	x->principal = principal;
	return 0;
}

int guard_client(struct exchange *x, const char **challenge, unsigned *wait_s, struct err *err)
{
	const struct worker *w = x->w;
	int ret = 0;

	*wait_s = 0;
	*challenge = NULL;
	x->principal = "";
	x->limit = RATE_PER_ADDRESS;
	x->who = address_of_client(x->req, &w->proxies, &x->address);
	/* Whoever tried too many keys is not told of the next one whether it is right. */
	if (w->keys.count)
		*wait_s = rate_look(w->rate, x->limit, x->who, x->started_ms);
	if (*wait_s == 0) {
		ret = guard_key(x, challenge, err);
		if (ret == 0 && w->keys.count) {
			x->who = slice_str(x->principal);
			x->limit = RATE_PER_KEY;
		}
		*wait_s = rate_take(w->rate, x->limit, x->who, x->started_ms);
	}
	if (w->keys.count)
		x->owner = slice_str(x->principal);
	else if (!address_is_loopback(&x->address)) /* which is whoever is behind a proxy on this machine */
		x->owner = address_text(&x->address, x->who, x->owner_text);
	if (*wait_s == 0)
		return ret;
	log_limited(x, x->limit, *wait_s);
	return err_set(err, ERR_RATE, "try again in %u s", *wait_s);
}

int guard_message(const struct exchange *x, struct slice method, bool is_first, struct err *err)
{
	enum rate_limit limit = x->limit;
	unsigned wait_s;

	if (!x->w->rate)
		return 0;
	wait_s = is_first ? 0 : rate_take(x->w->rate, limit, x->who, now_ms());
	if (wait_s == 0 && slice_is(method, "completion/complete")) {
		limit = RATE_COMPLETIONS;
		wait_s = rate_take(x->w->rate, limit, x->who, now_ms());
	}
	if (wait_s == 0)
		return 0;
	log_limited(x, limit, wait_s);
	return err_set(err, ERR_RATE, "try again in %u s", wait_s);
}
