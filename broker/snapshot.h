/* broker/snapshot.h - what the parts of a snapshot have in common. A snapshot is what a broker hands over to the
 * program that takes its place in the same process (handover.h): records, one of each object, made and read by the
 * object's own module. The numbers are written as on the link. Whoever reads takes nothing for granted: what is not to
 * be understood is refused, and the whole snapshot with it. */
#ifndef MCP_BROKER_SNAPSHOT_H
#define MCP_BROKER_SNAPSHOT_H

#include "broker/loop.h"
#include "common/link.h"

/* A timer's rest. get starts it if it ran. */
void snapshot_put_timer(struct buf *out, const struct loop *l, const struct wheel_timer *t);
void snapshot_get_timer(struct slice *in, struct loop *l, struct wheel_timer *t, bool *bad);

/* A descriptor, which outlives execve() from now on. get: it does not any more; it must be a socket or a pipe, or with
 * is_file a file. */
void snapshot_put_fd(struct buf *out, int fd);
int snapshot_get_fd(struct slice *in, bool is_file, bool *bad);
/* All that are not stdin, stdout or stderr: none outlives execve(). */
void snapshot_cloexec_all(void);

/* bytes; value is released. */
void snapshot_put_value(struct buf *out, struct buf *value);
/* A number of things of which each takes len_min bytes at least. */
uint32_t snapshot_get_count(struct slice *in, size_t len_min, bool *bad);

#endif
