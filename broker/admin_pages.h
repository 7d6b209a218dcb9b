/* broker/admin_pages.h - what the admin socket shows, as JSON. Ids of sessions are what clients prove themselves with:
 * only their first ADMIN_ID_SHOWN characters are shown. */
#ifndef MCP_BROKER_ADMIN_PAGES_H
#define MCP_BROKER_ADMIN_PAGES_H

#include "broker/broker.h"
#include "common/link.h"

#define ADMIN_ID_SHOWN 8

/* Walks a table over many turns of the loop; zeroed at first. What is in the table all the time is met once; what comes
 * or goes meanwhile, perhaps. */
struct admin_walk {
	uint64_t cursor;
	size_t count; /* met so far */
	bool is_begun, is_over;
	char id[LINK_KEY_MAX]; /* of admin_find_session(): the first that was met */
	size_t id_len;
};

void admin_put_status(const struct broker *b, struct buf *out);
/* Each appends the next part of a list; its last one with walk->is_over. */
void admin_put_sessions(const struct broker *b, struct admin_walk *walk, struct buf *out);
void admin_put_streams(const struct broker *b, struct admin_walk *walk, struct buf *out);
/* Counts the sessions whose id begins so; the last time with walk->is_over. */
void admin_find_session(const struct broker *b, struct admin_walk *walk, struct slice prefix);

#endif
