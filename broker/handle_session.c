#include "config.h"

#include "broker/call.h"
#include "broker/handle_priv.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "common/mem.h"
#include "common/banned.h"

unsigned do_session_put(struct message *m)
{
	const struct cfg *cfg = m->broker->cfg;
	uint64_t version_expected = link_get_u64(&m->body, &m->bad);
	uint32_t idle_s = link_get_u32(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice blob = link_get_bytes(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, NULL);
	struct commit *commit;

	if (m->bad || m->body.len > 0 || !is_key(m->key))
		return LINK_NACK_BAD;
	if (blob.len > (size_t)cfg->session_blob_max_bytes)
		return LINK_NACK_TOO_BIG;
	if (version_expected == 0 && s)
		return LINK_NACK_VERSION;
	if (version_expected == 0 && m->broker->draining)
		return LINK_NACK_BUSY;
	if (version_expected != 0 && (!s || !slice_eq(s->principal, principal)))
		return LINK_NACK_NO_SESSION;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	nack = version_expected ? session_update(s, version_expected, idle_s, blob)
				: session_new(m->broker, m->key, principal, flags, idle_s, blob, &s);
	if (nack) {
		mem_free(commit);
		return nack;
	}
	m->outcome->value = s->version;
	m->broker->store->session_put(m->broker->store, m->key, principal, blob);
	m->broker->store->sync(m->broker->store, &commit->op);
	return LATER;
}

unsigned do_session_del(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, &principal);
	struct commit *commit;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!s)
		return LINK_NACK_NO_SESSION;
	commit = commit_new(m);
	if (!commit)
		return LINK_NACK_BUSY;
	session_close(s, "deleted");
	m->broker->store->sync(m->broker->store, &commit->op);
	return LATER;
}

unsigned do_call_begin(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	unsigned flags = link_get_u8(&m->body, &m->bad), nack;
	uint16_t n = link_get_u16(&m->body, &m->bad);
	struct session *s = session_find(m->broker, m->key, &principal);
	struct call *call;

	if (m->bad)
		return LINK_NACK_BAD;
	if (!s)
		return LINK_NACK_NO_SESSION;
	if (n > 0) {
		if (m->broker->draining)
			return LINK_NACK_BUSY;
		/* Answers are never dropped: who doesn't read them may not ask for more, or one would fill all logs. */
		if ((flags & LINK_CALL_ON_SESSION_STREAM) &&
		    s->own->undelivered_bytes > (uint64_t)m->broker->cfg->stream_log_max_bytes)
			return LINK_NACK_LIMIT;
		nack = call_new(m->broker, m->producer, m->h->seq, s, flags, n, m->body, &call);
		if (nack)
			return nack;
	}
	session_touch(s);
	m->outcome->stream = s->own->handle;
	return 0;
}

unsigned do_call_end(struct message *m)
{
	struct call *call = call_find(m->broker, m->producer, m->h->corr);

	if (call)
		call_end(call, "ended without an answer");
	return 0;
}

unsigned do_cancel(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	struct slice id = link_get_bytes(&m->body, &m->bad);
	struct session *session = session_find(m->broker, m->key, &principal);
	struct call *call;

	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (!session)
		return LINK_NACK_NO_SESSION;
	call = call_find_id(session, id);
	if (call)
		call_cancel(call, id, "the client cancelled it");
	return 0;
}
