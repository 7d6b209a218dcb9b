#include "config.h"

#include "broker/bus.h"
#include "broker/producer.h"
#include "broker/share.h"
#include "broker/snapshot.h"
#include "broker/task.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

static const struct {
	const char *name;
	unsigned next;
} states[LINK_TASK__COUNT] = {
#define TO(state)        (1u << LINK_TASK_##state)
#define TASK(name, next) [LINK_TASK_##name] = {#name, next},
#include "broker/task_tbl.h"
#undef TASK
#undef TO
};

bool task_may_go(enum link_task_state from, enum link_task_state to)
{
	return states[from].next & (1u << to);
}

const char *task_state_name(enum link_task_state state)
{
	return states[state].name;
}

bool task_is_over(const struct task *t)
{
	return states[t->state].next == 0;
}

/* Ids come from workers, but may be anything. */
static void log_task(const struct task *t, const char *event, const char *text, const char *why)
{
	char quoted[2 * LINK_KEY_MAX];

	LOG(INFO, event, "task=\"%s\" %s why=\"%s\" tasks=%zu", log_quote(quoted, sizeof(quoted), t->id), text, why,
	    t->broker->tasks.count);
}

/* An end can always be told. */
#define SMALL_BLOB 4096 /* bytes */

static bool has_room(struct broker *b, const struct owner *owner, uint64_t bytes)
{
	return share_has_room(b, owner, SHARE_TASKS_BYTES, b->tasks_bytes, bytes);
}

static void take_bytes(struct task *t, size_t len)
{
	t->broker->tasks_bytes += len;
	share_take(t->owner, SHARE_TASKS_BYTES, len);
}

static void drop_bytes(struct task *t, struct slice *bytes)
{
	t->broker->tasks_bytes -= bytes->len;
	share_give(t->owner, SHARE_TASKS_BYTES, bytes->len);
	mem_free((char *)(uintptr_t)bytes->p);
	*bytes = (struct slice){0};
}

static void join_runner(struct task *t, struct producer *runner)
{
	t->runner = runner;
	t->next_of_runner = runner->tasks;
	t->at_runner = &runner->tasks;
	if (t->next_of_runner)
		t->next_of_runner->at_runner = &t->next_of_runner;
	runner->tasks = t;
}

static void leave_runner(struct task *t)
{
	if (!t->runner)
		return;
	t->runner = NULL;
	*t->at_runner = t->next_of_runner;
	if (t->next_of_runner)
		t->next_of_runner->at_runner = t->at_runner;
}

static void task_go(struct task *t, enum link_task_state to, const char *why)
{
	if (!task_may_go(t->state, to))
		die(__FILE__, __LINE__, states[to].name);
	if (t->state != to)
		log_task(t, "task.state", states[to].name, why);
	t->state = to;
	if (!task_is_over(t))
		return;
	leave_runner(t);
	drop_bytes(t, &t->job); /* which it may never have been given */
}

static void tell_watchers(struct task *t)
{
	struct link_header h = {.type = LINK_TASK_CHANGED};

	for (size_t i = 0; i < t->watchers_count; i++) {
		struct producer *p = producer_find(t->broker, t->watchers[i]);

		if (p)
			bus_send(p, &h, t->id, SLICE(""));
	}
	mem_free(t->watchers);
	t->watchers = NULL;
	t->watchers_count = 0;
	t->watchers_cap = 0;
}

int task_watch(struct task *t, const struct producer *p)
{
	size_t kept = 0, cap = t->watchers_cap ? 2 * t->watchers_cap : 4;
	uint64_t *watchers;

	for (size_t i = 0; i < t->watchers_count; i++) {
		if (t->watchers[i] == p->id)
			return 0;
	}
	if (t->watchers_count == t->watchers_cap) { /* first without the dead, so it is bounded by those who live */
		for (size_t i = 0; i < t->watchers_count; i++) {
			if (producer_find(t->broker, t->watchers[i]))
				t->watchers[kept++] = t->watchers[i];
		}
		t->watchers_count = kept;
	}
	if (t->watchers_count == t->watchers_cap) {
		watchers = mem_realloc(t->watchers, cap * sizeof(*watchers));
		if (!watchers)
			return -1;
		t->watchers = watchers;
		t->watchers_cap = cap;
	}
	t->watchers[t->watchers_count++] = p->id;
	return 0;
}

