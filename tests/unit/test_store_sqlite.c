/* The store that outlives the process, against a model of it: what was committed is there again, whenever the process
 * died, and what a disk can do to a file is told. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/store.h"
#include "broker/store_joint.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define WAIT_MS 10000

/* ---- a store, and what it handed back */

struct found {
	uint64_t digest; /* of all objects and events, whatever their order */
	size_t objects, events, lost;
	uint64_t position, last_position; /* of the first and the last event */
	uint32_t len;
	bool out_of_order;
};

static uint64_t hash(uint64_t h, const void *p, size_t len)
{
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ at[i]) * 0x100000001b3;
	return h;
}

static uint64_t hash_event(uint64_t stream, uint64_t seq, uint32_t len)
{
	return hash(hash(hash(7, &stream, sizeof(stream)), &seq, sizeof(seq)), &len, sizeof(len));
}

static uint64_t hash_object(enum store_kind kind, struct slice key, struct slice value)
{
	return hash(hash(hash(11, &kind, sizeof(kind)), key.p, key.len), value.p, value.len);
}

static void on_object(void *arg, enum store_kind kind, struct slice key, struct slice value)
{
	struct found *f = arg;

	f->out_of_order |= f->events > 0;
	f->objects++;
	f->digest ^= hash_object(kind, key, value);
}

static void on_event(void *arg, const struct store_event *e)
{
	struct found *f = arg;

	f->out_of_order |= e->position < f->last_position; /* several streams may have one */
	if (f->events++ == 0) {
		f->position = e->position;
		f->len = e->len;
	}
	f->last_position = e->position;
	f->lost += e->is_lost;
	f->digest ^= hash_event(e->stream, e->seq, e->len);
}

static void on_wake(void *arg)
{
	(void)arg;
}

static struct store *open_store(const char *dir, uint64_t cache_bytes, struct found *found, struct err *err)
{
	const struct store_sqlite_how how = {.dir = dir, .sync_ms = 50, .cache_bytes = cache_bytes};
	struct store *s = store_sqlite_open(&how, on_wake, NULL, err);
	struct found ignored;
	struct store_keeper keeper = {on_object, on_event, found ? found : &ignored};

	memset(keeper.arg, 0, sizeof(struct found));
	if (s && s->recover(s, &keeper, err))
		s->close(&s);
	return s;
}

static struct store *must_open(const char *dir, struct found *found)
{
	struct err err = {0};
	struct store *s = open_store(dir, 0, found, &err);

	if (!s)
		fail_msg("%s", err.msg);
	return s;
}

struct probe {
	struct store_op op;
	bool is_done;
	int status;
};

static void on_done(struct store_op *op, int status)
{
	struct probe *p = (struct probe *)(void *)op;

	p->is_done = true;
	p->status = status;
}

static bool waits(struct store *s, const bool *is_done, uint64_t ms)
{
	struct timespec step = {0, 200000};

	for (uint64_t until = now_ms() + ms; !*is_done && now_ms() < until;) {
		s->reap(s);
		nanosleep(&step, NULL);
	}
	return *is_done;
}

static void put(struct store *s, enum store_kind kind, struct slice key, struct slice value)
{
	struct buf buf;

	buf_init(&buf, 1000);
	buf_add_slice(&buf, value);
	s->put(s, kind, key, &buf);
	buf_release(&buf);
}

/* All that was submitted is committed. */
static void settle(struct store *s)
{
	struct probe p = {.op.done = on_done};

	s->sync(s, &p.op);
	assert_true(waits(s, &p.is_done, WAIT_MS));
	assert_int_equal(p.status, 0);
}

struct reader {
	struct store_read read;
	bool is_done;
	int status;
	char text[64];
};

static void on_read(struct store_op *op, int status)
{
	struct reader *r = (struct reader *)(void *)op;

	r->is_done = true;
	r->status = status;
	for (size_t i = 0; i < r->read.count && !status; i++)
		snprintf(r->text + strlen(r->text), sizeof(r->text) - strlen(r->text), "%.*s",
		    (int)r->read.events[i].len, r->read.events[i].p);
}

