/* A token that comes back: whatever the client made of it, it is the one that went out, or it is refused. The input is
 * a token, or (from an odd size on) what is done to a good one: pairs of a place and of bits that flip there. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/mem.h"
#include "fcgi/seal.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

#define PURPOSE "state"

static char dir[] = "/tmp/mcp-fuzz-seal.XXXXXX";
static struct cfg cfg;
static struct seal *seal;

static void clean_up(void)
{
	char file[64];

	snprintf(file, sizeof(file), "%s/seal.key", dir);
	unlink(file);
	rmdir(dir);
	seal_free(&seal);
	cfg_release(&cfg);
}

static void set_up(void)
{
	struct err err;

	if (seal)
		return;
	if (!mkdtemp(dir) || cfg_init(&cfg, &err))
		abort();
	mem_free(cfg.run_dir);
	cfg.run_dir = mem_dup(dir, strlen(dir));
	seal = seal_new(&cfg);
	if (!seal)
		abort();
	atexit(clean_up);
}

/* Whether the token is taken, and gives these bytes. */
static bool opens(struct slice token, struct slice plain)
{
	struct err err = {0};
	struct buf out;
	int ret;

	buf_init(&out, 1 << 20);
	ret = seal_open(seal, PURPOSE, SLICE("bound"), token, &out, &err);
	if (ret ? err.code != ERR_PARAMS && err.code != ERR_TOO_BIG : !slice_eq(buf_slice(&out), plain))
		abort();
	buf_release(&out);
	return ret == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = {(const char *)data, size};
	struct buf token, changed;
	struct err err;

	set_up();
	buf_init(&token, 1 << 20);
	buf_init(&changed, 1 << 20);
	if (seal_close(seal, PURPOSE, SLICE("bound"), 60, in, &token, &err))
		abort();
	if (!opens(buf_slice(&token), in))
		abort();
	if (size % 2 == 0) {
		buf_add_slice(&changed, in);
	} else {
		buf_add_slice(&changed, buf_slice(&token));
		for (size_t i = 1; i + 1 < size; i += 2)
			changed.data[data[i] * changed.len / 256] ^= (char)data[i + 1];
	}
	if (opens(buf_slice(&changed), in) != slice_eq(buf_slice(&changed), buf_slice(&token)))
		abort();
	buf_release(&token);
	buf_release(&changed);
	return 0;
}
