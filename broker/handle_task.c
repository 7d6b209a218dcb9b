#include "config.h"

#include "broker/handle_priv.h"
#include "broker/once.h"
#include "broker/task.h"
#include "common/banned.h"

#define LISTED_SLACK 64 /* bytes: what stands around id and blob in a list */

/* The store has it, or could not keep it. */
static void task_kept(struct broker *b, struct slice id, int status)
{
	struct task *t = task_find(b, id, NULL);

	if (t && status)
		task_close(t, "the store could not keep it");
	else if (t)
		task_run(t);
}

unsigned do_task_new(struct message *m)
{
	const struct cfg *cfg = m->broker->cfg;
	struct task_order order = {.id = m->key};
	struct commit *commit;
	struct task *t;
	unsigned nack;

	order.principal = link_get_bytes(&m->body, &m->bad);
	order.ttl_ms = link_get_u64(&m->body, &m->bad);
	order.flags = link_get_u8(&m->body, &m->bad);
	order.blob = link_get_bytes(&m->body, &m->bad);
	order.job = link_get_bytes(&m->body, &m->bad);
	order.owner = m->body.len > 0 ? link_get_bytes(&m->body, &m->bad) : SLICE("");
	if (m->bad || order.owner.len > LINK_KEY_MAX || m->body.len > 0 || !is_key(m->key) || order.ttl_ms == 0)
		return LINK_NACK_BAD;
	if (order.blob.len > (size_t)cfg->task_blob_max_bytes || order.job.len > (size_t)cfg->task_blob_max_bytes)
		return LINK_NACK_TOO_BIG;
	if (m->broker->draining)
		return LINK_NACK_BUSY;
	commit = commit_new(m);
	nack = commit ? task_new(m->broker, &order, &t) : LINK_NACK_BUSY;
	if (!nack) {
		commit->after = task_kept;
		m->outcome->value = t->version;
	}
	return commit_settle(m, commit, nack);
}

unsigned do_task_put(struct message *m)
{
	enum link_task_state state = (enum link_task_state)link_get_u8(&m->body, &m->bad);
	struct slice blob = link_get_bytes(&m->body, &m->bad);
	struct task *t = task_find(m->broker, m->key, NULL);
	struct commit *commit;
	unsigned nack;

	if (m->bad || m->body.len > 0 || state < LINK_TASK_WORKING || state >= LINK_TASK__COUNT)
		return LINK_NACK_BAD;
	if (!t || t->runner != m->producer)
		return LINK_NACK_CLOSED;
	if (blob.len > (size_t)m->broker->cfg->task_blob_max_bytes)
		return LINK_NACK_TOO_BIG;
	commit = commit_new(m);
	nack = commit ? task_change(t, state, &blob, "its runner says so") : LINK_NACK_BUSY;
	m->outcome->value = t->version;
	return commit_settle(m, commit, nack);
}

static void put_task(struct buf *out, const struct task *t)
{
	link_put_u8(out, (uint8_t)t->state);
	link_put_u64(out, t->created_ms);
	link_put_u64(out, t->updated_ms);
	link_put_u64(out, t->ttl_ms);
	link_put_bytes(out, t->blob);
}

unsigned do_task_get(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	uint64_t seen = link_get_u64(&m->body, &m->bad);
	struct task *t = task_find(m->broker, m->key, &principal);

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!t)
		return LINK_NACK_NO_TASK;
	if (seen == t->version && task_watch(t, m->producer))
		return LINK_NACK_BUSY;
	link_put_u64(&m->reply, t->version);
	put_task(&m->reply, t);
	return 0;
}

/* t, or the next task after it, that this principal may see in a list. */
static const struct task *listed(const struct task *t, struct slice principal)
{
	while (t && (t->is_hidden || !slice_eq(t->principal, principal)))
		t = t->next;
	return t;
}

unsigned do_task_list(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice after = link_get_bytes(&m->body, &m->bad);
	uint16_t max = link_get_u16(&m->body, &m->bad), n = 0;
	const struct task *first = m->broker->first_task, *t;
	size_t room = broker_frame_max(m->broker);

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (after.len > 0) {
		first = task_find(m->broker, after, &principal);
		if (!first)
			return LINK_NACK_NO_TASK;
		first = first->next;
	}
	first = listed(first, principal);
	for (t = first; t && n < max; t = listed(t->next, principal), n++) {
		size_t len = LISTED_SLACK + t->id.len + t->blob.len;

		if (n > 0 && len > room)
			break;
		room -= len < room ? len : room;
	}
	link_put_u16(&m->reply, n);
	for (t = first; n > 0; t = listed(t->next, principal), n--) {
		link_put_bytes(&m->reply, t->id);
		put_task(&m->reply, t);
	}
	link_put_u8(&m->reply, t != NULL);
	return 0;
}

unsigned do_task_send(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	unsigned what = link_get_u8(&m->body, &m->bad);
	struct slice body = link_get_bytes(&m->body, &m->bad);
	struct task *t = task_find(m->broker, m->key, &principal);
	struct commit *commit;

	if (m->bad || m->body.len > 0 || (what != LINK_TASK_ANSWERS && what != LINK_TASK_CANCEL))
		return LINK_NACK_BAD;
	if (!t)
		return LINK_NACK_NO_TASK;
	if (what == LINK_TASK_CANCEL &&
	    t->is_hidden) { /* whoever followed it does so no more, and nobody else knows it */
		task_close(t, "nobody follows it any more");
		return 0;
	}
	if (task_is_over(t))
		return LINK_NACK_CLOSED;
	if (what == LINK_TASK_ANSWERS)
		return task_input(t, LINK_TASK_ANSWERS, body) ? LINK_NACK_BUSY : 0;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	task_input(t, LINK_TASK_CANCEL, body); /* without memory for it the runner learns it from its next TASK_PUT */
	return commit_settle(m, commit, task_change(t, LINK_TASK_CANCELLED, NULL, "its client cancelled it"));
}

/* What could not be kept may be done another time. */
static void mark_kept(struct broker *b, struct slice mark, int status)
{
	if (status)
		once_forget(b, mark);
}

unsigned do_once(struct message *m)
{
	uint32_t keep_s = link_get_u32(&m->body, &m->bad);
	struct commit *commit;

	if (m->bad || m->body.len > 0 || !is_key(m->key))
		return LINK_NACK_BAD;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	commit->after = mark_kept;
	return commit_settle(m, commit, once_mark(m->broker, m->key, keep_s));
}
