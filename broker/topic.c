#include "config.h"

#include "broker/session.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/stream.h"
#include "broker/topic.h"
#include "common/mem.h"
#include "common/banned.h"

struct topic {
	struct table_node node; /* in broker->topics, by name */
	struct subscription *subscriptions;
	size_t len;
	char name[];
};

struct subscription {
	struct table_node node; /* in broker->subscriptions, by stream and topic */
	struct topic *topic;
	struct stream *stream;
	struct subscription *next_of_topic, **at_topic;
	struct subscription *next_of_stream, **at_stream;
	uint64_t last_seq; /* of the stream, of the last event of this topic; 0: none yet */
	uint64_t round;    /* of the SUBSCRIBE that named it last */
	bool is_heard;
};

static struct slice name_of(const struct topic *t)
{
	return (struct slice){t->name, t->len};
}

static struct topic *topic_find(const struct broker *b, struct slice name)
{
	struct table_node *n = table_find(&b->topics, table_hash_bytes(&b->topics, name));

	for (; n; n = table_find_next(n)) {
		struct topic *t = TABLE_OF(n, struct topic, node);

		if (slice_eq(name_of(t), name))
			return t;
	}
	return NULL;
}

static bool has_room(const struct broker *b, uint64_t bytes)
{
	uint64_t max = (uint64_t)b->cfg->broker_topics_max_bytes;

	return b->is_loading || (bytes <= max && b->topics_bytes <= max - bytes);
}

static struct topic *topic_get(struct broker *b, struct slice name)
{
	struct topic *t = topic_find(b, name);

	if (t)
		return t;
	t = mem_alloc(1, sizeof(*t) + name.len);
	if (!t)
		return NULL;
	t->len = name.len;
	if (name.len)
		memcpy(t->name, name.p, name.len);
	b->topics_bytes += sizeof(*t) + name.len;
	table_add(&b->topics, &t->node, table_hash_bytes(&b->topics, name));
	return t;
}

static void topic_drop(struct broker *b, struct topic *t)
{
	if (t->subscriptions)
		return;
	table_remove(&b->topics, &t->node);
	b->topics_bytes -= sizeof(*t) + t->len;
	mem_free(t);
}

static uint64_t hash_of(const struct stream *s, const struct topic *t)
{
	return table_hash_u64(&s->broker->subscriptions, s->handle, (uint64_t)(uintptr_t)t);
}

static struct subscription *find(const struct stream *s, struct slice name)
{
	const struct topic *t = topic_find(s->broker, name);
	struct table_node *n = t ? table_find(&s->broker->subscriptions, hash_of(s, t)) : NULL;

	for (; n; n = table_find_next(n)) {
		struct subscription *sub = TABLE_OF(n, struct subscription, node);

		if (sub->stream == s && sub->topic == t)
			return sub;
	}
	return NULL;
}

/* What a session subscribed to is there at a later start too; what it only hears comes by itself. */
static struct buf key_of(const struct subscription *sub)
{
	struct buf key;

	buf_init(&key, SIZE_MAX / 2);
	stream_put_key(sub->stream, &key);
	buf_add_slice(&key, name_of(sub->topic));
	return key;
}

static void keep(const struct subscription *sub)
{
	struct buf key, value;

	if (sub->stream->is_modern || sub->is_heard || !broker_keeps(sub->stream->broker))
		return;
	key = key_of(sub);
	buf_init(&value, 1);
	if (buf_check(&key, NULL))
		value.fault = ERR_NOMEM;
	broker_keep(sub->stream->broker, STORE_TOPIC, buf_slice(&key), &value);
	buf_release(&key);
}

static void unkeep(const struct subscription *sub)
{
	struct buf key;

	if (sub->stream->is_modern || sub->is_heard || !broker_keeps(sub->stream->broker))
		return;
	key = key_of(sub);
	broker_unkeep(sub->stream->broker, STORE_TOPIC, buf_slice(&key));
	buf_release(&key);
}

static void keep_node(struct table_node *n, void *arg)
{
	(void)arg;
	keep(TABLE_OF(n, struct subscription, node));
}

void topic_keep_all(struct broker *b)
{
	table_each(&b->subscriptions, keep_node, NULL);
}