static int read_one(struct store *s, uint64_t position, struct reader *r)
{
	*r = (struct reader){.read.op.done = on_read, .read.count = 1};
	r->read.positions[0] = position;
	s->read(s, &r->read);
	assert_true(waits(s, &r->is_done, WAIT_MS));
	return r->status;
}

/* ---- restarts */

static void all_is_there_again(void **state)
{
	struct scratch dir;
	struct found found;
	struct reader r;
	struct store *s;
	uint64_t position, epoch;

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, &found);
	assert_int_equal(found.objects + found.events, 0);
	assert_int_equal(s->epochs_count, 0);
	epoch = s->epoch;
	position = s->append(s, 2, 1, SLICE("one"), false);
	s->append(s, 2, 2, SLICE("two"), false);
	s->append(s, 3, 1, SLICE("fleeting"), true);
	put(s, STORE_SESSION, SLICE("a"), SLICE("old"));
	put(s, STORE_SESSION, SLICE("a"), SLICE("new"));
	put(s, STORE_MARK, SLICE("b"), SLICE(""));
	put(s, STORE_MARK, SLICE("c"), SLICE("gone"));
	s->del(s, STORE_MARK, SLICE("c"));
	assert_int_equal(s->bytes_used, 14);
	s->close(&s); /* commits what there is */

	s = must_open(dir.dir, &found);
	assert_true(s->epoch > epoch);
	assert_int_equal(s->epochs_count, 1);
	assert_int_equal(s->epochs[0].epoch, epoch);
	assert_int_equal(s->epochs[0].end, found.last_position + 1);
	assert_true(s->epochs[0].is_whole);
	assert_int_equal(s->bytes_used, 6);
	assert_int_equal(found.position, position);
	assert_false(found.out_of_order);
	assert_int_equal(found.digest, hash_event(2, 1, 3) ^ hash_event(2, 2, 3) ^
					   hash_object(STORE_SESSION, SLICE("a"), SLICE("new")) ^
					   hash_object(STORE_MARK, SLICE("b"), SLICE("")));
	assert_int_equal(read_one(s, position, &r), 0);
	assert_string_equal(r.text, "one");
	s->forget(s, position, 3);
	settle(s);
	assert_int_equal(s->bytes_used, 3);
	s->close(&s);

	s = must_open(dir.dir, &found);
	assert_int_equal(found.digest, hash_event(2, 2, 3) ^ hash_object(STORE_SESSION, SLICE("a"), SLICE("new")) ^
					   hash_object(STORE_MARK, SLICE("b"), SLICE("")));
	s->close(&s);
	scratch_release(&dir);
}

/* Cached, just read from the disk, pinned by a read or forgotten meanwhile: the bytes are the same. */
static void reads(void **state)
{
	struct scratch dir;
	struct store *s;
	struct reader r = {.read.op.done = on_read, .read.count = 2};
	uint64_t old, young;

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, NULL); /* with a cache of nothing */
	old = s->append(s, 1, 1, SLICE("old "), false);
	settle(s);
	young = s->append(s, 1, 2, SLICE("young"), false);
	r.read.positions[0] = old;
	r.read.positions[1] = young;
	s->read(s, &r.read);
	s->forget(s, old, 4);
	s->forget(s, young, 5);
	assert_int_equal(s->bytes_used, 0);
	assert_true(waits(s, &r.is_done, WAIT_MS));
	assert_int_equal(r.status, 0);
	assert_string_equal(r.text, "old young");
	settle(s);
	assert_int_equal(read_one(s, old, &r), -1); /* a mistake of ours, but no end of us */
	s->close(&s);
	scratch_release(&dir);
}

