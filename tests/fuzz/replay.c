/* tests/fuzz/replay.c - a main() for a fuzz target that has none: gives it each file of its corpus, so that a crash
 * once found stays fixed. For "replay_NAME" that is tests/fuzz/corpus/NAME. Besides, each file is tried with its first
 * half, and with each of its bytes changed: a little fuzzing on every "make check".
 *
 * To fuzz in earnest, with clang:
 *     ../configure CC=clang CFLAGS='-g -O1 -fsanitize=fuzzer-no-link' --enable-sanitize
 *     make tests/fuzz/fuzz_NAME && mkdir -p found && tests/fuzz/fuzz_NAME found ../tests/fuzz/corpus/NAME */
#include "config.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/util.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

#define FILE_MAX 65536

static void try(const unsigned char *data, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1); /* of just that size, so that a sanitizer sees a read past it */

	DIE_UNLESS(copy);
	if (size)
		memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int replay(const char *dir, const char *name)
{
	static unsigned char data[FILE_MAX];
	char path[4096];
	size_t size;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	try(data, size);
	try(data, size / 2);
	for (size_t i = 0; i < size && i < 512; i++) {
		static const unsigned char others[] = {0, '"', '=', 0x80, 0xff};
		unsigned char old = data[i];

		for (size_t k = 0; k < sizeof(others); k++) {
			data[i] = others[k];
			try(data, size);
		}
		data[i] = old;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *srcdir = getenv("abs_top_srcdir"), *name = strrchr(argv[0], '/');
	struct dirent **files;
	char dir[2048];
	int count, done = 0;

	(void)argc;
	name = strstr(name ? name : argv[0], "replay_");
	snprintf(
	    dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name ? name + strlen("replay_") : "");
	count = scandir(dir, &files, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		if (files[i]->d_name[0] != '.') {
			printf(
			    "%s %d - %s\n", replay(dir, files[i]->d_name) ? "not ok" : "ok", ++done, files[i]->d_name);
			fflush(stdout);
		}
		free(files[i]);
	}
	if (count >= 0)
		free(files);
	if (done == 0)
		printf("not ok %d - %s is empty\n", ++done, dir);
	printf("1..%d\n", done);
	return 0;
}
