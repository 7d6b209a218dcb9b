/* Files of the store that are not as they were left: a bit flipped anywhere, one missing, of another program. What is
 * handed back is what was written, and an epoch that is said to be whole is. */
#include "config.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/store.h"
#include "common/log.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define EVENTS  60
#define STREAMS 3
#define FLIPS   90 /* of each file */
#define WAIT_MS 10000
#define VALUE   "the value of an object, of some length"

static struct scratch master, copy;

struct found {
	unsigned last[STREAMS], lost[STREAMS], objects, events;
	uint64_t positions[EVENTS];
	unsigned numbers[EVENTS];
};

static void on_object(void *arg, enum store_kind kind, struct slice key, struct slice value)
{
	struct found *f = arg;

	assert_int_equal(kind, STORE_SESSION);
	assert_int_equal(key.len, 1);
	assert_true(slice_is(value, VALUE));
	f->objects++;
}

static void on_event(void *arg, const struct store_event *e)
{
	struct found *f = arg;

	assert_true(e->is_lost || (e->stream < STREAMS && e->seq <= EVENTS / STREAMS && f->events < EVENTS));
	if (e->is_lost) { /* its stream, if that is what changed, is short of an event all the same */
		for (unsigned i = 0; i < STREAMS; i++)
			f->lost[i]++;
		return;
	}
	f->last[e->stream] = (unsigned)e->seq;
	f->positions[f->events] = e->position;
	f->numbers[f->events++] = (unsigned)((e->seq - 1) * STREAMS + e->stream);
}

static void on_wake(void *arg)
{
	(void)arg;
}

static struct store *open_store(const char *dir, struct found *found, struct err *err)
{
	const struct store_sqlite_how how = {.dir = dir};
	struct store *s = store_sqlite_open(&how, on_wake, NULL, err);
	struct store_keeper keeper = {on_object, on_event, found};

	*found = (struct found){0};
	if (s && s->recover(s, &keeper, err))
		s->close(&s);
	return s;
}

struct probe {
	struct store_read read; /* or its op alone, with count 0 */
	const unsigned *numbers;
	bool is_done;
};

static void text_of(unsigned number, char out[32])
{
	snprintf(out, 32, "event %u, and some more", number);
}

static void on_done(struct store_op *op, int status)
{
	struct probe *p = (struct probe *)(void *)op;
	char text[32];

	p->is_done = true;
	assert_int_equal(status, 0);
	for (size_t i = 0; i < p->read.count; i++) {
		text_of(p->numbers[i], text);
		assert_true(slice_is(p->read.events[i], text));
	}
}

static void wait_for(struct store *s, const struct probe *p)
{
	for (uint64_t until = now_ms() + WAIT_MS; !p->is_done && now_ms() < until; usleep(50))
		s->reap(s);
	assert_true(p->is_done);
}

/* Dies with all of it committed, some of it in the file and the rest in the WAL; or closes it. */
static void fill(bool is_killed)
{
	struct found found;
	int status;
	pid_t pid;

	scratch_release(&master);
	scratch_init(&master);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		struct store *s = open_store(master.dir, &found, NULL);

		for (unsigned i = 0; s && i < EVENTS; i++) {
			struct probe p = {.read.op.done = on_done};
			struct buf value;
			char text[32], key = (char)('a' + i);

			text_of(i, text);
			s->append(s, i % STREAMS, i / STREAMS + 1, slice_str(text), false);
			buf_init(&value, 100);
			buf_adds(&value, VALUE);
			s->put(s, STORE_SESSION, (struct slice){&key, 1}, &value);
			buf_release(&value);
			s->sync(s, &p.read.op);
			wait_for(s, &p);
		}
		if (!is_killed && s)
			s->close(&s);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static const char *const names[] = {"broker.db", "broker.db-wal", "store.lock"};

static struct bytes {
	char *p; /* NULL: no such file */
	size_t len;
} files[COUNT_OF(names)];

static void read_files(void)
{
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		int fd = open(scratch_path(&master, names[i]), O_RDONLY | O_CLOEXEC);
		struct stat st;

		free(files[i].p);
		files[i] = (struct bytes){0};
		if (fd == -1)
			continue;
		assert_int_equal(fstat(fd, &st), 0);
		files[i] = (struct bytes){malloc((size_t)st.st_size + 1), (size_t)st.st_size};
		assert_non_null(files[i].p);
		assert_int_equal(read(fd, files[i].p, files[i].len), files[i].len);
		close(fd);
	}
}

/* As they were left, but not the one that is missing. */
static void write_files(size_t missing)
{
	scratch_release(&copy);
	scratch_init(&copy);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (i != missing && files[i].p)
			scratch_write(&copy, names[i], (struct slice){files[i].p, files[i].len});
	}
}

