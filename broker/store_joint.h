/* broker/store_joint.h - events that several streams have: they are kept once, at one position, until each of those
 * streams has forgotten it. Here is how many still have them, whether the event is in memory or not, and what its row
 * of the log looks like: seq is minus how many streams had it when it was written, and behind its bytes stand stream
 * and seq of each. */
#ifndef MCP_BROKER_STORE_JOINT_H
#define MCP_BROKER_STORE_JOINT_H

#include "broker/table.h"
#include "common/buf.h"

#define JOINT_PLACE_LEN  16  /* bytes of stream and seq */
#define JOINT_PLACES_MAX 256 /* of one row: each stream that reads its event from the disk reads all of them */

struct joints {
	struct table table; /* by position; an event that one stream has is not there */
};

int joints_init(struct joints *j); /* -1: no memory */
void joints_release(struct joints *j);
/* So many more have the event; of one that is not there yet, beside the one. -1: no memory. */
int joints_add(struct joints *j, uint64_t position, uint32_t count);
bool joints_leave(struct joints *j, uint64_t position); /* one has forgotten it. True: others have not */
void joints_save(const struct joints *j, struct buf *out);
int joints_load(struct joints *j, struct slice *in); /* -1: no memory, or not to be understood */

/* -1: no memory, and row is as before. */
int joint_put_place(struct buf *row, uint64_t stream, uint64_t seq);
/* What stands as seq in a row of an event of len bytes. */
uint64_t joint_seq(const struct buf *row, size_t len);
/* Of a row: the event's own bytes stay in *bytes, and what stood behind them is returned. Nothing: it is of one stream.
 */
struct slice joint_cut_places(uint64_t seq, struct slice *bytes);

#endif