static void free_task(struct loop_doom *d)
{
	struct task *t = TABLE_OF(d, struct task, doom);

	mem_free((char *)(uintptr_t)t->id.p);
	mem_free((char *)(uintptr_t)t->blob.p);
	mem_free((char *)(uintptr_t)t->job.p);
	mem_free(t->watchers);
	mem_free(t);
}

static void on_ttl(struct wheel_timer *timer)
{
	task_close(TABLE_OF(timer, struct task, timer), "its time is over");
}

/* The runner whose turn it is: the first in the line, which goes to its end. */
static struct producer *next_runner(struct broker *b)
{
	for (struct producer *p = b->runners; p; p = p->next_runner) {
		if (!p->ctl) /* it has died, which is not handled yet */
			continue;
		producer_queue_runner(p);
		return p;
	}
	return NULL;
}

/* In the order of their keys tasks are in the order of their creation, as their list is. */
static void put_key(const struct task *t, struct buf *key)
{
	unsigned char created[8];

	for (unsigned i = 0; i < sizeof(created); i++)
		created[i] = (unsigned char)(t->created_ms >> (56 - 8 * i));
	buf_init(key, SIZE_MAX / 2);
	buf_add(key, created, sizeof(created));
	buf_add_slice(key, t->id);
}

enum kept_flag { KEPT_HIDDEN = 1, KEPT_RUNS = 2 /* runner and job follow */ };

/* With its job, until its runner is known to have it: the runner may outlive us without having heard of it. */
static void put_value(const struct task *t, struct buf *value)
{
	buf_init(value, SIZE_MAX / 2);
	link_put_bytes(value, t->id);
	link_put_bytes(value, t->principal);
	link_put_u64(value, t->version);
	link_put_u8(value, (uint8_t)t->state);
	link_put_u64(value, t->created_ms);
	link_put_u64(value, t->updated_ms);
	link_put_u64(value, t->ttl_ms);
	link_put_u8(value, (uint8_t)((t->is_hidden ? KEPT_HIDDEN : 0) | (t->runner ? KEPT_RUNS : 0)));
	link_put_bytes(value, t->blob);
	link_put_bytes(value, owner_name(t->owner));
	if (t->runner) {
		link_put_u64(value, t->runner->id);
		link_put_bytes(value, t->job);
	}
}

static void keep(const struct task *t)
{
	struct buf key, value;

	if (!broker_keeps(t->broker))
		return;
	put_key(t, &key);
	put_value(t, &value);
	if (buf_check(&key, NULL))
		value.fault = ERR_NOMEM;
	broker_keep(t->broker, STORE_TASK, buf_slice(&key), &value);
	buf_release(&key);
}

static void keep_node(struct table_node *n, void *arg)
{
	(void)arg;
	keep(TABLE_OF(n, struct task, node));
}

void task_keep_all(struct broker *b)
{
	table_each(&b->tasks, keep_node, NULL);
}

static void unkeep(const struct task *t)
{
	struct buf key;

	put_key(t, &key);
	broker_unkeep(t->broker, STORE_TASK, buf_slice(&key));
	buf_release(&key);
}

/* At the end of the list, without a runner. NULL: no memory. */
static struct task *make(struct broker *b, const struct task_order *order)
{
	struct task *t = mem_alloc(1, sizeof(*t));
	char *names;

	if (!t)
		return NULL;
	names = mem_alloc(1, order->id.len + order->principal.len);
	t->id.p = names;
	t->blob = (struct slice){mem_dup(order->blob.p, order->blob.len), order->blob.len};
	t->job = (struct slice){mem_dup(order->job.p, order->job.len), order->job.len};
	if (!names || !t->blob.p || !t->job.p || owner_join(b, order->owner, &t->owner)) {
		free_task(&t->doom);
		return NULL;
	}
	memcpy(names, order->id.p, order->id.len);
	if (order->principal.len)
		memcpy(names + order->id.len, order->principal.p, order->principal.len);
	t->broker = b;
	share_take(t->owner, SHARE_TASKS, 1);
	take_bytes(t, t->blob.len + t->job.len);
	t->id.len = order->id.len;
	t->principal = (struct slice){names + order->id.len, order->principal.len};
	t->version = 1;
	t->state = LINK_TASK_WORKING;
	t->created_ms = t->updated_ms = clock_ms(CLOCK_REALTIME);
	t->ttl_ms = order->ttl_ms;
	t->is_hidden = order->flags & LINK_TASK_HIDDEN;
	t->at = b->last_task;
	*b->last_task = t;
	b->last_task = &t->next;
	table_add(&b->tasks, &t->node, table_hash_bytes(&b->tasks, t->id));
	t->timer.fire = on_ttl;
	return t;
}