static void expect_bytes(struct store *s, const struct found *f)
{
	for (unsigned at = 0; at < f->events; at += STORE_READ_MAX) {
		struct probe p = {.read.op.done = on_done, .numbers = f->numbers + at};

		p.read.count = f->events - at < STORE_READ_MAX ? f->events - at : STORE_READ_MAX;
		memcpy(p.read.positions, f->positions + at, p.read.count * sizeof(uint64_t));
		s->read(s, &p.read);
		wait_for(s, &p);
		assert_int_equal(p.read.good, p.read.count);
	}
}

/* 0: all is there; 1: what is missing is known to be; 2: it began anew; 3: it won't start, and says why. */
static unsigned look(const char *name, size_t at)
{
	struct err err = {0};
	struct found f;
	struct store *s = open_store(copy.dir, &f, &err);
	unsigned outcome = 0;

	if (!s && !strstr(err.msg, "newer mcp-broker") && !strstr(err.msg, "another program"))
		fail_msg("%s %zu: %s", name, at, err.msg);
	if (!s)
		return 3;
	if (s->epochs_count == 0)
		outcome = 2;
	for (unsigned i = 0; i < STREAMS && outcome < 2; i++) {
		if (f.last[i] == EVENTS / STREAMS)
			continue;
		outcome = 1;
		if (s->epochs[s->epochs_count - 1].is_whole && f.lost[i] == 0)
			fail_msg("%s %zu: the epoch is whole, but stream %u ends at %u", name, at, i, f.last[i]);
	}
	expect_bytes(s, &f);
	s->close(&s);
	return outcome;
}

static void flip_all(bool is_killed)
{
	uint64_t began = now_ms();
	unsigned outcomes[4] = {0}, flips = 0;

	fill(is_killed);
	read_files();
	assert_true(is_killed == (files[1].p != NULL));
	for (size_t i = 0; i < 2; i++) {
		for (size_t n = 0; n < FLIPS && files[i].p; n++, flips++) {
			size_t at = n * files[i].len / FLIPS + n % 101;

			if (n % 2) /* where the file says what it is, more closely */
				at = n;
			if (at >= files[i].len)
				continue;
			files[i].p[at] ^= (char)(1 << n % 8);
			write_files(COUNT_OF(names));
			files[i].p[at] ^= (char)(1 << n % 8);
			outcomes[look(names[i], at)]++;
		}
	}
	print_message(
	    "# %u bits flipped after %s: %u times all is there, %u times what is missing is told, %u times it "
	    "begins anew, %u times it says that the file is not its own; 0 lies, %ju ms\n",
	    flips, is_killed ? "a kill" : "an end in good order", outcomes[0], outcomes[1], outcomes[2], outcomes[3],
	    (uintmax_t)(now_ms() - began));
	assert_true(outcomes[0] > 0 && outcomes[2] > 0);
}

static void a_bit_after_a_kill(void **state)
{
	(void)state;
	flip_all(true);
}

static void a_bit_after_an_end(void **state)
{
	(void)state;
	flip_all(false);
}

static void a_missing_file(void **state)
{
	(void)state;
	for (unsigned is_killed = 0; is_killed < 2; is_killed++) {
		fill(is_killed);
		read_files();
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			unsigned outcome;

			write_files(i);
			outcome = look(names[i], 0);
			if (i == 0)
				assert_int_equal(outcome, 2);
			else if (i == 1 && is_killed)
				assert_int_not_equal(outcome, 0);
			else
				assert_int_equal(outcome, 0);
		}
	}
}

static void a_file_of_another_program(void **state)
{
	struct err err = {0};
	struct found f;
	sqlite3 *db;

	(void)state;
	assert_int_equal(sqlite3_open(scratch_path(&master, "broker.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE notes(text)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_null(open_store(master.dir, &f, &err));
	assert_non_null(strstr(err.msg, "another program"));
	assert_int_equal(sqlite3_open(scratch_path(&master, "broker.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DROP TABLE notes", NULL, NULL, NULL), SQLITE_OK); /* it was left alone */
	sqlite3_close(db);
}

static void a_directory_that_is_read_only(void **state)
{
	struct err err = {0};
	struct found f;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(master.dir, 0555), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (geteuid() == 0 && setuid(65534)) /* root may write everywhere */
			_exit(2);
		_exit(open_store(master.dir, &f, &err) || !strstr(err.msg, "writable"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(master.dir, 0700), 0);
}

static int setup(void **state)
{
	(void)state;
	scratch_init(&master);
	scratch_init(&copy);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		free(files[i].p);
		files[i].p = NULL;
	}
	scratch_release(&master);
	scratch_release(&copy);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_bit_after_a_kill, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_bit_after_an_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_missing_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_file_of_another_program, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_directory_that_is_read_only, setup, teardown),
	};

	log_init("test_store_files", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
