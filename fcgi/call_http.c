/* A call whose client waits on an exchange: its answer is one JSON object until the first notification, or
 * stream_after_ms of silence, hands the connection to the broker (lazy streaming). */
#include "config.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "fcgi/call_http.h"
#include "common/banned.h"

static bool http_is_cancelled(struct call *call)
{
	struct exchange *x = call_http(call)->x;

	return x->lcall && link_call_id_cancelled(x->w->link, x->lcall, slice_str(call->priv->id));
}

static int http_send(struct call *call, struct slice event, struct err *err)
{
	struct exchange *x = call_http(call)->x;
	struct err refused;

	if (x->phase == EXCHANGE_OPEN && exchange_stream(x, &refused))
		return 1; /* a client that gets one JSON object does without notifications */
	return link_append(x->w->link, x->stream, event, false, err);
}

static int http_close(struct call *call, struct err *err)
{
	struct exchange *x = call_http(call)->x;
	struct err refused;

	if (!exchange_may_poll(x) || x->phase == EXCHANGE_ACCEPTED)
		return 0;
	if (x->phase == EXCHANGE_OPEN && exchange_stream(x, &refused))
		return 0; /* it gets one JSON object */
	return exchange_let_go(x, err);
}

/* Lets go of a connection that the client has held for long enough. Returns when to look again; UINT64_MAX: never. */
static uint64_t close_when_due(struct call_http *h, uint64_t now)
{
	struct exchange *x = h->x;
	uint64_t after_ms = (uint64_t)x->w->cfg.stream_poll_after_ms;
	struct err ignored; /* then it is kept for another turn */

	if (after_ms == 0 || x->phase != EXCHANGE_STREAM || !exchange_may_poll(x))
		return UINT64_MAX;
	if (h->close_at_ms && now >= h->close_at_ms) {
		exchange_let_go(x, &ignored);
		h->close_at_ms = 0;
	}
	if (h->close_at_ms == 0)
		h->close_at_ms = now + after_ms;
	return h->close_at_ms;
}

/* Adds what we watch ourselves behind the provider's descriptors; returns how many there are now. */
static nfds_t add_own(struct call *call, struct pollfd *fds, nfds_t count)
{
	struct exchange *x = call_http(call)->x;

	if (x->lcall)
		fds[count++] = (struct pollfd){.fd = x->lcall->cancel_fd, .events = POLLIN};
	/* Before the handoff a client that leaves shows here. */
	if (x->era == ERA_MODERN && x->phase == EXCHANGE_OPEN) {
		enum link_kind kind;
		uint16_t request_id;
		int fd = req_fd(x->req, &kind, &request_id);

		fds[count++] = (struct pollfd){.fd = fd, .events = kind == LINK_KIND_FCGI ? POLLRDHUP : 0};
	}
	return count;
}

static int http_poll(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	struct call_http *h = call_http(call);
	struct exchange *x = h->x;
	uint64_t end_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
	struct pollfd all[CALL_OPS_POLL_MAX + 2];

	for (;;) {
		bool is_early = x->phase == EXCHANGE_OPEN && !h->is_late;
		uint64_t now = now_ms(), close_at_ms = close_when_due(h, now), until = end_ms;
		nfds_t total;
		int n, ready = 0;

		if (http_is_cancelled(call))
			return err_set(err, ERR_CANCELLED, "cancelled by the client");
		if (now >= h->ends_at_ms)
			return err_set(err, ERR_EXPIRED, "it took longer than call_timeout_s (%lld s)",
			    (long long)x->w->cfg.call_timeout_s);
		if (h->ends_at_ms < until)
			until = h->ends_at_ms;
		if (is_early && h->stream_at_ms < until)
			until = h->stream_at_ms;
		if (close_at_ms < until)
			until = close_at_ms;
		if (count)
			memcpy(all, fds, count * sizeof(*fds));
		total = add_own(call, all, count);
		n = poll(all, total, ms_until(until, now));
		if (n < 0 && errno != EINTR)
			return err_sys(err, "poll");
		if (n > 0) {
			for (nfds_t i = 0; i < count; i++) {
				fds[i].revents = all[i].revents;
				ready += all[i].revents != 0;
			}
			for (nfds_t i = count; i < total; i++) {
				if (x->lcall && all[i].fd == x->lcall->cancel_fd) {
					eventfd_t ignored;

					/* another request of the batch? */
					if (all[i].revents && !http_is_cancelled(call))
						eventfd_read(all[i].fd, &ignored);
				} else if (all[i].revents) {
					return err_set(err, ERR_CANCELLED, "the client left");
				}
			}
			if (ready)
				return ready;
		}
		now = now_ms();
		if (is_early && now >= h->stream_at_ms) {
			struct err refused = {0};

			h->is_late = true;
			exchange_stream(x, &refused); /* refused: it stays one JSON object, and was logged */
			exchange_set_aside(x);
		}
		if (now >= end_ms) {
			for (nfds_t i = 0; i < count; i++)
				fds[i].revents = 0;
			return 0;
		}
	}
}

static const struct call_ops ops = {
    .is_cancelled = http_is_cancelled,
    .send = http_send,
    .close = http_close,
    .poll = http_poll,
};

void call_http_init(struct call_http *h, struct exchange *x, const struct rpc *rpc)
{
	*h = (struct call_http){.x = x,
	    .stream_at_ms = x->started_ms + (uint64_t)x->w->cfg.stream_after_ms,
	    .ends_at_ms = x->started_ms + (uint64_t)x->w->cfg.call_timeout_s * 1000};
	call_init(&h->call, &h->priv, &ops, x->w, rpc);
	h->call.era = x->era;
	h->call.revision = x->revision;
	h->call.principal = x->principal;
	h->call.owner = x->owner;
	h->call.session = x->session;
}