unsigned task_new(struct broker *b, const struct task_order *order, struct task **task)
{
	struct producer *runner;
	struct owner *owner;
	struct task *t;
	bool fits;

	if (task_find(b, order->id, NULL))
		return LINK_NACK_DUPLICATE_ID;
	if (order->ttl_ms > (uint64_t)b->cfg->task_ttl_max_ms)
		return LINK_NACK_LIMIT;
	if (owner_join(b, order->owner, &owner))
		return LINK_NACK_BUSY;
	fits = share_has_room(b, owner, SHARE_TASKS, b->tasks.count, 1) &&
	       has_room(b, owner, order->blob.len + order->job.len);
	owner_leave(&owner);
	if (!fits)
		return LINK_NACK_LIMIT;
	runner = next_runner(b);
	if (!runner)
		return LINK_NACK_NO_RUNNER;
	t = make(b, order);
	if (!t)
		return LINK_NACK_BUSY;
	join_runner(t, runner);
	loop_timer(&b->loop, &t->timer, t->ttl_ms);
	keep(t);
	log_task(t, "task.new", states[t->state].name, "asked for");
	*task = t;
	return 0;
}

bool task_restore(struct broker *b, struct slice key, struct slice value)
{
	bool bad = key.len < sizeof(uint64_t);
	struct task_order order = {.id = link_get_bytes(&value, &bad)};
	struct producer *runner = NULL;
	uint64_t version, created_ms, updated_ms, now = clock_ms(CLOCK_REALTIME), age_ms;
	enum link_task_state state;
	unsigned flags;
	struct task *t;

	order.principal = link_get_bytes(&value, &bad);
	version = link_get_u64(&value, &bad);
	state = (enum link_task_state)link_get_u8(&value, &bad);
	created_ms = link_get_u64(&value, &bad);
	updated_ms = link_get_u64(&value, &bad);
	order.ttl_ms = link_get_u64(&value, &bad);
	flags = link_get_u8(&value, &bad);
	order.flags = flags & KEPT_HIDDEN ? LINK_TASK_HIDDEN : 0;
	order.blob = link_get_bytes(&value, &bad);
	order.owner = link_get_bytes(&value, &bad);
	if (flags & KEPT_RUNS) {
		runner = producer_restore(b, link_get_u64(&value, &bad));
		order.job = link_get_bytes(&value, &bad);
	}
	age_ms = now > created_ms ? now - created_ms : 0; /* the clock may have been set back */
	if (bad || state < LINK_TASK_WORKING || state >= LINK_TASK__COUNT || age_ms >= order.ttl_ms ||
	    task_find(b, order.id, NULL))
		return false;
	t = make(b, &order);
	if (!t)
		return false;
	t->version = version;
	t->created_ms = created_ms;
	t->updated_ms = updated_ms;
	if (order.job.len == 0) /* as was said of its runner */
		drop_bytes(t, &t->job);
	if (runner)
		join_runner(t, runner);
	task_go(t, state, "as it was before");
	loop_timer(&b->loop, &t->timer, order.ttl_ms - age_ms);
	return true;
}

void task_save(const struct task *t, struct buf *out)
{
	struct buf value;

	put_value(t, &value);
	snapshot_put_value(out, &value);
	link_put_u32(out, (uint32_t)t->watchers_count);
	for (size_t i = 0; i < t->watchers_count; i++)
		link_put_u64(out, t->watchers[i]);
}

int task_load(struct broker *b, struct slice in)
{
	bool bad = false;
	struct slice value = link_get_bytes(&in, &bad), id_in = value, id = link_get_bytes(&id_in, &bad);
	struct task *t;
	uint32_t count;

	if (bad)
		return -1;
	if (!task_restore(b, SLICE("unused.."), value)) /* its time is over, since a moment ago */
		return task_find(b, id, NULL) ? -1 : 0;
	t = task_find(b, id, NULL);
	if (task_is_over(t) == (t->runner != NULL))
		return -1;
	count = snapshot_get_count(&in, sizeof(uint64_t), &bad);
	for (uint32_t i = 0; i < count && !bad; i++) {
		const struct producer *watcher = producer_find(b, link_get_u64(&in, &bad));

		bad = bad || (watcher && task_watch(t, watcher));
	}
	return bad || in.len > 0 ? -1 : 0;
}