/* Kept once, also when it is not in memory any more, and until the last one has forgotten it. */
static void several_streams_have_an_event(void **state)
{
	struct scratch dir;
	struct found found;
	struct reader r;
	struct store *s;
	uint64_t position;

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, &found);
	position = s->append(s, 2, 1, SLICE("to all"), false);
	assert_true(s->join(s, position, 4, 7));
	assert_true(s->join(s, position, 6, 1));
	assert_int_equal(s->bytes_used, 18);
	settle(s);
	assert_false(s->join(s, position, 8, 1)); /* it is written */
	s->forget(s, position, 6);
	assert_int_equal(read_one(s, position, &r), 0);
	assert_string_equal(r.text, "to all");
	settle(s);
	s->close(&s);
	s = must_open(dir.dir, &found); /* whose streams know which of them had forgotten it */
	assert_int_equal(found.events, 3);
	assert_int_equal(found.position, position);
	assert_int_equal(found.last_position, position);
	assert_int_equal(found.len, 6);
	assert_int_equal(found.digest, hash_event(2, 1, 6) ^ hash_event(4, 7, 6) ^ hash_event(6, 1, 6));
	assert_int_equal(s->bytes_used, 18);
	s->forget(s, position, 6);
	s->forget(s, position, 6);
	settle(s);
	assert_int_equal(read_one(s, position, &r), 0);
	assert_string_equal(r.text, "to all");
	s->forget(s, position, 6);
	settle(s);
	assert_int_equal(s->bytes_used, 0);
	s->close(&s);
	s = must_open(dir.dir, &found);
	assert_int_equal(found.events, 0);
	s->close(&s);
	scratch_release(&dir);
}

/* A row does not grow for ever, for each of its streams reads all of it. */
static void more_streams_than_a_row_has_places_for(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;
	uint64_t position, joined = 1;

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, &found);
	position = s->append(s, 2, 1, SLICE("to all"), false);
	while (joined <= JOINT_PLACES_MAX && s->join(s, position, 2 + 2 * joined, 1))
		joined++;
	assert_int_equal(joined, JOINT_PLACES_MAX);
	assert_int_equal(s->bytes_used, 6 * JOINT_PLACES_MAX);
	settle(s);
	s->close(&s);
	s = must_open(dir.dir, &found);
	assert_int_equal(found.events, JOINT_PLACES_MAX);
	while (joined-- > 0)
		s->forget(s, position, 6);
	settle(s);
	assert_int_equal(s->bytes_used, 0);
	s->close(&s);
	scratch_release(&dir);
}

/* ---- a process that dies */

#define STREAMS 4
#define KEYS    8
#define GROUPS  400
#define EVENTS  64 /* of a stream that are kept */

/* The model: what there should be. */
struct model {
	uint64_t digest;
	struct {
		uint64_t first, last;
		struct event *events[GROUPS * 8];
	} streams[STREAMS];
	struct event {
		uint64_t position, digest;
		uint32_t len, holders; /* streams that have it: it is there for all of them as long as for one */
	} events[GROUPS * 8];
	size_t events_count;
	char values[KEYS][16]; /* "": not there */
	uint64_t seed;
};

static uint64_t roll(struct model *m, uint64_t below)
{
	m->seed = m->seed * 6364136223846793005 + 1442695040888963407;
	return (m->seed >> 33) % below;
}

static void toggle_object(struct model *m, uint64_t key)
{
	char name = (char)('a' + key);

	if (m->values[key][0])
		m->digest ^= hash_object(STORE_STREAM, (struct slice){&name, 1}, slice_str(m->values[key]));
}

/* Of count streams, from n on. */
static void append_to(struct model *m, struct store *s, uint64_t n, uint32_t count, struct slice bytes)
{
	struct event *e = &m->events[m->events_count++];

	*e = (struct event){.len = (uint32_t)bytes.len, .holders = count};
	for (; count > 0; count--, n = (n + 1) % STREAMS) {
		uint64_t seq = ++m->streams[n].last;

		e->digest ^= hash_event(n, seq, e->len);
		m->streams[n].events[seq % COUNT_OF(m->streams[n].events)] = e;
		if (s && e->position == 0)
			e->position = s->append(s, n, seq, bytes, false);
		else if (s && !s->join(s, e->position, n, seq))
			_exit(3);
	}
	m->digest ^= e->digest;
}

