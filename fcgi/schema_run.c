/* A check as it goes on: its bounds, what was looked at, and the words for what is wrong. */
#include "config.h"

#include "fcgi/schema_priv.h"
#include "common/banned.h"

bool run_fail(struct run *run, const char *what)
{
	if (!run->failed)
		err_set(run->err, ERR_LIMIT, "%s", what);
	run->failed = true;
	return false;
}

bool run_step(struct run *run)
{
	return ++run->steps <= SCHEMA_STEPS_MAX || run_fail(run, "the value needs too many checks");
}

bool run_no_memory(struct run *run)
{
	if (!run->failed)
		schema_no_memory(run->err);
	run->failed = true;
	return false;
}

bool run_is_quiet(const struct run *run)
{
	return !run->why || run->why_is_full;
}

bool run_check_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct buf *why = run->why;
	bool ok;

	run->why = NULL;
	ok = run_check(run, node, val, path);
	run->why = why;
	return ok;
}

/* Another value than the one at hand: what is evaluated of it is no business of those who ask about this one. */
bool run_check_child(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen *seen = run->seen;
	bool ok;

	run->seen = NULL;
	ok = run_check(run, node, val, path);
	run->seen = seen;
	return ok;
}

bool run_check_child_quietly(struct run *run, const struct node *node, json_object *val, const struct path *path)
{
	struct seen *seen = run->seen;
	bool ok;

	run->seen = NULL;
	ok = run_check_quietly(run, node, val, path);
	run->seen = seen;
	return ok;
}

void run_mark_seen(struct run *run, size_t index)
{
	if (run->seen)
		run->seen->bytes[index] = 1;
}

bool run_seen_init(struct run *run, struct seen *seen, json_object *val)
{
	*seen = (struct seen){NULL, 0};
	if (json_object_is_type(val, json_type_object))
		seen->count = (size_t)json_object_object_length(val);
	else if (json_object_is_type(val, json_type_array))
		seen->count = json_object_array_length(val);
	run->steps += (unsigned)(seen->count / 256);
	seen->bytes = mem_alloc(seen->count + 1, 1);
	return seen->bytes || run_no_memory(run);
}

void run_seen_merge(struct seen *into, const struct seen *from)
{
	for (size_t i = 0; i < from->count; i++)
		into->bytes[i] |= from->bytes[i];
}

/* At most TEXT_MAX_LEN bytes of s, cut between characters. */
void problem_add_name(struct buf *why, const char *s)
{
	size_t len = strlen(s);

	if (len > TEXT_MAX_LEN) {
		len = TEXT_MAX_LEN;
		while (len && ((unsigned char)s[len] & 0xc0) == 0x80)
			len--;
	}
	buf_add(why, s, len);
}

static void say_path(struct buf *why, const struct path *path)
{
	if (!path)
		return;
	say_path(why, path->parent);
	buf_adds(why, "/");
	if (path->key)
		problem_add_name(why, path->key);
	else
		buf_addf(why, "%zu", path->index);
}

/* Begins a problem; problem_end() takes it back if it did not fit as a whole. */
size_t problem_begin(struct run *run, const struct path *path, const char *member)
{
	size_t mark = run->why->len;
	struct path leaf = {path, member, 0};

	if (mark && run->why->data[mark - 1] != ' ')
		buf_adds(run->why, "; ");
	say_path(run->why, member ? &leaf : path);
	if (run->why->len == mark || run->why->data[run->why->len - 1] == ' ')
		buf_adds(run->why, "the value");
	buf_adds(run->why, ": ");
	return mark;
}

bool problem_end(struct run *run, size_t mark)
{
	if (run->why->fault) {
		run->why->len = mark;
		run->why->fault = ERR_NONE; /* NOMEM too: the verdict counts, the words may be fewer */
		if (run->why->data)
			run->why->data[mark] = '\0';
		run->why_is_full = true;
	}
	return false;
}
