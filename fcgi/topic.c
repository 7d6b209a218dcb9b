#include "config.h"

#include "common/jx.h"
#include "fcgi/result.h"
#include "fcgi/rpc.h"
#include "fcgi/topic.h"
#include "common/banned.h"

#define MESSAGE_MAX (1u << 20) /* bytes of a notification */

static const struct {
	const char *topic, *method;
	enum capability capability;
} lists[TOPIC_LIST__COUNT] = {
    [TOPIC_TOOLS] = {"tools", "notifications/tools/list_changed", CAPABILITY_TOOLS},
    [TOPIC_PROMPTS] = {"prompts", "notifications/prompts/list_changed", CAPABILITY_PROMPTS},
    [TOPIC_RESOURCES] = {"resources", "notifications/resources/list_changed", CAPABILITY_RESOURCES},
};

struct slice topic_list_name(enum topic_list list)
{
	return slice_str(lists[list].topic);
}

void topic_put_resource(struct buf *out, struct slice uri)
{
	buf_adds(out, "resource:");
	buf_add_slice(out, uri);
}

void topic_put_task(struct buf *out, struct slice id)
{
	buf_adds(out, "task:");
	buf_add_slice(out, id);
}

bool topic_list_offered(const struct worker *w, enum topic_list list)
{
	return capabilities_offered(w, lists[list].capability);
}

int topic_find_list(struct slice method)
{
	for (int i = 0; i < TOPIC_LIST__COUNT; i++) {
		if (slice_is(method, lists[i].method))
			return i;
	}
	return -1;
}

static void put_legacy(struct buf *out, const char *method, struct slice members)
{
	buf_addf(out, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\"", method);
	if (members.len) {
		buf_adds(out, ",\"params\":{");
		buf_add_slice(out, members);
		buf_adds(out, "}");
	}
	buf_adds(out, "}");
}

/* A message of a subscription, in two parts: between them comes its id. */
static void put_head(struct buf *out, const char *method)
{
	buf_addf(out,
	    "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":{\"_meta\":{\"" TOPIC_SUBSCRIPTION_ID "\":", method);
}

static void put_tail(struct buf *out, struct slice members)
{
	buf_adds(out, members.len ? "}," : "}");
	buf_add_slice(out, members);
	buf_adds(out, "}}");
}

/* What an era reads: its method and the members of params; method NULL: nothing. */
struct notice {
	const char *method;
	struct slice members;
};

static int publish(struct link *l, unsigned flags, struct slice topic, const struct notice *legacy,
    const struct notice *modern, const struct topic_to *to, uint64_t *reached, struct err *err)
{
	struct buf text, head, tail;
	int ret;

	buf_init(&text, MESSAGE_MAX);
	buf_init(&head, MESSAGE_MAX);
	buf_init(&tail, MESSAGE_MAX);
	if (legacy->method)
		put_legacy(&text, legacy->method, legacy->members);
	if (modern->method) {
		put_head(&head, modern->method);
		put_tail(&tail, modern->members);
	}
	ret = buf_check(&text, err) || buf_check(&head, err) || buf_check(&tail, err) ? -1 : 0;
	if (ret == 0) {
		const struct link_news news = {.flags = flags,
		    .topic = topic,
		    .legacy = buf_slice(&text),
		    .head = buf_slice(&head),
		    .tail = buf_slice(&tail),
		    .session = to ? to->session : SLICE(""),
		    .owner = to ? to->principal : SLICE("")};

		ret = link_notify(l, &news, reached, err);
	}
	buf_release(&text);
	buf_release(&head);
	buf_release(&tail);
	return ret;
}

int topic_publish_list(
    struct link *l, enum topic_list list, const struct topic_to *to, uint64_t *reached, struct err *err)
{
	const struct notice notice = {lists[list].method, SLICE("")};

	return publish(l, LINK_NOTIFY_LIST, topic_list_name(list), &notice, &notice, to, reached, err);
}

int topic_publish_resource(
    struct link *l, struct slice uri, const struct topic_to *to, uint64_t *reached, struct err *err)
{
	struct buf topic, members;
	int ret;

	buf_init(&topic, MESSAGE_MAX);
	buf_init(&members, MESSAGE_MAX);
	topic_put_resource(&topic, uri);
	buf_adds(&members, "\"uri\":");
	jx_write_str(&members, uri);
	ret = buf_check(&topic, err) || buf_check(&members, err) ? -1 : 0;
	if (ret == 0) {
		const struct notice notice = {"notifications/resources/updated", buf_slice(&members)};

		ret = publish(l, 0, buf_slice(&topic), &notice, &notice, to, reached, err);
	}
	buf_release(&topic);
	buf_release(&members);
	return ret;
}

int topic_publish_line(struct link *l, enum mcp_level level, struct slice members, const struct topic_to *to,
    uint64_t *reached, struct err *err)
{
	const struct notice legacy = {"notifications/message", members}, modern = {0};

	return publish(l, LINK_LEVEL(level), SLICE(""), &legacy, &modern, to, reached, err);
}

int topic_publish_task(
    struct link *l, struct slice id, struct slice legacy_members, struct slice modern_members, struct err *err)
{
	const struct notice legacy = {legacy_members.len ? "notifications/tasks/status" : NULL, legacy_members};
	const struct notice modern = {modern_members.len ? "notifications/tasks" : NULL, modern_members};
	struct buf topic;
	int ret;

	buf_init(&topic, MESSAGE_MAX);
	topic_put_task(&topic, id);
	ret = buf_check(&topic, err);
	if (ret == 0)
		ret = publish(l, LINK_NOTIFY_EACH, buf_slice(&topic), &legacy, &modern, NULL, NULL, err);
	buf_release(&topic);
	return ret;
}

void topic_put_acknowledged(struct buf *out, const char *id, struct slice honoured)
{
	put_head(out, "notifications/subscriptions/acknowledged");
	buf_addf(out, "%s},\"notifications\":", id);
	buf_add_slice(out, honoured);
	buf_adds(out, "}}");
}

void topic_put_end(struct buf *out, const char *id, const char *server_info)
{
	rpc_put_result_head(out, id);
	buf_addf(out,
	    "\"resultType\":\"complete\",\"_meta\":{\"" TOPIC_SUBSCRIPTION_ID "\":%s,\"" RESULT_SERVER_INFO "\":%s}}}",
	    id, server_info);
}
