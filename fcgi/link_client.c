/* The requests of the worker: one function of link_client.h each. */
#include "config.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/mem.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

/* --- sessions --- */

int link_session_put(struct link *l, struct slice session, const char *principal, uint64_t version_expected,
    unsigned flags, struct slice blob, uint64_t *version, struct err *err)
{
	struct slice who = slice_str(principal), in;
	uint64_t now_version;
	struct request req;
	bool bad = false;
	int ret;

	request_init(&req, l, LINK_SESSION_PUT, 21 + who.len + blob.len);
	req.key = session;
	link_put_u64(&req.body, version_expected);
	link_put_u32(&req.body, (uint32_t)l->cfg->session_idle_s);
	link_put_u8(&req.body, (uint8_t)flags);
	link_put_bytes(&req.body, who);
	link_put_bytes(&req.body, blob);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		now_version = link_get_u64(&in, &bad);
		if (bad)
			ret = err_set(err, ERR_LINK, "malformed answer to SESSION_PUT");
		else if (version)
			*version = now_version;
	}
	request_release(&req);
	return ret;
}

int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err)
{
	struct request req;
	int ret;

	question_init(&req, l, LINK_SESSION_DEL, session, principal, 0);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	request_release(&req);
	return ret;
}

/* --- calls --- */

/* is_known: the broker will know it, and may cancel it. */
static struct call_entry *entry_new(const struct link *l, bool is_known, size_t ids_count, struct err *err)
{
	struct call_entry *entry;

	if (ids_count > UINT16_MAX) {
		err_set(err, ERR_TOO_BIG, "%zu requests in one call", ids_count);
		return NULL;
	}
	entry = mem_alloc(1, sizeof(*entry));
	if (!entry) {
		err_set(err, ERR_NOMEM, "call");
		return NULL;
	}
	entry->ids_count = ids_count;
	buf_init(&entry->call.blob, (size_t)l->cfg->session_blob_max_bytes);
	buf_init(&entry->cancelled_ids, (size_t)l->cfg->body_max_bytes * 2); /* those ids came in one body */
	entry->call.cancel_fd = -1;
	if (is_known) {
		entry->call.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (entry->call.cancel_fd == -1) {
			err_sys(err, "make an eventfd");
			mem_free(entry);
			return NULL;
		}
	}
	return entry;
}

void link_call_end(struct link *l, struct link_call **callp)
{
	struct call_entry *entry = (struct call_entry *)*callp, **at;

	if (!entry)
		return;
	*callp = NULL;
	if (entry->call.number) {
		pthread_mutex_lock(&l->mtx);
		for (at = &l->calls[entry->call.number % TABLE_SIZE]; *at != entry; at = &(*at)->next)
			;
		*at = entry->next;
		pthread_mutex_unlock(&l->mtx);
	}
	if (entry->call.cancel_fd != -1)
		close(entry->call.cancel_fd);
	buf_release(&entry->call.blob);
	buf_release(&entry->cancelled_ids);
	if (entry->call.number && !entry->is_finished) {
		request_init(&entry->end, l, LINK_CALL_END, 0);
		entry->end.header.corr = entry->call.number;
		entry->end.owner = entry;
		if (link_submit(l, &entry->end, NEED_UP, entry->call.producer, NULL, NULL) == 0)
			return; /* the link thread frees it */
		request_release(&entry->end);
	}
	mem_free(entry);
}

/* After a call's first message failed: a NACK says that it was not begun, anything else leaves that open. */
static void entry_give_up(struct link *l, struct call_entry *entry, const struct request *req)
{
	struct link_call *call = &entry->call;

	if (req->is_answered && req->answer.type == LINK_NACK)
		entry->is_finished = true;
	link_call_end(l, &call);
}

static size_t wills_len(const struct link_will *wills, size_t count)
{
	size_t len = 2;

	for (size_t i = 0; i < count; i++)
		len += 8 + wills[i].id.len + wills[i].event.len;
	return len;
}

