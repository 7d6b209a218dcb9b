/* The requests of the worker that begin no call. */
#include "config.h"

#include <sys/socket.h>

#include "common/mem.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

/* An answer that is a number. n may be NULL. */
static int answer_number(struct request *req, uint64_t *n, struct err *err)
{
	struct slice in = request_answer(req);
	bool bad = false;
	uint64_t number = link_get_u64(&in, &bad);

	if (bad)
		return err_set(err, ERR_LINK, "malformed answer to %s", link_type_name(req->header.type));
	if (n)
		*n = number;
	return 0;
}

/* --- sessions --- */

int link_session_put(struct link *l, struct slice session, const char *principal, struct slice owner,
    uint64_t version_expected, unsigned flags, struct slice blob, uint64_t *version, struct err *err)
{
	struct slice who = slice_str(principal);
	struct request req;
	int ret;

	request_init(&req, l, LINK_SESSION_PUT, 25 + who.len + blob.len + owner.len);
	req.key = session;
	link_put_u64(&req.body, version_expected);
	link_put_u32(&req.body, (uint32_t)l->cfg->session_idle_s);
	link_put_u8(&req.body, (uint8_t)flags);
	link_put_bytes(&req.body, who);
	link_put_bytes(&req.body, blob);
	link_put_bytes(&req.body, owner);
	ret = request_ask(l, &req, NEED_ANY, NULL, err);
	if (!ret)
		ret = answer_number(&req, version, err);
	request_release(&req);
	return ret;
}

int link_session_del(struct link *l, struct slice session, const char *principal, struct err *err)
{
	struct request req;

	question_init(&req, l, LINK_SESSION_DEL, session, principal, 0);
	return request_ask_and_release(l, &req, NEED_ANY, err);
}

/* --- streams --- */

int link_attach(struct link *l, struct slice session, const char *principal, struct slice last_event_id,
    uint64_t *stream, uint64_t *cursor, struct err *err)
{
	struct request req;
	struct slice in;
	bool bad = false;
	int ret;

	question_init(&req, l, LINK_ATTACH, session, principal, 4 + last_event_id.len);
	link_put_bytes(&req.body, last_event_id);
	ret = request_ask(l, &req, NEED_ANY, NULL, err);
	if (!ret) {
		in = request_answer(&req);
		*stream = req.answer.stream;
		*cursor = link_get_u64(&in, &bad);
		if (bad)
			ret = err_set(err, ERR_LINK, "malformed answer to ATTACH");
	}
	request_release(&req);
	return ret;
}