static void forget_first(struct model *m, struct store *s, uint64_t n)
{
	struct event *e = m->streams[n].events[++m->streams[n].first % COUNT_OF(m->streams[n].events)];

	if (--e->holders == 0)
		m->digest ^= e->digest;
	if (s)
		s->forget(s, e->position, e->len);
}

/* One change, of the model and, if there is one, of a store. */
static void change(struct model *m, struct store *s)
{
	static const char bytes[600];
	uint64_t what = roll(m, 10), n = roll(m, STREAMS), key = roll(m, KEYS);
	char name = (char)('a' + key);
	struct slice id = {&name, 1};

	if (what < 6) {
		struct slice event = {bytes, roll(m, sizeof(bytes))};

		append_to(m, s, n, what < 4 ? 1 : 2 + (uint32_t)roll(m, STREAMS - 1), event);
	} else if (what < 7 && m->streams[n].last > m->streams[n].first) {
		forget_first(m, s, n);
	} else if (what < 9) {
		toggle_object(m, key);
		snprintf(m->values[key], sizeof(m->values[key]), "%ju", (uintmax_t)roll(m, 1000000));
		toggle_object(m, key);
		if (s)
			put(s, STORE_STREAM, id, slice_str(m->values[key]));
	} else {
		toggle_object(m, key);
		m->values[key][0] = '\0';
		if (s)
			s->del(s, STORE_STREAM, id);
	}
}

static void change_group(struct model *m, struct store *s)
{
	for (uint64_t i = roll(m, 8); i > 0; i--)
		change(m, s);
}

struct told {
	struct store_op op;
	int pipe_fd;
	unsigned group;
};

static void on_told(struct store_op *op, int status)
{
	struct told *t = (struct told *)(void *)op;
	ssize_t n = status ? 0 : write(t->pipe_fd, &t->group, sizeof(t->group));

	if (n != sizeof(t->group))
		_exit(1);
}

/* Says which groups are committed, until it is killed. */
static void work(const char *dir, uint64_t seed, int pipe_fd)
{
	static struct told told[GROUPS];
	struct model *m = calloc(1, sizeof(*m));
	struct store *s = open_store(dir, 10000, NULL, NULL);

	if (!m || !s)
		_exit(2);
	m->seed = seed;
	for (unsigned i = 0; i < GROUPS; i++) {
		change_group(m, s);
		told[i] = (struct told){{.done = on_told}, pipe_fd, i};
		s->sync(s, &told[i].op);
		s->reap(s);
		if (roll(m, 4) == 0)
			usleep(100);
	}
	for (;;) {
		s->reap(s);
		usleep(100);
	}
}

static void what_was_acknowledged_survives_a_kill(void **state)
{
	enum { RUNS = 25 };
	uint64_t began = now_ms();
	unsigned acknowledged = 0;

	(void)state;
	for (unsigned run = 0; run < RUNS; run++) {
		uint64_t seed = 1000 + run, rolled = seed;
		struct model *m = calloc(1, sizeof(*m));
		unsigned group = 0, last = 0, seen = 0, now_at = 0;
		struct scratch dir;
		struct found found;
		struct store *s;
		bool is_there = false;
		int fds[2], status;
		pid_t pid;

		assert_non_null(m);
		scratch_init(&dir);
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		assert_int_not_equal(pid, -1);
		if (pid == 0) {
			close(fds[0]);
			work(dir.dir, seed, fds[1]);
		}
		close(fds[1]);
		last = (unsigned)((rolled * 7919) % GROUPS);
		while (seen <= last && read(fds[0], &group, sizeof(group)) == sizeof(group)) {
			assert_int_equal(group, seen); /* in the order of submission */
			seen = group + 1;
		}
		kill(pid, SIGKILL);
		while (read(fds[0], &group, sizeof(group)) == sizeof(group))
			seen = group + 1;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		close(fds[0]);

		s = must_open(dir.dir, &found);
		m->seed = seed;
		for (now_at = 0; now_at < GROUPS; now_at++) {
			change_group(m, NULL);
			if (now_at + 1 >= seen && m->digest == found.digest)
				is_there = true;
			roll(m, 4);
		}
		if (!is_there)
			fail_msg(
			    "run %u: %u groups were committed, but what is there is of none after them", run, seen);
		assert_false(found.out_of_order);
		assert_int_equal(found.lost, 0);
		acknowledged += seen;
		s->close(&s);
		scratch_release(&dir);
		free(m);
	}
	print_message(
	    "# %u kills, %u commits acknowledged, 0 lost, %ju ms\n", RUNS, acknowledged, (uintmax_t)(now_ms() - began));
}

