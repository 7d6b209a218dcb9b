/* Calls: what begins one, where it waits without us, what ends it. */
#include "config.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "common/mem.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

/* An eventfd that was never written: one of an earlier call, if there is one. */
static int take_cancel_fd(struct link *l)
{
	int fd = -1;

	pthread_mutex_lock(&l->mtx);
	if (l->spare_fds_count > 0)
		fd = l->spare_fds[--l->spare_fds_count];
	pthread_mutex_unlock(&l->mtx);
	return fd == -1 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : fd;
}

/* With mtx held. */
static void give_cancel_fd(struct link *l, struct call_entry *entry)
{
	if (entry->call.cancel_fd == -1)
		return;
	if (!entry->is_woken && l->spare_fds_count < SPARE_FDS_MAX)
		l->spare_fds[l->spare_fds_count++] = entry->call.cancel_fd;
	else
		close(entry->call.cancel_fd);
}

/* is_known: the broker will know it, and may cancel it. */
static struct call_entry *entry_new(struct link *l, bool is_known, size_t ids_count, struct err *err)
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
	buf_init(&entry->body, link_body_max(l->cfg));
	entry->call.cancel_fd = -1;
	if (is_known) {
		entry->call.cancel_fd = take_cancel_fd(l);
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
	struct caller caller = {.fd = -1};
	bool is_told = false;

	if (!entry)
		return;
	*callp = NULL;
	pthread_mutex_lock(&l->mtx);
	/* By a caller if nothing of it is on its way by the data channel. */
	if (entry->call.number && entry->connection == l->connection && !entry->stream && !entry->is_finished)
		caller = link_caller_take(l);
	if (entry->call.number) {
		for (at = &l->calls[entry->call.number % TABLE_SIZE]; *at != entry; at = &(*at)->next)
			;
		*at = entry->next;
		l->calls_count--;
	}
	give_cancel_fd(l, entry);
	pthread_mutex_unlock(&l->mtx);
	buf_release(&entry->call.blob);
	buf_release(&entry->cancelled_ids);
	buf_release(&entry->body);
	if (entry->call.number && !entry->is_finished) {
		request_init(&entry->end, l, LINK_CALL_END, 0);
		entry->end.header.corr = entry->call.number;
		entry->end.owner = entry;
		if (caller.fd != -1) {
			entry->end.header.producer = l->producer;
			is_told = link_caller_send(caller, &entry->end, 0);
			link_caller_give(l, caller, is_told);
		}
		if (!is_told && request_submit(l, &entry->end, NEED_KNOWN, NULL, NULL) == 0)
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

/* What is said again to a broker that does not know the call. */
static int entry_note(struct call_entry *entry, const struct request *req, struct err *err)
{
	if (req->key.len > LINK_KEY_MAX)
		return err_set(err, ERR_NO_SESSION, "id of %zu bytes", req->key.len);
	memcpy(entry->key, req->key.p, req->key.len);
	entry->key_len = req->key.len;
	buf_add_slice(&entry->body, buf_slice(&req->body));
	return buf_check(&entry->body, err);
}

static void entry_begun(struct link *l, struct call_entry *entry, uint64_t stream)
{
	pthread_mutex_lock(&l->mtx);
	entry->is_begun = true;
	entry->stream = stream;
	pthread_mutex_unlock(&l->mtx);
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
	req.by_caller = flags == 0;
	if (wills_count && entry_note(entry, &req, err))
		ret = -1;
	else
		ret = request_ask(l, &req, NEED_ANY, wills_count ? entry : NULL, err);
	if (!ret) {
		entry_begun(l, entry, flags & LINK_CALL_ON_SESSION_STREAM ? req.answer.stream : 0);
		entry->connection = req.connection;
		in = request_answer(&req);
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

	question_init(&req, l, LINK_CANCEL, session, principal, 4 + id.len);
	link_put_bytes(&req.body, id);
	return request_ask_and_release(l, &req, NEED_ANY, err);
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

int link_open_stream(struct link *l, struct slice session_or_owner, unsigned flags, const struct link_will *wills,
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
	req.key = session_or_owner;
	link_put_u8(&req.body, (uint8_t)flags);
	put_wills(&req.body, wills, wills_count);
	ret = request_ask(l, &req, call ? NEED_KNOWN : NEED_ANY, entry, err);
	if (!ret) {
		*stream = req.answer.stream;
		if (entry)
			*callp = &entry->call;
		entry_begun(l, (struct call_entry *)*callp, *stream);
	} else if (entry) {
		entry_give_up(l, entry, &req);
	}
	request_release(&req);
	return ret;
}

/* --- waiting without a producer --- */

int link_park(struct link *l, struct link_call **callp, uint64_t stream, uint32_t wait_ms, const struct link_late *late,
    struct slice blob, const struct link_ask *asks, size_t asks_count, struct err *err)
{
	struct call_entry *entry = (struct call_entry *)*callp;
	size_t len = 22 + late->event.len + late->head.len + late->tail.len + blob.len;
	struct request req;

	if (asks_count > UINT16_MAX)
		return err_set(err, ERR_TOO_BIG, "%zu questions at a time", asks_count);
	for (size_t i = 0; i < asks_count; i++)
		len += 8 + asks[i].id.len + asks[i].text.len;
	request_init(&req, l, LINK_PARK, len);
	req.header.corr = entry->call.number;
	req.header.stream = stream;
	req.header.flags = LINK_DURABLE;
	link_put_u32(&req.body, wait_ms);
	link_put_bytes(&req.body, late->event);
	link_put_bytes(&req.body, late->head);
	link_put_bytes(&req.body, late->tail);
	link_put_bytes(&req.body, blob);
	link_put_u16(&req.body, (uint16_t)asks_count);
	for (size_t i = 0; i < asks_count; i++) {
		link_put_bytes(&req.body, asks[i].id);
		link_put_bytes(&req.body, asks[i].text);
	}
	if (request_ask_and_release(l, &req, NEED_KNOWN, err))
		return -1;
	entry->is_finished = true; /* it is not ours to end any more */
	link_call_end(l, callp);
	return 0;
}

/* An array for the pairs of bytes that follow their number; NULL: none, *bad, or no memory (then *count is not 0). */
static void *take_array(struct slice *in, size_t size, size_t *count, bool *bad)
{
	*count = link_get_u16(in, bad);
	if (*count > in->len / 8) {
		*bad = true;
		*count = 0;
	}
	return *count ? mem_alloc(*count, size) : NULL;
}

/* A call that is given back: what it left with the broker, lent out of taken->bytes. */
static int read_taken(struct slice in, struct link_taken *taken, struct err *err)
{
	bool bad = false;

	taken->call_flags = link_get_u8(&in, &bad);
	taken->blob = link_get_bytes(&in, &bad);
	taken->answers = take_array(&in, sizeof(*taken->answers), &taken->answers_count, &bad);
	for (size_t i = 0; taken->answers && i < taken->answers_count; i++) {
		taken->answers[i].id = link_get_bytes(&in, &bad);
		taken->answers[i].text = link_get_bytes(&in, &bad);
	}
	if (taken->answers_count && !taken->answers)
		return err_set(err, ERR_NOMEM, "answers");
	taken->wills = take_array(&in, sizeof(*taken->wills), &taken->wills_count, &bad);
	for (size_t i = 0; taken->wills && i < taken->wills_count; i++) {
		taken->wills[i].id = link_get_bytes(&in, &bad);
		taken->wills[i].event = link_get_bytes(&in, &bad);
	}
	if (taken->wills_count && !taken->wills)
		return err_set(err, ERR_NOMEM, "wills");
	return bad || !taken->wills_count ? err_set(err, ERR_LINK, "malformed answer to ANSWER") : 0;
}

static int read_answer(struct request *req, struct link_taken *taken, struct err *err)
{
	struct slice in = request_answer(req);
	bool bad = false;

	taken->state = (enum link_answer_state)link_get_u8(&in, &bad);
	if (bad || taken->state > LINK_ANSWER_TAKEN)
		return err_set(err, ERR_LINK, "malformed answer to ANSWER");
	if (taken->state != LINK_ANSWER_TAKEN)
		return 0;
	taken->stream = req->answer.stream;
	buf_init(&taken->bytes, in.len);
	buf_add_slice(&taken->bytes, in);
	return buf_check(&taken->bytes, err) ? -1 : read_taken(buf_slice(&taken->bytes), taken, err);
}

/* The call whose number is that of the answer is known under it before the broker says whose it was, and how many
 * requests it answers. */
static void entry_taken(struct link *l, struct call_entry *entry, uint64_t stream, size_t ids_count)
{
	entry_begun(l, entry, stream);
	pthread_mutex_lock(&l->mtx);
	entry->ids_count = ids_count;
	if (ids_count == 1 && entry->cancelled_ids.len)
		link_entry_cancel(entry);
	pthread_mutex_unlock(&l->mtx);
}

int link_answer(struct link *l, struct slice session, const char *principal, struct slice ask_id, struct slice answer,
    struct link_taken *taken, struct err *err)
{
	struct call_entry *entry;
	struct request req;
	int ret;

	*taken = (struct link_taken){.state = LINK_ANSWER_IGNORED};
	entry = entry_new(l, true, UINT16_MAX, err);
	if (!entry)
		return -1;
	question_init(&req, l, LINK_ANSWER, session, principal, 8 + ask_id.len + answer.len);
	link_put_bytes(&req.body, ask_id);
	link_put_bytes(&req.body, answer);
	ret = request_ask(l, &req, NEED_ANY, entry, err);
	if (!ret)
		ret = read_answer(&req, taken, err);
	if (!ret && taken->state == LINK_ANSWER_TAKEN) {
		taken->call = &entry->call;
		entry_taken(l, entry, taken->stream, taken->wills_count);
	} else {
		entry->is_finished = ret == 0; /* it never began */
		entry_give_up(l, entry, &req);
	}
	if (ret)
		link_taken_release(l, taken);
	request_release(&req);
	return ret;
}

void link_taken_release(struct link *l, struct link_taken *taken)
{
	link_call_end(l, &taken->call);
	mem_free(taken->answers);
	mem_free(taken->wills);
	buf_release(&taken->bytes);
	*taken = (struct link_taken){.state = LINK_ANSWER_IGNORED};
}
