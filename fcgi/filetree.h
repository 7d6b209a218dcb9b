/* fcgi/filetree.h - the files of one directory, as far as they may be seen from outside: what is listed, read,
 * completed and watched is the same.
 *
 * A path is relative to the directory, its names separated by single slashes. It comes from a client, so none that
 * could lead elsewhere is ever given to the kernel: no "..", no empty name; and each directory on the way is opened for
 * itself and without following symbolic links, so that no change made meanwhile leads out either. Symbolic links are
 * not followed at all, those that stay inside included: a file has one path. Names that begin with a dot, that are not
 * UTF-8, or that hold control characters are not there, whatever is on the disk; neither is what we may not read. */
#ifndef MCP_FCGI_FILETREE_H
#define MCP_FCGI_FILETREE_H

#include <sys/stat.h>

#include "common/buf.h"

#define FILETREE_DEPTH_MAX 32 /* directories inside each other */

struct filetree {
	char *dir;    /* owned; absolute */
	char *only;   /* owned; the one file of dir that is meant, named by the configuration; NULL: all */
	char **globs; /* owned, NULL at the end: files match one of them; NULL: all. Without a slash it is about the
		       * name, with one about the path */
	bool hidden;  /* names that begin with a dot are there too */
	size_t entries_max; /* names that one walk reads */
};

void filetree_release(struct filetree *tree);

/* Whether a file, a directory, may be there: by its path, without a look at the disk. */
bool filetree_has_file(const struct filetree *tree, struct slice path);
bool filetree_has_dir(const struct filetree *tree, struct slice path);

/* Opens a regular file to be read, without blocking. *st is its state. -1: ERR_NOT_FOUND for all that is not there in
 * the sense above, whatever the reason; else what went wrong. */
int filetree_open(const struct filetree *tree, struct slice path, struct stat *st, struct err *err);

struct filetree_entry {
	const char *path;      /* of the file or directory */
	const char *name;      /* its last name, ... */
	int dir_fd;            /* ... in this directory */
	const struct stat *st; /* of a file; NULL: it is a directory */
};
/* 0: go on; 1: enough; -1 with *err. */
typedef int filetree_add(void *arg, const struct filetree_entry *entry, struct err *err);

/* Gives every file below the directory to add, ordered by path, name by name, from the first behind after on (the path
 * of a file that need not be there any more; p NULL: from the beginning), and the directories on the way, each before
 * it is read. Who changes a directory meanwhile changes what is seen of it, not the order. Beyond entries_max names,
 * and deeper than FILETREE_DEPTH_MAX, nothing is seen. */
int filetree_walk(const struct filetree *tree, struct slice after, filetree_add *add, void *arg, struct err *err);

/* The same for the files and directories that stand in one directory, at path ("": the tree's). */
int filetree_list(const struct filetree *tree, struct slice path, filetree_add *add, void *arg, struct err *err);

#endif