/* ---- disks */

static void path_of(char *out, size_t size, const struct scratch *dir, const char *name)
{
	snprintf(out, size, "%s/%s", dir->dir, name);
}

/* Fills a store, and closes it, which leaves all in the one file. */
static void fill(const struct scratch *dir)
{
	struct store *s = must_open(dir->dir, NULL);

	s->append(s, 5, 1, SLICE("first event"), false);
	s->append(s, 5, 2, SLICE("a needle in the file"), false);
	s->append(s, 5, 3, SLICE("last event"), false);
	put(s, STORE_TASK, SLICE("t"), SLICE("an object to be found"));
	s->close(&s);
}

/* Changes one bit of the place where these bytes stand. */
static void flip(const struct scratch *dir, const char *name, const char *needle)
{
	char path[128], *bytes, *at;
	struct stat st;
	int fd;

	path_of(path, sizeof(path), dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
	at = memmem(bytes, (size_t)st.st_size, needle, strlen(needle));
	assert_non_null(at);
	*at ^= 4;
	assert_int_equal(pwrite(fd, at, 1, at - bytes), 1);
	close(fd);
	free(bytes);
}

static void a_flipped_bit_costs_one_event(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;

	(void)state;
	scratch_init(&dir);
	fill(&dir);
	flip(&dir, "broker.db", "a needle");
	flip(&dir, "broker.db", "an object");
	s = must_open(dir.dir, &found);
	assert_int_equal(found.events, 3);
	assert_int_equal(found.lost, 1);
	assert_int_equal(found.objects, 0);
	assert_int_equal(s->bytes_used, 21);
	s->close(&s);
	s = must_open(dir.dir, &found); /* and is gone then */
	assert_int_equal(found.events, 2);
	assert_int_equal(found.lost, 0);
	s->close(&s);
	scratch_release(&dir);
}

static size_t count_set_aside(const struct scratch *dir)
{
	char pattern[128];
	glob_t found;
	size_t count;

	path_of(pattern, sizeof(pattern), dir, "broker.db.bad-*");
	count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
	globfree(&found);
	return count;
}

static void a_file_that_is_none_is_set_aside(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;

	(void)state;
	scratch_init(&dir);
	scratch_write(&dir, "broker.db", SLICE("This was a database once, or so its name says, of some length."));
	s = must_open(dir.dir, &found);
	assert_int_equal(count_set_aside(&dir), 1);
	assert_int_equal(found.events, 0);
	s->append(s, 1, 1, SLICE("new"), false);
	s->close(&s);
	s = must_open(dir.dir, &found);
	assert_int_equal(found.events, 1);
	s->close(&s);
	scratch_release(&dir);
}

/* Pages of zeros in the middle: opening works, reading doesn't. */
static void a_file_that_breaks_off_is_set_aside(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;
	char path[128];

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, NULL);
	for (uint64_t seq = 1; seq <= 2000; seq++)
		s->append(s, 1, seq, SLICE("an event of some length, so that there are many pages of them"), false);
	s->close(&s);
	path_of(path, sizeof(path), &dir, "broker.db");
	assert_int_equal(truncate(path, 4096 * 6), 0);
	assert_int_equal(truncate(path, 4096 * 20), 0);
	s = must_open(dir.dir, &found);
	assert_int_equal(count_set_aside(&dir), 1);
	assert_int_equal(found.events, 0);
	settle(s);
	s->close(&s);
	scratch_release(&dir);
}

