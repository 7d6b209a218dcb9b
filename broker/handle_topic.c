#include "config.h"

#include "broker/handle_priv.h"
#include "broker/session.h"
#include "broker/stream.h"
#include "broker/topic.h"
#include "common/banned.h"

/* Whose subscriptions a message is about: with a key the session's own stream, else a listen stream. NULL: *nack. */
static struct stream *find_subscriber(const struct message *m, struct slice principal, unsigned *nack)
{
	struct session *session;
	struct stream *s;

	if (m->key.len > 0) {
		session = session_find(m->broker, m->key, &principal);
		*nack = LINK_NACK_NO_SESSION;
		return session ? session->own : NULL;
	}
	s = stream_find(m->broker, m->h->stream);
	*nack = LINK_NACK_CLOSED;
	if (!s || stream_is_over(s))
		return NULL;
	*nack = LINK_NACK_BAD;
	return s->is_listen ? s : NULL;
}

unsigned do_subscribe(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	bool reset = link_get_u8(&m->body, &m->bad) & 1;
	struct slice insert = link_get_bytes(&m->body, &m->bad);
	uint16_t n = link_get_u16(&m->body, &m->bad);
	unsigned nack = LINK_NACK_BAD;
	struct stream *s = m->bad ? NULL : find_subscriber(m, principal, &nack);
	struct commit *commit = NULL;

	if (!s)
		return nack;
	if (!s->is_modern && !(commit = commit_new(m)))
		return LINK_NACK_BUSY;
	nack = topic_subscribe(s, reset, insert, n, m->body);
	m->outcome->value = s->subscriber.asked;
	return commit ? commit_settle(m, commit, nack) : nack;
}

unsigned do_unsubscribe(struct message *m)
{
	struct slice principal = link_get_bytes(&m->body, &m->bad);
	uint16_t n = link_get_u16(&m->body, &m->bad);
	unsigned nack = LINK_NACK_BAD;
	struct stream *s = m->bad ? NULL : find_subscriber(m, principal, &nack);
	struct commit *commit = NULL;

	if (!s)
		return nack;
	if (!s->is_modern && !(commit = commit_new(m)))
		return LINK_NACK_BUSY;
	nack = topic_unsubscribe(s, n, m->body);
	return commit ? commit_settle(m, commit, nack) : nack;
}

unsigned do_notify(struct message *m)
{
	unsigned flags = link_get_u8(&m->body, &m->bad);
	struct topic_news news = {.is_list = flags & LINK_NOTIFY_LIST,
	    .is_each = flags & LINK_NOTIFY_EACH,
	    .level = LINK_LEVEL_OF(flags)};
	unsigned nack = 0;

	news.topic = link_get_bytes(&m->body, &m->bad);
	news.legacy = link_get_bytes(&m->body, &m->bad);
	news.head = link_get_bytes(&m->body, &m->bad);
	news.tail = link_get_bytes(&m->body, &m->bad);
	if (m->body.len > 0)
		news.owner = link_get_bytes(&m->body, &m->bad);
	if (m->bad || m->body.len > 0)
		return LINK_NACK_BAD;
	if (m->key.len > 0 && !(news.session = session_find_beginning(m->broker, m->key, &nack)))
		return nack;
	m->outcome->value = topic_notify(m->broker, &news);
	return 0;
}
