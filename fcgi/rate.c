#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/rate.h"
#include "common/banned.h"

#define FILE_NAME     "rate.shm"
#define FILE_NAME_NEW FILE_NAME ".new"
#define MAGIC         "mcprate"
#define LAYOUT        1
#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_S      UINT64_C(1000000000)
#define NS_PER_MINUTE (60 * NS_PER_S)
/* A bucket that will be full later than it ever could is of another boot, or of laxer settings. Requests were given
 * their times by threads that were stopped since, so it has to be much later. */
#define LATE_NS (60 * NS_PER_S)

struct file_head {
	char magic[8];
	uint32_t version, buckets_count; /* of each limit */
	unsigned char key[16];
	unsigned char unused[32]; /* buckets begin at a cache line */
};

struct limit {
	uint64_t interval_ns; /* between tokens; 0: no limit */
	uint64_t depth_ns;    /* of a full bucket */
};

struct rate {
	struct limit limits[RATE__COUNT];
	struct file_head *head; /* owned: the mapping */
	size_t size;
	_Atomic uint64_t *buckets; /* in it */
};

_Static_assert(sizeof(struct file_head) == 64, "buckets begin at a cache line");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "other processes know nothing of a lock");

static size_t file_size(const struct cfg *cfg)
{
	return sizeof(struct file_head) + (size_t)cfg->rate_buckets * RATE__COUNT * sizeof(uint64_t);
}

/* Maps the file at fd. ERR_LIMIT: it is none of ours, as this configuration would make it. */
static int map_file(int fd, const struct cfg *cfg, struct rate *r, struct err *err)
{
	size_t size = file_size(cfg);
	struct file_head *head;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return err_sys(err, "fstat");
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_mode & 077)
		return err_set(err, ERR_LIMIT, "others may write it, or it is another user's");
	if (st.st_size != (off_t)size)
		return err_set(err, ERR_LIMIT, "it has %lld bytes, not %zu", (long long)st.st_size, size);
	head = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (head == MAP_FAILED)
		return err_sys(err, "map %zu bytes", size);
	if (memcmp(head->magic, MAGIC, sizeof(head->magic)) != 0 || head->version != LAYOUT ||
	    head->buckets_count != (uint32_t)cfg->rate_buckets) {
		munmap(head, size);
		return err_set(err, ERR_LIMIT, "it is not of this version and these settings");
	}
	r->head = head;
	r->size = size;
	r->buckets = (_Atomic uint64_t *)(head + 1);
	return 0;
}