/* One that there is not, at the head of the stream's list. 0, LINK_NACK_LIMIT or BUSY. */
static unsigned add(struct stream *s, struct slice name, uint64_t round, bool is_heard)
{
	struct broker *b = s->broker;
	struct subscription *sub;
	struct topic *t;

	if (!has_room(b, sizeof(*sub) + sizeof(*t) + name.len))
		return LINK_NACK_LIMIT;
	t = topic_get(b, name);
	sub = t ? mem_alloc(1, sizeof(*sub)) : NULL;
	if (!sub) {
		if (t)
			topic_drop(b, t);
		return LINK_NACK_BUSY;
	}
	b->topics_bytes += sizeof(*sub);
	sub->round = round;
	sub->topic = t;
	sub->stream = s;
	sub->is_heard = is_heard;
	sub->next_of_topic = t->subscriptions;
	sub->at_topic = &t->subscriptions;
	if (sub->next_of_topic)
		sub->next_of_topic->at_topic = &sub->next_of_topic;
	t->subscriptions = sub;
	sub->next_of_stream = s->subscriber.subscriptions;
	sub->at_stream = &s->subscriber.subscriptions;
	if (sub->next_of_stream)
		sub->next_of_stream->at_stream = &sub->next_of_stream;
	s->subscriber.subscriptions = sub;
	*(is_heard ? &s->subscriber.heard : &s->subscriber.asked) += 1;
	table_add(&b->subscriptions, &sub->node, hash_of(s, t));
	keep(sub);
	return 0;
}

static void drop(struct subscription *sub)
{
	struct stream *s = sub->stream;

	unkeep(sub);
	table_remove(&s->broker->subscriptions, &sub->node);
	*(sub->is_heard ? &s->subscriber.heard : &s->subscriber.asked) -= 1;
	*sub->at_topic = sub->next_of_topic;
	if (sub->next_of_topic)
		sub->next_of_topic->at_topic = sub->at_topic;
	*sub->at_stream = sub->next_of_stream;
	if (sub->next_of_stream)
		sub->next_of_stream->at_stream = sub->at_stream;
	topic_drop(s->broker, sub->topic);
	s->broker->topics_bytes -= sizeof(*sub);
	mem_free(sub);
}

static void drop_insert(struct stream *s)
{
	s->broker->topics_bytes -= s->subscriber.insert.len;
	mem_free((char *)(uintptr_t)s->subscriber.insert.p);
	s->subscriber.insert = (struct slice){0};
}

static unsigned check_topics(uint16_t n, struct slice topics)
{
	bool bad = false;

	for (unsigned i = 0; i < n; i++)
		link_get_bytes(&topics, &bad);
	return bad || topics.len > 0 ? LINK_NACK_BAD : 0;
}

unsigned topic_subscribe(struct stream *s, bool reset, struct slice insert, uint16_t n, struct slice topics)
{
	struct broker *b = s->broker;
	struct subscriber *me = &s->subscriber;
	struct subscription *before = me->subscriptions, *sub, *next;
	size_t asked = reset ? 0 : me->asked, max = (size_t)b->cfg->session_topics_max;
	uint64_t round = ++b->last_round;
	unsigned nack = check_topics(n, topics);
	bool bad = false;
	char *copy;

	if (nack)
		return nack;
	if (!has_room(b, insert.len))
		return LINK_NACK_LIMIT;
	copy = mem_dup(insert.p, insert.len);
	if (!copy)
		return LINK_NACK_BUSY;
	for (unsigned i = 0; i < n && !nack; i++) {
		struct slice name = link_get_bytes(&topics, &bad);

		sub = find(s, name);
		if (sub && sub->round == round)
			continue;
		if (reset || !sub || sub->is_heard)
			asked++;
		if (asked > max)
			nack = LINK_NACK_LIMIT;
		else if (sub)
			sub->round = round;
		else
			nack = add(s, name, round, false);
	}
	if (nack) {
		while (me->subscriptions != before)
			drop(me->subscriptions);
		mem_free(copy);
		return nack;
	}
	for (sub = me->subscriptions; sub; sub = next) {
		next = sub->next_of_stream;
		if (sub->round == round && sub->is_heard) {
			sub->is_heard = false;
			me->heard--;
			me->asked++;
			keep(sub);
		} else if (sub->round != round && !sub->is_heard && reset) {
			drop(sub);
		}
	}
	drop_insert(s);
	me->insert = (struct slice){copy, insert.len};
	b->topics_bytes += insert.len;
	return 0;
}

bool topic_restore(struct broker *b, struct slice key, struct slice value)
{
	bool bad = false;
	struct stream *s = stream_find(b, link_get_u64(&key, &bad));

	return !bad && value.len == 0 && s && s->is_own && !find(s, key) && add(s, key, 0, false) == 0;
}

void topic_save(const struct stream *s, struct buf *out)
{
	const struct subscriber *me = &s->subscriber;

	link_put_u64(out, s->handle);
	link_put_bytes(out, me->insert);
	link_put_u32(out, (uint32_t)(me->asked + me->heard));
	for (const struct subscription *sub = me->subscriptions; sub; sub = sub->next_of_stream) {
		link_put_bytes(out, name_of(sub->topic));
		link_put_u64(out, sub->last_seq);
		link_put_u8(out, sub->is_heard);
	}
}

