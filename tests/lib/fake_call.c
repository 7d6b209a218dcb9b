#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/jx.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static bool is_cancelled(struct call *call)
{
	struct pollfd fd = {.fd = ((struct fake_call *)call)->cancel_fd, .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static int keep_event(struct call *call, struct slice event, struct err *err)
{
	struct fake_call *f = (struct fake_call *)call;
	json_object *message = jx_parse(event, 64, err), *params = jx_get(message, "params");

	if (!message) {
		assert_int_equal(err->code, ERR_NOMEM);
		return -1;
	}
	json_object_object_del(params, "progressToken");
	buf_addf(&f->notified, "%s ", jx_get_str(message, "method").p);
	jx_write(&f->notified, params);
	buf_adds(&f->notified, "\n");
	json_object_put(message);
	if (f->cancel_on_notify)
		fake_call_cancel(f);
	return 0;
}

static int poll_too(struct call *call, struct pollfd *fds, nfds_t count, int timeout_ms, struct err *err)
{
	struct fake_call *f = (struct fake_call *)call;
	struct pollfd all[CALL_OPS_POLL_MAX + 1];
	int ready;

	memcpy(all, fds, count * sizeof(*fds));
	all[count] = (struct pollfd){.fd = f->cancel_fd, .events = POLLIN};
	do
		ready = poll(all, count + 1, timeout_ms);
	while (ready == -1 && errno == EINTR);
	if (all[count].revents)
		return err_set(err, ERR_CANCELLED, "cancelled");
	memcpy(fds, all, count * sizeof(*fds));
	return ready;
}

static const struct call_ops ops = {.is_cancelled = is_cancelled, .send = keep_event, .poll = poll_too};

void fake_call_init(struct fake_call *f, const struct cfg *cfg, enum era era)
{
	int pair[2];

	*f = (struct fake_call){
	    .call = {.cfg = cfg, .era = era, .principal = "", .session = "", .log_level = MCP_LEVEL_DEBUG},
	    .priv = {.ops = &ops, .id = "1"},
	};
	f->call.priv = &f->priv;
	f->call.progress_token = json_object_new_int(1);
	f->call.revision = era == ERA_MODERN ? REV_2026_07 : REV_2025_11;
	if (pipe2(pair, O_CLOEXEC) == -1)
		fail_msg("no pipe");
	f->cancel_fd = pair[0];
	f->cancel_writer = pair[1];
	buf_init(&f->notified, 1 << 20);
}

void fake_call_cancel(struct fake_call *f)
{
	assert_int_equal(write(f->cancel_writer, "x", 1), 1);
}

void fake_call_release(struct fake_call *f)
{
	close(f->cancel_fd);
	close(f->cancel_writer);
	buf_release(&f->notified);
	json_object_put(f->call.progress_token);
	call_release(&f->call);
}
