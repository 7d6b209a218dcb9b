/* broker/topic.h - who wants to hear of what: streams that subscribed to topics, and NOTIFY.
 *
 * A topic is a name that workers agree upon; it exists as long as somebody subscribed to it. Events of topics say only
 * that something changed. So they are not durable, and conflated: while the last one of a topic is undelivered in a
 * stream, a further one is left out (but LINK_NOTIFY_EACH), and however long nobody reads, a stream holds one event for
 * each of its topics. What all of it takes is bounded by broker_topics_max_bytes.
 *
 * A session that LINK_SESSION_HEARS_LISTS hears NOTIFY with LINK_NOTIFY_LIST without having asked: it is subscribed
 * then (is_heard), beside the topics that it asked for. */
#ifndef MCP_BROKER_TOPIC_H
#define MCP_BROKER_TOPIC_H

#include "broker/broker.h"

struct stream;
struct subscription;

/* A stream's side; embedded there, zeroed is "none". */
struct subscriber {
	struct subscription *subscriptions;
	size_t asked, heard; /* how many of each kind; session_topics_max bounds each */
	struct slice insert; /* owned: stands between head and tail of what a listen stream reads */
};

/* n topics are the tail of SUBSCRIBE or UNSUBSCRIBE: n * bytes. s is not over. 0, or with nothing done LINK_NACK_*:
 * LIMIT, BAD, BUSY. reset: the others are forgotten. */
unsigned topic_subscribe(struct stream *s, bool reset, struct slice insert, uint16_t n, struct slice topics);
unsigned topic_unsubscribe(struct stream *s, uint16_t n, struct slice topics);
/* As the store has it, its stream being there. */
bool topic_restore(struct broker *b, struct slice key, struct slice value);
/* All that a stream subscribed to, for the program that takes our place (snapshot.h), and from the one before. */
void topic_save(const struct stream *s, struct buf *out);
int topic_load(struct broker *b, struct slice in);
void topic_keep_all(struct broker *b);
void topic_forget(struct stream *s); /* all of them: the stream ends */

struct topic_news {
	struct slice topic;
	struct slice legacy;     /* for sessions; empty: not sent */
	struct slice head, tail; /* for listen streams head + insert + tail; an empty head: not sent */
	bool is_list, is_each;   /* enum link_notify_flag */
	unsigned level;          /* as struct session has it; 0: no log line */
	const struct session *session; /* only to this one; NULL: any */
	struct slice owner;            /* only to what is his; empty: anybody's */
};
/* How many streams have it now, or had one of the same topic waiting. A log line has no topic: it goes to sessions that
 * hear its level, and only while somebody reads their own streams, or lines nobody wants would push out what is owed. */
uint64_t topic_notify(struct broker *b, const struct topic_news *news);

#endif
