/* broker/share.h - who has how much of what is limited in all, so that nobody can take everything from the others.
 *
 * An owner is whom workers name with a new session, a modern stream or a task: a principal, or, where no key is asked
 * for, a client's address. It is here as long as something of it is, and counts what it has, so that asking costs the
 * same however much that is. Of each limit it gets principal_share_percent, but one at least.
 *
 * Sessions, streams and tasks each hold their owner; what nobody is named for has none (NULL), and only the limit
 * itself. */
#ifndef MCP_BROKER_SHARE_H
#define MCP_BROKER_SHARE_H

#include "broker/broker.h"

enum share {
#define SHARE(id, name) SHARE_##id,
#include "broker/share_tbl.h"
#undef SHARE
	SHARE__COUNT
};

struct owner;

/* Holds the owner of this name, which is made at its first use; to be let go with owner_leave(). *owner is NULL for an
 * empty name. -1: no memory. */
int owner_join(struct broker *b, struct slice name, struct owner **owner);
struct owner *owner_hold(struct owner *owner); /* once more; NULL stays NULL */
void owner_leave(struct owner **owner);        /* what it had counted is given back by then */
struct slice owner_name(const struct owner *owner);

/* Whether n more fit: in all, of which total are used, and into the owner's share. A refusal is logged and counted. */
bool share_has_room(struct broker *b, const struct owner *owner, enum share share, uint64_t total, uint64_t n);
void share_take(struct owner *owner, enum share share, uint64_t n); /* NULL: nothing is counted */
void share_give(struct owner *owner, enum share share, uint64_t n);

#endif
