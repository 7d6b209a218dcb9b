/* Each allocation of the durable store's loop side fails in turn: what is acknowledged is there at the next start, and
 * what was refused can be done again. */
#include "config.h"

#include <unistd.h>

#include "broker/store.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/scratch.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define WAIT_MS 10000
#define NTH_MAX 200

struct found {
	unsigned events, objects, marks;
};

static void on_object(void *arg, enum store_kind kind, struct slice key, struct slice value)
{
	struct found *f = arg;

	(void)key;
	if (kind == STORE_MARK)
		f->marks++;
	else if (slice_is(value, "new"))
		f->objects++;
}

static void on_event(void *arg, const struct store_event *e)
{
	struct found *f = arg;

	assert_false(e->is_lost);
	f->events++;
}

static void on_wake(void *arg)
{
	(void)arg;
}

static struct store *open_store(const struct scratch *dir, struct found *found, struct err *err)
{
	const struct store_sqlite_how how = {.dir = dir->dir};
	struct store_keeper keeper = {on_object, on_event, found};
	struct store *s = store_sqlite_open(&how, on_wake, NULL, err);

	*found = (struct found){0};
	if (s && s->recover(s, &keeper, err))
		s->close(&s);
	return s;
}

struct probe {
	struct store_read read; /* or its op alone */
	int status;
	bool is_done;
};

static void on_done(struct store_op *op, int status)
{
	struct probe *p = (struct probe *)(void *)op;

	p->status = status;
	p->is_done = true;
}

static int wait_for(struct store *s, struct probe *p)
{
	for (uint64_t until = now_ms() + WAIT_MS; !p->is_done && now_ms() < until; usleep(50))
		s->reap(s);
	assert_true(p->is_done);
	return p->status;
}

static void put(struct store *s, enum store_kind kind, struct slice key, struct slice value)
{
	char bytes[8];
	struct buf b = {.data = bytes, .cap = sizeof(bytes), .max = sizeof(bytes)};

	buf_add_slice(&b, value); /* needs no memory */
	s->put(s, kind, key, &b);
}

/* What one callback of the loop may submit. Returns how many of the events are there: two, of which one is of two
 * streams. */
static unsigned submit(struct store *s, struct probe *sync, uint64_t *position)
{
	static const char long_name[3000];
	const struct slice key = {long_name, sizeof(long_name)}; /* so that each time there is no room for it yet */
	uint64_t second;
	bool joined;

	*sync = (struct probe){.read.op.done = on_done};
	*position = s->append(s, 1, 1, SLICE("one"), false);
	second = s->append(s, 1, 2, SLICE("two"), false);
	joined = second && s->join(s, second, 2, 1);
	put(s, STORE_SESSION, SLICE("a"), SLICE("old"));
	put(s, STORE_SESSION, SLICE("a"), SLICE("new"));
	put(s, STORE_MARK, key, SLICE(""));
	s->del(s, STORE_MARK, key);
	s->sync(s, &sync->read.op);
	return (*position ? 1u : 0) + (second ? 1u : 0) + joined;
}

static void what_is_acknowledged_is_there(void **state)
{
	long nth, live = mem_fault_live();
	bool has_failed = true;

	(void)state;
	for (nth = 0; nth < NTH_MAX && has_failed; nth++) {
		struct probe sync, read = {.read.op.done = on_done, .read.count = 1};
		struct scratch dir;
		struct found found;
		struct store *s;
		unsigned events;
		int status;

		scratch_init(&dir);
		s = open_store(&dir, &found, NULL);
		assert_non_null(s);
		mem_fault_at(nth, 1);
		events = submit(s, &sync, &read.read.positions[0]);
		status = wait_for(s, &sync);
		if (read.read.positions[0]) {
			s->read(s, &read.read);
			assert_int_equal(wait_for(s, &read), 0);
			assert_int_equal(read.read.good, 1);
		}
		has_failed = mem_fault_end();
		assert_true(has_failed || status == 0);
		s->close(&s);
		s = open_store(&dir, &found, NULL);
		assert_non_null(s);
		assert_int_equal(found.events, events);
		if (status == 0) {
			assert_int_equal(found.objects, 1);
			assert_int_equal(found.marks, 0);
		}
		assert_int_equal(submit(s, &sync, &read.read.positions[0]), 3);
		assert_int_equal(wait_for(s, &sync), 0);
		s->close(&s);
		scratch_release(&dir);
	}
	assert_in_range(nth, 5, NTH_MAX - 1);
	assert_int_equal(mem_fault_live(), live);
}

static void a_start_needs_memory(void **state)
{
	struct scratch dir;
	struct found found;
	bool has_failed = true;
	long nth, live = mem_fault_live();

	(void)state;
	scratch_init(&dir);
	for (nth = 0; nth < NTH_MAX && has_failed; nth++) {
		struct err err = {0};
		struct store *s;

		mem_fault_at(nth, 1);
		s = open_store(&dir, &found, &err);
		has_failed = mem_fault_end();
		assert_true(s || (has_failed && err.msg[0]));
		if (s)
			s->close(&s);
	}
	assert_in_range(nth, 5, NTH_MAX - 1);
	assert_int_equal(mem_fault_live(), live);
	scratch_release(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_acknowledged_is_there),
	    cmocka_unit_test(a_start_needs_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