static void put_wills(struct buf *body, const struct link_will *wills, size_t count)
{
	link_put_u16(body, (uint16_t)count);
	for (size_t i = 0; i < count; i++) {
		link_put_bytes(body, wills[i].id);
		link_put_bytes(body, wills[i].event);
	}
}

int link_call_begin(struct link *l, struct slice session, const char *principal, unsigned flags,
    const struct link_will *wills, size_t wills_count, struct link_call **call, struct err *err)
{
	struct call_entry *entry;
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	*call = NULL;
	entry = entry_new(l, wills_count > 0, wills_count, err);
	if (!entry)
		return -1;
	question_init(&req, l, LINK_CALL_BEGIN, session, principal, 1 + wills_len(wills, wills_count));
	link_put_u8(&req.body, (uint8_t)flags);
	put_wills(&req.body, wills, wills_count);
	ret = link_ask(l, &req, NEED_ANY, 0, wills_count ? entry : NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		entry->call.session_stream = req.answer.stream;
		entry->call.session_version = link_get_u64(&in, &bad);
		buf_add_slice(&entry->call.blob, link_get_bytes(&in, &bad));
		ret =
		    bad ? err_set(err, ERR_LINK, "malformed answer to CALL_BEGIN") : buf_check(&entry->call.blob, err);
	}
	if (ret)
		entry_give_up(l, entry, &req);
	else
		*call = &entry->call;
	request_release(&req);
	return ret;
}

int link_cancel(struct link *l, struct slice session, const char *principal, struct slice id, struct err *err)
{
	struct request req;
	int ret;

	question_init(&req, l, LINK_CANCEL, session, principal, 4 + id.len);
	link_put_bytes(&req.body, id);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	request_release(&req);
	return ret;
}

bool link_call_id_cancelled(struct link *l, struct link_call *call, struct slice id)
{
	struct call_entry *entry = (struct call_entry *)call;
	struct slice rest;
	bool found = false;

	if (atomic_load(&call->cancelled))
		return true;
	pthread_mutex_lock(&l->mtx);
	rest = buf_slice(&entry->cancelled_ids);
	while (!found && rest.len) { /* a JSON text as the worker writes it holds no newline */
		size_t len = (size_t)((const char *)memchr(rest.p, '\n', rest.len) - rest.p);

		found = slice_eq((struct slice){rest.p, len}, id);
		rest.p += len + 1;
		rest.len -= len + 1;
	}
	pthread_mutex_unlock(&l->mtx);
	return found;
}

/* --- streams --- */

static void entry_streams(struct link *l, struct call_entry *entry)
{
	pthread_mutex_lock(&l->mtx);
	entry->has_stream = true;
	if (l->state != LINK_UP || l->producer != entry->call.producer)
		link_entry_cancel(entry); /* it went down since the answer came */
	pthread_mutex_unlock(&l->mtx);
}

int link_open_stream(struct link *l, struct slice session, unsigned flags, const struct link_will *wills,
    size_t wills_count, struct link_call **callp, uint64_t *stream, struct err *err)
{
	struct link_call *call = *callp;
	struct call_entry *entry = NULL;
	struct request req;
	int ret;

	if (!call) {
		entry = entry_new(l, true, wills_count, err);
		if (!entry)
			return -1;
	}
	request_init(&req, l, LINK_OPEN_STREAM, 1 + wills_len(wills, wills_count));
	req.header.corr = call ? call->number : 0;
	req.key = session;
	link_put_u8(&req.body, (uint8_t)flags);
	put_wills(&req.body, wills, wills_count);
	ret = link_ask(l, &req, call ? NEED_UP : NEED_ANY, call ? call->producer : 0, entry, err);
	if (!ret) {
		*stream = req.answer.stream;
		if (entry)
			*callp = &entry->call;
		entry_streams(l, (struct call_entry *)*callp);
	} else if (entry) {
		entry_give_up(l, entry, &req);
	}
	request_release(&req);
	return ret;
}

