#include "config.h"

#include <stdlib.h>

#include "tests/lib/broker_fixture.h"
#include "common/banned.h"

const char *const one_id[] = {"1", WILL, NULL};

int fixture_start(void **state, const char *const *sets, size_t count, unsigned fd_limit)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fake_broker_start(&f->broker, sets, count, fd_limit);
	fake_worker_connect(&f->w, f->broker.dir);
	*state = f;
	return 0;
}

int fixture_setup(void **state)
{
	return fixture_start(state, NULL, 0, 0);
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	fake_worker_die(&f->w);
	fake_broker_stop(&f->broker);
	free(f);
	return 0;
}

void make_session(struct fixture *f)
{
	assert_int_equal(fake_session_put(&f->w, KEY, HIM, 0, 0, "{}", NULL), 0);
}

void make_stream(struct fixture *f, uint64_t *call, uint64_t *stream, struct fake_server *s)
{
	assert_int_equal(fake_call_begin(&f->w, KEY, HIM, 0, one_id, call, NULL), 0);
	assert_int_equal(fake_open(&f->w, KEY, 0, *call, NULL, NULL, stream), 0);
	fake_server_init(s, fake_adopt(&f->w, *stream, LINK_KIND_FCGI, 0, 15000));
}

void attach_own(struct fixture *f, uint64_t *own, struct fake_server *s)
{
	uint64_t cursor;

	assert_int_equal(fake_attach(&f->w, KEY, HIM, "", own, &cursor), 0);
	fake_server_init(s, fake_adopt(&f->w, *own, LINK_KIND_FCGI, cursor, 15000));
	expect_text(s, FAKE_HEAD);
}

void expect_text(struct fake_server *s, const char *text)
{
	if (!fake_server_expect(s, text, FAKE_WAIT_MS))
		fail_msg("no \"%s\" in \"%s\"", text, s->text.data ? s->text.data : "");
}

void expect_end(struct fake_server *s)
{
	if (!fake_server_expect(s, NULL, FAKE_WAIT_MS))
		fail_msg("no proper end after \"%s\"", s->text.data ? s->text.data : "");
}

void expect_message(struct fake_worker *w, enum link_type type, struct fake_answer *a)
{
	if (!fake_worker_receive(w, a, FAKE_WAIT_MS))
		fail_msg("no %s came", link_type_name(type));
	if (a->h.type != type)
		fail_msg("%s instead of %s", link_type_name(a->h.type), link_type_name(type));
}

void expect_cancelled(struct fake_worker *w, uint64_t call, const char *id)
{
	struct fake_answer a;
	struct slice in;
	bool bad = false;

	expect_message(w, LINK_CANCELLED, &a);
	assert_int_equal(a.h.corr, call);
	in = buf_slice(&a.body);
	assert_true(slice_is(link_get_bytes(&in, &bad), id));
	fake_answer_release(&a);
}

void expect_silence(struct fake_worker *w)
{
	struct fake_answer a;

	if (fake_worker_receive(w, &a, 200))
		fail_msg("an unexpected %s", link_type_name(a.h.type));
}