/* Whatever is missing at the end of the log: what is there is the beginning. */
static void a_torn_tail(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;
	char path[128];
	struct stat st;
	int status;
	pid_t pid;

	(void)state;
	scratch_init(&dir);
	path_of(path, sizeof(path), &dir, "broker.db-wal");
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		s = open_store(dir.dir, 0, NULL, NULL);
		for (uint64_t seq = 1; s && seq <= 50; seq++) {
			s->append(s, 1, seq, SLICE("an event"), false);
			settle(s);
		}
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(stat(path, &st), 0);
	for (off_t len = st.st_size; len > 60000; len -= 1 + st.st_size / 9) {
		assert_int_equal(truncate(path, len), 0);
		s = must_open(dir.dir, &found);
		assert_true(found.events <= 50);
		assert_false(found.out_of_order);
		assert_int_equal(found.last_position, found.events); /* the first ones, without a hole */
		s->close(&s);
		if (stat(path, &st))
			break;
	}
	scratch_release(&dir);
}

/* In the middle of what was committed and not yet written back: all after it is gone, and that is told. */
static void a_flipped_bit_in_the_wal(void **state)
{
	struct scratch dir;
	struct found found;
	struct store *s;
	int status;
	pid_t pid;

	(void)state;
	for (int is_flipped = 0; is_flipped < 2; is_flipped++) {
		scratch_init(&dir);
		pid = fork();
		assert_int_not_equal(pid, -1);
		if (pid == 0) {
			s = open_store(dir.dir, 0, NULL, NULL);
			for (uint64_t seq = 1; s && seq <= 50; seq++) {
				s->append(s, 1, seq, seq == 25 ? SLICE("a needle") : SLICE("an event"), false);
				settle(s);
			}
			kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (is_flipped)
			flip(&dir, "broker.db-wal", "a needle");
		s = must_open(dir.dir, &found);
		assert_int_equal(found.events, is_flipped ? 24 : 50);
		assert_int_equal(found.lost, 0);
		assert_int_equal(s->epochs_count, 1);
		assert_int_equal(s->epochs[0].is_whole, !is_flipped);
		s->close(&s);
		scratch_release(&dir);
	}
}

static void two_processes_have_no_store(void **state)
{
	struct scratch dir;
	struct store *s;
	struct err err = {0};

	(void)state;
	scratch_init(&dir);
	s = must_open(dir.dir, NULL);
	assert_null(open_store(dir.dir, 0, NULL, &err));
	assert_non_null(strstr(err.msg, "another mcp-broker"));
	s->close(&s);
	s = must_open(dir.dir, NULL);
	s->close(&s);
	assert_null(open_store("/proc/nowhere/store", 0, NULL, &err));
	assert_non_null(strstr(err.msg, "store_dir"));
	scratch_release(&dir);
}

/* ---- writes that fail, by SQLite's own way to replace a system call */

static atomic_int write_errno; /* 0: it works */

static ssize_t bad_pwrite(int fd, const void *p, size_t len, off_t at)
{
	if (write_errno) {
		errno = write_errno;
		return -1;
	}
	return pwrite(fd, p, len, at);
}

static void replace_writes(bool is_bad)
{
	static const char *const names[] = {"pwrite", "pwrite64"};
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	for (size_t i = 0; i < COUNT_OF(names); i++)
		vfs->xSetSystemCall(vfs, names[i], is_bad ? (sqlite3_syscall_ptr)bad_pwrite : NULL);
}

/* What was submitted waits, and then it is there. */
static void a_bad_disk_is_waited_for(void **state)
{
	static const int numbers[] = {ENOSPC, EDQUOT, EIO, EROFS, EFBIG};

	(void)state;
	replace_writes(true);
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		struct probe first = {.op.done = on_done}, second = first;
		struct scratch dir;
		struct found found;
		struct reader r;
		struct store *s;
		uint64_t position;

		scratch_init(&dir);
		s = must_open(dir.dir, NULL);
		position = s->append(s, 1, 1, SLICE("before"), false);
		settle(s);
		write_errno = numbers[i];
		s->append(s, 1, 2, SLICE("in need"), false);
		s->sync(s, &first.op);
		assert_false(waits(s, &first.is_done, 200));
		assert_true(s->is_stalled);
		s->append(s, 1, 3, SLICE("too"), false);
		put(s, STORE_MARK, SLICE("m"), SLICE("v"));
		s->sync(s, &second.op);
		assert_false(waits(s, &second.is_done, 600)); /* it was tried again */
		assert_int_equal(read_one(s, position, &r), 0);
		assert_string_equal(r.text, "before");
		write_errno = 0;
		assert_true(waits(s, &second.is_done, WAIT_MS));
		assert_true(first.is_done);
		assert_int_equal(first.status, 0);
		assert_int_equal(second.status, 0);
		assert_false(s->is_stalled);
		s->close(&s);
		s = must_open(dir.dir, &found);
		assert_int_equal(found.events, 3);
		assert_int_equal(found.objects, 1);

		first.is_done = false;
		write_errno = numbers[i];
		s->append(s, 1, 4, SLICE("in vain"), false);
		s->sync(s, &first.op);
		s->close(&s); /* gives up, and says so */
		assert_true(first.is_done);
		assert_int_equal(first.status, -1);
		write_errno = 0;
		s = must_open(dir.dir, &found);
		assert_int_equal(found.events, 3);
		s->close(&s);
		scratch_release(&dir);
	}
	replace_writes(false);
}