int topic_load(struct broker *b, struct slice in)
{
	bool bad = false;
	struct stream *s = stream_find(b, link_get_u64(&in, &bad));
	struct slice insert = link_get_bytes(&in, &bad);
	uint32_t count = snapshot_get_count(&in, 13, &bad); /* bytes of a nameless one */
	char *copy;

	if (bad || !s || stream_is_over(s) || s->subscriber.subscriptions || s->subscriber.insert.p)
		return -1;
	for (uint32_t i = 0; i < count && !bad; i++) {
		struct slice name = link_get_bytes(&in, &bad);
		uint64_t last_seq = link_get_u64(&in, &bad);
		bool is_heard = link_get_u8(&in, &bad);

		if (bad || find(s, name) || add(s, name, 0, is_heard))
			return -1;
		s->subscriber.subscriptions->last_seq = last_seq;
	}
	copy = mem_dup(insert.p, insert.len);
	if (!copy)
		return -1;
	s->subscriber.insert = (struct slice){copy, insert.len};
	b->topics_bytes += insert.len;
	return bad || in.len > 0 ? -1 : 0;
}

unsigned topic_unsubscribe(struct stream *s, uint16_t n, struct slice topics)
{
	unsigned nack = check_topics(n, topics);
	bool bad = false;

	for (unsigned i = 0; i < n && !nack; i++) {
		struct subscription *sub = find(s, link_get_bytes(&topics, &bad));

		if (sub && !sub->is_heard)
			drop(sub);
	}
	return nack;
}

void topic_forget(struct stream *s)
{
	while (s->subscriber.subscriptions)
		drop(s->subscriber.subscriptions);
	drop_insert(s);
}

static bool is_for(const struct topic_news *news, const struct stream *s)
{
	if (news->session && s->session != news->session)
		return false;
	return news->owner.len == 0 || slice_eq(owner_name(s->owner), news->owner);
}

/* What a listen stream reads is its own. */
static unsigned append_listen(struct stream *s, const struct topic_news *news, uint64_t *last)
{
	unsigned nack = LINK_NACK_BUSY;
	struct slice event;
	struct buf text;

	buf_init(&text, SIZE_MAX / 2);
	buf_add_slice(&text, news->head);
	buf_add_slice(&text, s->subscriber.insert);
	buf_add_slice(&text, news->tail);
	event = buf_slice(&text);
	if (buf_check(&text, NULL) == 0)
		nack = stream_append(s, &event, 1, false, false, last);
	buf_release(&text);
	return nack;
}

/* sub is good afterwards only if this is true: a listen stream that is read too slowly ends. */
static bool tell(struct subscription *sub, const struct topic_news *news, struct stream_joint *legacy)
{
	struct stream *s = sub->stream;
	uint64_t before = s->last_seq, last = before;

	if ((sub->is_heard && !news->is_list) || !is_for(news, s))
		return false;
	if (s->is_modern ? news->head.len == 0 : legacy->bytes.len == 0)
		return false;
	if (sub->last_seq > s->delivered_seq && !news->is_each) {
		stats_add(&s->broker->stats, STAT_CONFLATED, 1);
		return true;
	}
	if ((s->is_modern ? append_listen(s, news, &last) : stream_append_joint(s, legacy, &last)) || last == before)
		return false;
	sub->last_seq = last;
	stats_add(&s->broker->stats, STAT_NOTIFICATIONS, 1);
	return true;
}

static void hear(struct table_node *n, void *arg)
{
	struct session *session = TABLE_OF(n, struct session, node);
	const struct topic_news *news = arg;
	struct stream *s = session->own;

	if (session->hears_lists && is_for(news, s) && !find(s, news->topic) &&
	    s->subscriber.heard < (size_t)session->broker->cfg->session_topics_max)
		add(s, news->topic, 0, true); /* or it does not hear of it: it may ask */
}

struct lines {
	const struct topic_news *news;
	struct stream_joint line;
	uint64_t reached;
};

static void say_line(struct table_node *n, void *arg)
{
	struct session *session = TABLE_OF(n, struct session, node);
	struct lines *lines = arg;
	const struct topic_news *news = lines->news;
	struct stream *s = session->own;
	uint64_t before = s->last_seq, last = before;

	if (session->level == 0 || news->level < session->level || !s->conn || !is_for(news, s) ||
	    stream_append_joint(s, &lines->line, &last) || last == before)
		return;
	stats_add(&s->broker->stats, STAT_NOTIFICATIONS, 1);
	lines->reached++;
}

uint64_t topic_notify(struct broker *b, const struct topic_news *news)
{
	struct stream_joint legacy = {.bytes = news->legacy};
	struct subscription *next;
	struct topic *t;
	uint64_t reached = 0;

	if (news->level) {
		struct lines lines = {.news = news, .line = {.bytes = news->legacy}};

		table_each(&b->sessions, say_line, &lines);
		return lines.reached;
	}
	if (news->is_list && news->legacy.len > 0)
		table_each(&b->sessions, hear, (void *)(uintptr_t)news);
	t = topic_find(b, news->topic);
	for (struct subscription *sub = t ? t->subscriptions : NULL; sub; sub = next) {
		next = sub->next_of_topic;
		reached += tell(sub, news, &legacy);
	}
	return reached;
}