/* The file gets its name when all of it is there, with its space on the disk, so that no access fails later. */
static int make_file(int dir, const struct cfg *cfg, struct err *err)
{
	struct file_head head = {.magic = MAGIC, .version = LAYOUT, .buckets_count = (uint32_t)cfg->rate_buckets};
	int fd, rc, ret = 0;

	rnd_bytes(head.key, sizeof(head.key));
	unlinkat(dir, FILE_NAME_NEW, 0); /* of somebody who was killed */
	fd = openat(dir, FILE_NAME_NEW, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return err_sys(err, "create " FILE_NAME_NEW);
	rc = posix_fallocate(fd, 0, (off_t)file_size(cfg));
	errno = rc ? rc : ENOSPC; /* of a short write */
	if (rc || pwrite(fd, &head, sizeof(head), 0) != sizeof(head))
		ret = err_sys(err, "write " FILE_NAME_NEW);
	else if (renameat(dir, FILE_NAME_NEW, dir, FILE_NAME) == -1)
		ret = err_sys(err, "rename " FILE_NAME_NEW);
	if (ret)
		unlinkat(dir, FILE_NAME_NEW, 0);
	close(fd);
	return ret;
}

/* 1: it has to be made. */
static int open_file(int dir, const struct cfg *cfg, struct rate *r, struct err *err)
{
	int fd = openat(dir, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), ret;

	if (fd == -1 && errno == ENOENT)
		return 1;
	if (fd == -1) {
		err_sys(err, "open");
		ret = errno == EACCES || errno == ELOOP || errno == ENXIO ? 1 : -1;
	} else {
		ret = map_file(fd, cfg, r, err);
		if (ret && err->code == ERR_LIMIT)
			ret = 1;
		close(fd);
	}
	if (ret == 1)
		LOG(WARN, "rate.replaced", "file=%s/" FILE_NAME " why=\"%s\" effect=\"all buckets are full\"",
		    cfg->run_dir, err->msg);
	return ret;
}

/* Processes that start at the same time take turns, or one could replace what another has just mapped. */
static int open_in_turn(const struct cfg *cfg, struct rate *r, struct err *err)
{
	int dir, ret;

	if (cfg_make_run_dir(cfg, err))
		return -1;
	dir = open(cfg->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		return err_sys(err, "open %s", cfg->run_dir);
	if (flock(dir, LOCK_EX) == -1) {
		ret = err_sys(err, "lock %s", cfg->run_dir);
	} else {
		ret = open_file(dir, cfg, r, err);
		if (ret == 1)
			ret = make_file(dir, cfg, err) || open_file(dir, cfg, r, err) ? -1 : 0;
	}
	close(dir);
	return ret;
}

static struct limit limit_of(int64_t per_minute, int64_t burst)
{
	uint64_t interval_ns = per_minute ? NS_PER_MINUTE / (uint64_t)per_minute : 0;

	return (struct limit){interval_ns, interval_ns * (uint64_t)burst};
}

int rate_open(struct rate **rate, const struct cfg *cfg, struct err *err)
{
	struct rate *r;

	*rate = NULL;
	if (cfg->rate_per_key == 0 && cfg->rate_per_address == 0 && cfg->rate_completions == 0)
		return 0;
	r = mem_alloc(1, sizeof(*r));
	if (!r)
		return err_set(err, ERR_NOMEM, "rate limits");
	r->limits[RATE_PER_KEY] = limit_of(cfg->rate_per_key, cfg->rate_burst);
	r->limits[RATE_PER_ADDRESS] = limit_of(cfg->rate_per_address, cfg->rate_burst);
	r->limits[RATE_COMPLETIONS] = limit_of(cfg->rate_completions, cfg->rate_burst);
	if (open_in_turn(cfg, r, err)) {
		mem_free(r);
		return err_wrap(err, "rate limits need %s/" FILE_NAME, cfg->run_dir);
	}
	*rate = r;
	return 0;
}

void rate_close(struct rate **rate)
{
	struct rate *r = *rate;

	if (!r)
		return;
	*rate = NULL;
	munmap(r->head, r->size);
	mem_free(r);
}

#define ROTL(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void sip_rounds(uint64_t v[4], int count)
{
	while (count-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = ROTL(v[1], 13) ^ v[0];
		v[3] = ROTL(v[3], 16) ^ v[2];
		v[0] = ROTL(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = ROTL(v[1], 17) ^ v[2];
		v[3] = ROTL(v[3], 21) ^ v[0];
		v[2] = ROTL(v[2], 32);
	}
}

static uint64_t get_le(const void *p, size_t len)
{
	const unsigned char *bytes = p;
	uint64_t n = 0;

	while (len-- > 0)
		n = n << 8 | bytes[len];
	return n;
}

uint64_t rate_hash(const unsigned char key[16], struct slice text)
{
	uint64_t k0 = get_le(key, 8), k1 = get_le(key + 8, 8), m;
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
	    k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
	size_t whole = text.len & ~(size_t)7;

	for (size_t i = 0; i <= whole; i += 8) {
		m = i < whole ? get_le(text.p + i, 8) : get_le(text.p + i, text.len - whole) | (uint64_t)text.len << 56;
		v[3] ^= m;
		sip_rounds(v, 2);
		v[0] ^= m;
	}
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static unsigned ask(struct rate *r, enum rate_limit limit, struct slice who, uint64_t now_ms, bool takes)
{
	const struct limit *l = r ? &r->limits[limit] : NULL;
	uint64_t now = now_ms * NS_PER_MS, full_at, next;
	_Atomic uint64_t *bucket;

	if (!l || l->interval_ns == 0)
		return 0;
	bucket =
	    &r->buckets[(size_t)limit * r->head->buckets_count + rate_hash(r->head->key, who) % r->head->buckets_count];
	full_at = atomic_load_explicit(bucket, memory_order_relaxed);
	do { /* each turn but the last is one that another thread was faster */
		if (full_at > now + l->depth_ns + LATE_NS)
			next = now + l->interval_ns;
		else
			next = (full_at > now ? full_at : now) + l->interval_ns;
		if (next > now + l->depth_ns)
			return (unsigned)((next - now - l->depth_ns + NS_PER_S - 1) / NS_PER_S);
	} while (takes && !atomic_compare_exchange_weak_explicit(
			      bucket, &full_at, next, memory_order_relaxed, memory_order_relaxed));
	return 0;
}

unsigned rate_take(struct rate *rate, enum rate_limit limit, struct slice who, uint64_t now_ms)
{
	return ask(rate, limit, who, now_ms, true);
}

unsigned rate_look(struct rate *rate, enum rate_limit limit, struct slice who, uint64_t now_ms)
{
	return ask(rate, limit, who, now_ms, false);
}