void task_runners_lost(struct broker *b)
{
	for (struct task *t = b->first_task; t; t = t->next) {
		if (!task_is_over(t) && !t->runner)
			task_change(t, LINK_TASK_FAILED, &SLICE(""), "nobody knows who ran it");
	}
}

void task_run(struct task *t)
{
	struct link_header h = {.type = LINK_TASK_RUN};
	struct buf body;

	if (!t->runner) /* it was cancelled, or the runner died, before it heard of it */
		return;
	if (!t->job.p) {
		task_change(t, LINK_TASK_FAILED, &SLICE(""), "its runner had it and lost it");
		return;
	}
	buf_init(&body, SIZE_MAX / 2);
	link_put_bytes(&body, t->principal);
	link_put_u64(&body, t->ttl_ms);
	link_put_bytes(&body, t->job);
	if (buf_check(&body, NULL) == 0)
		bus_send(t->runner, &h, t->id, buf_slice(&body));
	else
		task_change(t, LINK_TASK_FAILED, &SLICE(""), "no memory to give it to a runner");
	buf_release(&body);
}

void task_held(struct task *t)
{
	t->is_held = true;
	drop_bytes(t, &t->job);
}

struct task *task_find(struct broker *b, struct slice id, const struct slice *principal)
{
	struct table_node *n = table_find(&b->tasks, table_hash_bytes(&b->tasks, id));

	for (; n; n = table_find_next(n)) {
		struct task *t = TABLE_OF(n, struct task, node);

		if (slice_eq(t->id, id))
			return principal && !slice_eq(t->principal, *principal) ? NULL : t;
	}
	return NULL;
}

unsigned task_change(struct task *t, enum link_task_state state, const struct slice *blob, const char *why)
{
	if (!task_may_go(t->state, state))
		return LINK_NACK_CLOSED;
	if (blob) {
		char *copy;

		if (blob->len > SMALL_BLOB && blob->len > t->blob.len &&
		    !has_room(t->broker, t->owner, blob->len - t->blob.len))
			return LINK_NACK_TOO_BIG;
		copy = blob->len ? mem_dup(blob->p, blob->len) : NULL;
		if (blob->len && !copy) /* an empty one can't fail */
			return LINK_NACK_BUSY;
		drop_bytes(t, &t->blob);
		t->blob = (struct slice){copy, blob->len};
		take_bytes(t, blob->len);
	}
	if (blob)
		drop_bytes(t, &t->job); /* its runner has it: that is who says so */
	t->version++;
	t->updated_ms = clock_ms(CLOCK_REALTIME);
	task_go(t, state, why);
	keep(t);
	tell_watchers(t);
	return 0;
}

static int send_input(struct producer *runner, struct slice id, enum link_task_what what, struct slice body)
{
	struct link_header h = {.type = LINK_TASK_INPUT};
	struct buf out;
	int rc;

	buf_init(&out, SIZE_MAX / 2);
	link_put_u8(&out, (uint8_t)what);
	link_put_bytes(&out, body);
	rc = buf_check(&out, NULL);
	if (!rc)
		bus_send(runner, &h, id, buf_slice(&out));
	buf_release(&out);
	return rc;
}

int task_input(const struct task *t, enum link_task_what what, struct slice body)
{
	return t->runner ? send_input(t->runner, t->id, what, body) : 0;
}

void task_cancel_at(struct producer *runner, struct slice id)
{
	send_input(runner, id, LINK_TASK_CANCEL, SLICE("")); /* else it learns it from its next TASK_PUT */
}

void task_runner_lost(struct producer *runner)
{
	while (runner->tasks)
		task_change(runner->tasks, LINK_TASK_FAILED, &SLICE(""), "its runner died");
}

void task_close(struct task *t, const char *why)
{
	struct broker *b = t->broker;

	if (t->is_closed)
		return;
	t->is_closed = true;
	unkeep(t);
	table_remove(&b->tasks, &t->node);
	log_task(t, "task.end", states[t->state].name, why);
	task_input(t, LINK_TASK_CANCEL, SLICE(""));
	leave_runner(t);
	tell_watchers(t);
	drop_bytes(t, &t->blob);
	drop_bytes(t, &t->job);
	share_give(t->owner, SHARE_TASKS, 1);
	owner_leave(&t->owner);
	*t->at = t->next;
	if (t->next)
		t->next->at = t->at;
	else
		b->last_task = t->at;
	loop_untimer(&b->loop, &t->timer);
	loop_doom(&b->loop, &t->doom, free_task);
}