/* Not even a start can be written: it says so, and later it works. */
static void no_start_without_a_disk(void **state)
{
	struct err err = {0};
	struct scratch dir;
	struct store *s;

	(void)state;
	scratch_init(&dir);
	replace_writes(true);
	write_errno = ENOSPC;
	assert_null(open_store(dir.dir, 0, NULL, &err));
	assert_non_null(strstr(err.msg, "make room"));
	write_errno = 0;
	s = must_open(dir.dir, NULL);
	s->close(&s);
	replace_writes(false);
	scratch_release(&dir);
}

/* However much is written and forgotten again, and read in between: what was given back is used again. */
static void the_files_stay_small(void **state)
{
	enum { ROUNDS = 60, EVENT = 1 << 20, KEPT = 4, SMALL = 40 << 20 };
	char *event = calloc(1, EVENT), path[128], wal[128];
	uint64_t positions[KEPT] = {0};
	struct scratch dir;
	struct reader r;
	struct store *s;
	struct stat st;

	(void)state;
	assert_non_null(event);
	scratch_init(&dir);
	path_of(path, sizeof(path), &dir, "broker.db");
	path_of(wal, sizeof(wal), &dir, "broker.db-wal");
	s = must_open(dir.dir, NULL);
	for (unsigned n = 0; n < ROUNDS; n++) {
		if (n >= KEPT)
			s->forget(s, positions[n % KEPT], EVENT);
		positions[n % KEPT] = s->append(s, 1, n + 1, (struct slice){event, EVENT}, false);
		settle(s);
		assert_int_equal(read_one(s, positions[n % KEPT], &r), 0);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_size, 1, SMALL);
	assert_int_equal(stat(wal, &st), 0);
	assert_in_range(st.st_size, 1, SMALL);
	s->close(&s);
	free(event);
	scratch_release(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_is_there_again),
	    cmocka_unit_test(several_streams_have_an_event),
	    cmocka_unit_test(more_streams_than_a_row_has_places_for),
	    cmocka_unit_test(reads),
	    cmocka_unit_test(what_was_acknowledged_survives_a_kill),
	    cmocka_unit_test(a_flipped_bit_costs_one_event),
	    cmocka_unit_test(a_file_that_is_none_is_set_aside),
	    cmocka_unit_test(a_file_that_breaks_off_is_set_aside),
	    cmocka_unit_test(a_torn_tail),
	    cmocka_unit_test(a_flipped_bit_in_the_wal),
	    cmocka_unit_test(two_processes_have_no_store),
	    cmocka_unit_test(the_files_stay_small),
	    cmocka_unit_test(a_bad_disk_is_waited_for),
	    cmocka_unit_test(no_start_without_a_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
