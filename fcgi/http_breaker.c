#include "config.h"

#include <pthread.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/http_breaker.h"
#include "common/banned.h"

struct http_breaker {
	struct http_breaker *next; /* all by mtx */
	char *host;
	unsigned shares;
	int64_t failures, failures_max;
	uint64_t open_for_ms, open_until_ms; /* until: 0 while it is closed */
	bool is_probed;
};

static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
static struct http_breaker *breakers;

static struct http_breaker *breaker_new(const struct cfg *cfg, const char *host)
{
	struct http_breaker *b = mem_alloc(1, sizeof(*b));

	if (b)
		b->host = mem_dup(host, strlen(host));
	if (!b || !b->host) {
		mem_free(b);
		return NULL;
	}
	b->failures_max = cfg->http_breaker_failures;
	b->open_for_ms = (uint64_t)cfg->http_breaker_open_s * 1000;
	b->next = breakers;
	breakers = b;
	return b;
}

struct http_breaker *http_breaker_get(const struct cfg *cfg, const char *host)
{
	struct http_breaker *b;

	pthread_mutex_lock(&mtx);
	b = breakers;
	while (b && strcasecmp(b->host, host) != 0)
		b = b->next;
	if (!b)
		b = breaker_new(cfg, host);
	if (b)
		b->shares++;
	pthread_mutex_unlock(&mtx);
	return b;
}

void http_breaker_release(struct http_breaker **bp)
{
	struct http_breaker *b = *bp, **at = &breakers;

	if (!b)
		return;
	*bp = NULL;
	pthread_mutex_lock(&mtx);
	if (--b->shares == 0) {
		while (*at != b)
			at = &(*at)->next;
		*at = b->next;
		mem_free(b->host);
		mem_free(b);
	}
	pthread_mutex_unlock(&mtx);
}

bool http_breaker_enter(struct http_breaker *b, uint64_t *wait_ms)
{
	uint64_t now = now_ms();
	bool may = true;

	pthread_mutex_lock(&mtx);
	if (b->open_until_ms) {
		may = now >= b->open_until_ms && !b->is_probed;
		*wait_ms = now < b->open_until_ms ? b->open_until_ms - now : 1000;
		b->is_probed = b->is_probed || may;
	}
	pthread_mutex_unlock(&mtx);
	return may;
}

void http_breaker_leave(struct http_breaker *b, enum http_outcome outcome)
{
	int64_t failures;
	bool was_open, opens;

	pthread_mutex_lock(&mtx);
	was_open = b->open_until_ms != 0;
	if (outcome == HTTP_OUTCOME_GOOD) {
		b->failures = 0;
		b->open_until_ms = 0;
	} else if (outcome == HTTP_OUTCOME_BAD) {
		b->failures++;
	}
	/* Who was let in before it opened changes nothing while it is open, but by success. */
	opens = outcome == HTTP_OUTCOME_BAD && b->failures_max && b->failures >= b->failures_max &&
		(!was_open || b->is_probed);
	if (opens)
		b->open_until_ms = now_ms() + b->open_for_ms;
	b->is_probed = false;
	failures = b->failures;
	pthread_mutex_unlock(&mtx);
	if (opens)
		LOG(WARN, "http.breaker_open", "host=%s failures=%lld for_ms=%llu", b->host, (long long)failures,
		    (unsigned long long)b->open_for_ms);
	else if (was_open && outcome == HTTP_OUTCOME_GOOD)
		LOG(INFO, "http.breaker_closed", "host=%s", b->host);
}
