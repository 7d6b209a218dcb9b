/* fcgi/topic.h - what clients can subscribe to, and the notifications that tell them of a change. The broker compares
 * topics as bytes and knows nothing else of them. A notification reaches sessions as it is in their revisions, and
 * streams of subscriptions/listen with the subscription's id in it. */
#ifndef MCP_FCGI_TOPIC_H
#define MCP_FCGI_TOPIC_H

#include "fcgi/capabilities.h"

/* In _meta of all that goes out on a stream of subscriptions/listen. */
#define TOPIC_SUBSCRIPTION_ID "io.modelcontextprotocol/subscriptionId"

enum topic_list { TOPIC_TOOLS, TOPIC_PROMPTS, TOPIC_RESOURCES, TOPIC_LIST__COUNT };

/* The topics: of a list, of one resource, of one task. */
struct slice topic_list_name(enum topic_list list);
void topic_put_resource(struct buf *out, struct slice uri);
void topic_put_task(struct buf *out, struct slice id);

/* Whether the site offers what is listed: else nobody may hear of it. */
bool topic_list_offered(const struct worker *w, enum topic_list list);
/* "notifications/tools/list_changed" and its kin; -1: method is another. */
int topic_find_list(struct slice method);

/* Who is told: one session (its id, or as much of it as no other one's begins with), one principal, or with both empty
 * everybody. */
#define TOPIC_SESSION_MIN 4
struct topic_to {
	struct slice session, principal;
};

/* Each tells those who subscribed, of to only unless that is NULL, and returns when the broker has taken it. reached, how
 * many there were, may be NULL. ERR_NO_SESSION, ERR_DUPLICATE: no session's id begins so, or several do. */
int topic_publish_list(
    struct link *l, enum topic_list list, const struct topic_to *to, uint64_t *reached, struct err *err);
int topic_publish_resource(
    struct link *l, struct slice uri, const struct topic_to *to, uint64_t *reached, struct err *err);
/* notifications/message to sessions that hear such lines and read their own streams just now; members is the JSON text of
 * those of params. 2026-07-28 has none that belong to no request (G-04). */
int topic_publish_line(struct link *l, enum mcp_level level, struct slice members, const struct topic_to *to,
    uint64_t *reached, struct err *err);
/* The members of params as JSON text ("\"taskId\":..."), without _meta: of notifications/tasks/status for the session
 * that subscribed, and of notifications/tasks for 2026-07-28. An empty one is not sent. */
int topic_publish_task(
    struct link *l, struct slice id, struct slice legacy_members, struct slice modern_members, struct err *err);

/* First and last message of a subscription, whose id is JSON text: notifications/subscriptions/acknowledged with what
 * is honoured (JSON text of an object), and the response that ends it. server_info is JSON text too. */
void topic_put_acknowledged(struct buf *out, const char *id, struct slice honoured);
void topic_put_end(struct buf *out, const char *id, const char *server_info);

#endif