int link_adopt(struct link *l, int fd, enum link_kind kind, uint16_t request_id, uint64_t stream, uint64_t cursor,
    uint32_t heartbeat_ms, uint32_t retry_ms, struct slice head, struct err *err)
{
	struct link_header h = {.version = LINK_VERSION, .type = LINK_ADOPT, .stream = stream};
	struct buf packet;
	int ret;

	buf_init(&packet, LINK_PACKET_MAX);
	h.body_len = (uint32_t)(1 + 2 + 8 + 4 + 4 + 4 + head.len);
	if (link_lock_up(l, false, 0, err))
		return -1;
	h.producer = l->producer;
	h.seq = ++l->seq;
	link_put_header(&packet, &h);
	link_put_u8(&packet, (uint8_t)kind);
	link_put_u16(&packet, request_id);
	link_put_u64(&packet, cursor);
	link_put_u32(&packet, heartbeat_ms);
	link_put_u32(&packet, retry_ms);
	link_put_bytes(&packet, head);
	ret = buf_check(&packet, err);
	if (!ret && link_send_fd(l->ctl, &packet, fd)) { /* under mtx, so that ctl is not closed meanwhile */
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
	if (buf_check(&req->body, err) == 0 && request_submit(l, req, NEED_CREDIT, NULL, err) == 0)
		return 0; /* the link thread frees it */
	request_release(req);
	mem_free(req);
	return -1;
}

int link_append(struct link *l, uint64_t stream, struct slice event, bool durable, struct err *err)
{
	struct request req;

	if (!durable)
		return append_and_go(l, stream, event, err);
	append_init(&req, l, stream, event);
	req.header.flags = LINK_DURABLE;
	req.by_caller = true;
	return request_ask_and_release(l, &req, NEED_CREDIT, err);
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
	req.by_caller = true;
	for (size_t i = 0; i < events_count; i++)
		link_put_bytes(&req.body, events[i]);
	ret = request_ask_and_release(l, &req, NEED_CREDIT, err);
	entry->is_finished = ret == 0;
	return ret;
}

int link_close_conn(struct link *l, uint64_t stream, struct slice last, struct err *err)
{
	struct request req;

	request_init(&req, l, LINK_CLOSE_CONN, 4 + last.len);
	req.header.stream = stream;
	link_put_bytes(&req.body, last);
	return request_ask_and_release(l, &req, NEED_KNOWN, err);
}

/* --- who hears of what --- */

static size_t topics_len(const struct slice *topics, size_t count)
{
	size_t len = 2;

	for (size_t i = 0; i < count; i++)
		len += 4 + topics[i].len;
	return len;
}

static void put_topics(struct buf *body, const struct slice *topics, size_t count)
{
	link_put_u16(body, (uint16_t)count);
	for (size_t i = 0; i < count; i++)
		link_put_bytes(body, topics[i]);
}

int link_subscribe(struct link *l, uint64_t stream, struct slice session, const char *principal, bool reset,
    struct slice insert, const struct slice *topics, size_t topics_count, struct err *err)
{
	struct request req;

	if (topics_count > UINT16_MAX)
		return err_set(err, ERR_LIMIT, "%zu topics", topics_count);
	question_init(
	    &req, l, LINK_SUBSCRIBE, session, principal, 1 + 4 + insert.len + topics_len(topics, topics_count));
	req.header.stream = stream;
	link_put_u8(&req.body, reset);
	link_put_bytes(&req.body, insert);
	put_topics(&req.body, topics, topics_count);
	return request_ask_and_release(l, &req, stream ? NEED_KNOWN : NEED_ANY, err);
}

int link_unsubscribe(struct link *l, struct slice session, const char *principal, const struct slice *topics,
    size_t topics_count, struct err *err)
{
	struct request req;

	if (topics_count > UINT16_MAX)
		return err_set(err, ERR_LIMIT, "%zu topics", topics_count);
	question_init(&req, l, LINK_UNSUBSCRIBE, session, principal, topics_len(topics, topics_count));
	put_topics(&req.body, topics, topics_count);
	return request_ask_and_release(l, &req, NEED_ANY, err);
}

int link_notify(struct link *l, const struct link_news *news, uint64_t *reached, struct err *err)
{
	const struct slice texts[] = {news->topic, news->legacy, news->head, news->tail, news->owner};
	size_t count = COUNT_OF(texts) - (news->owner.len == 0), len = 1;
	struct request req;
	int ret;

	for (size_t i = 0; i < count; i++)
		len += 4 + texts[i].len;
	request_init(&req, l, LINK_NOTIFY, len);
	req.key = news->session;
	link_put_u8(&req.body, (uint8_t)news->flags);
	for (size_t i = 0; i < count; i++)
		link_put_bytes(&req.body, texts[i]);
	ret = request_ask(l, &req, NEED_ANY, NULL, err);
	if (!ret)
		ret = answer_number(&req, reached, err);
	request_release(&req);
	return ret;
}

int link_once(struct link *l, struct slice mark, uint32_t keep_s, struct err *err)
{
	struct request req;

	request_init(&req, l, LINK_ONCE, 4);
	req.key = mark;
	link_put_u32(&req.body, keep_s);
	return request_ask_and_release(l, &req, NEED_ANY, err);
}
