/* runner/watch.h - which files of some trees (fcgi/filetree.h) have come, gone or changed.
 *
 * inotify only says where it is worth to look. A tree in which something happened is walked again, and what is there is
 * compared with what was there before. So a file that was replaced by rename is one that changed; a temporary file that
 * came and went is nothing; events that were lost (the kernel's queue overflowed), directories that were moved in, out
 * or away need no care of their own; and what is told is what clients can see.
 *
 * A walk comes DELAY_MS after the first sign, so that a burst of changes is told once, and walks take at most a tenth
 * of the time. Every CHECK_MS it is also looked whether a tree's directory is still the same one: a link on the way to
 * it may lead elsewhere since, or it was away. Without inotify, or beyond dirs_max directories, changes go unnoticed; a
 * log line says so. One thread uses a struct watch. Times are now_ms(), given by the caller. */
#ifndef MCP_RUNNER_WATCH_H
#define MCP_RUNNER_WATCH_H

#include "fcgi/filetree.h"

#define WATCH_DELAY_MS 200
#define WATCH_CHECK_MS 5000

struct watch; /* opaque */

struct watch *watch_new(size_t dirs_max, struct err *err);
void watch_free(struct watch **wp);

/* Watches a tree from now on. tree is borrowed; owner is what watch_changed gets. */
int watch_add(struct watch *w, const struct filetree *tree, const void *owner, struct err *err);

/* A file at path came, went or changed; with p NULL: some came or went, so lists are not the same any more. */
typedef void watch_changed(void *arg, const void *owner, struct slice path);

int watch_fd(const struct watch *w); /* readable: watch_take() has something to do ... */
/* ... and it has after so many ms, -1: never. */
int watch_wait_ms(const struct watch *w, uint64_t now);
/* Does it. A failure was logged, and is tried again. */
void watch_take(struct watch *w, uint64_t now, watch_changed *changed, void *arg);

#endif