int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err)
{
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	question_init(&req, l, LINK_ATTACH, session, principal, 4 + last_event_id.len);
	link_put_bytes(&req.body, last_event_id);
	ret = link_ask(l, &req, NEED_ANY, 0, NULL, err);
	if (!ret) {
		in = answer_slice(&req);
		*stream = req.answer.stream;
		*cursor = link_get_u64(&in, &bad);
		if (bad)
			ret = err_set(err, ERR_LINK, "malformed answer to ATTACH");
	}
	request_release(&req);
	return ret;
}

static int send_fd(int ctl, const struct buf *packet, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = packet->data, .iov_len = packet->len};
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(ctl, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -1 : 0;
}

int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, struct slice head, struct err *err)
{
	struct link_header h = {.version = LINK_VERSION, .type = LINK_ADOPT, .stream = stream};
	struct buf packet;
	int ret;

	buf_init(&packet, LINK_ADOPT_MAX);
	h.body_len = (uint32_t)(1 + 2 + 8 + 4 + 4 + head.len);
	if (link_lock_up(l, false, 0, err))
		return -1;
	h.producer = l->producer;
	h.seq = ++l->seq;
	link_put_header(&packet, &h);
	link_put_u8(&packet, (uint8_t)kind);
	link_put_u16(&packet, request_id);
	link_put_u64(&packet, cursor);
	link_put_u32(&packet, heartbeat_ms);
	link_put_bytes(&packet, head);
	ret = buf_check(&packet, err);
	if (!ret && send_fd(l->ctl, &packet, fd)) { /* under mtx, so that ctl is not closed meanwhile */
		ret = err_sys(err, "send ADOPT");
		if (err)
			err->code =
			    err->sys == EPIPE || err->sys == ECONNRESET || err->sys == ENOTCONN ? ERR_BROKER : ERR_BUSY;
	}
	pthread_mutex_unlock(&l->mtx);
	buf_release(&packet);
	return ret;
}

static void append_init(struct request *req, const struct link *l, uint64_t stream, struct slice event)
{
	request_init(req, l, LINK_APPEND, 4 + event.len);
	req->header.stream = stream;
	req->header.count = 1;
	link_put_bytes(&req->body, event);
}

static int append_and_go(struct link *l, uint64_t stream, struct slice event, struct err *err)
{
	struct request *req = mem_alloc(1, sizeof(*req));

	if (!req)
		return err_set(err, ERR_NOMEM, "APPEND");
	append_init(req, l, stream, event);
	req->owner = req;
	if (buf_check(&req->body, err) == 0 && link_submit(l, req, NEED_CREDIT, 0, NULL, err) == 0)
		return 0; /* the link thread frees it */
	request_release(req);
	mem_free(req);
	return -1;
}

int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err)
{
	struct request req;
	int ret;

	if (!durable)
		return append_and_go(l, stream, event, err);
	append_init(&req, l, stream, event);
	req.header.flags = LINK_DURABLE;
	ret = link_ask(l, &req, NEED_CREDIT, 0, NULL, err);
	request_release(&req);
	return ret;
}

int link_finish(struct link *l, struct link_call *call, uint64_t stream, const struct slice *events,
    size_t events_count, struct err *err)
{
	struct call_entry *entry = (struct call_entry *)call;
	struct request req;
	size_t len = 0;
	int ret;

	for (size_t i = 0; i < events_count; i++)
		len += 4 + events[i].len;
	request_init(&req, l, LINK_FINISH, len);
	req.header.corr = call->number;
	req.header.stream = stream;
	req.header.count = (uint32_t)events_count;
	req.header.flags = LINK_DURABLE;
	for (size_t i = 0; i < events_count; i++)
		link_put_bytes(&req.body, events[i]);
	ret = link_ask(l, &req, NEED_CREDIT, call->producer, NULL, err);
	entry->is_finished = ret == 0;
	request_release(&req);
	return ret;
}
