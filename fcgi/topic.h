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

/* Each tells everybody who subscribed, and returns when the broker has taken it. */
int topic_publish_list(struct link *l, enum topic_list list, struct err *err);
int topic_publish_resource(struct link *l, struct slice uri, struct err *err);
/* The members of params as JSON text ("\"taskId\":..."), without _meta: of notifications/tasks/status for the session
 * that subscribed, and of notifications/tasks for 2026-07-28. An empty one is not sent. */
int topic_publish_task(
    struct link *l, struct slice id, struct slice legacy_members, struct slice modern_members, struct err *err);

/* First and last message of a subscription, whose id is JSON text: notifications/subscriptions/acknowledged with what
 * is honoured (JSON text of an object), and the response that ends it. server_info is JSON text too. */
void topic_put_acknowledged(struct buf *out, const char *id, struct slice honoured);
void topic_put_end(struct buf *out, const char *id, const char *server_info);

#endif
