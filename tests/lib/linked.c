#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/linked.h"
#include "common/banned.h"

const struct link_will linked_will = {TEXT("1"), TEXT("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}")};

int linked_setup(void **state)
{
	struct linked *b = calloc(1, sizeof(*b));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(b);
	snprintf(b->dir, sizeof(b->dir), "%s/mcp-link-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	b->cfg.run_dir = b->dir;
	b->cfg.broker_program = b->broker_program;
	b->cfg.runner_program = b->runner_program;
	b->cfg.body_max_bytes = 65536;
	b->cfg.session_blob_max_bytes = 65536;
	b->cfg.session_idle_s = 60;
	b->cfg.link_timeout_ms = 5000;
	b->link = link_new(&b->cfg);
	assert_non_null(b->link);
	*state = b;
	return 0;
}

static void remove_file(const struct linked *b, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", b->dir, name);
	unlink(path);
}

int linked_teardown(void **state)
{
	static const char *const names[] = {LINK_CTL_NAME, LINK_ZMQ_NAME, "starts", "broker", "runner", "there"};
	struct linked *b = *state;

	link_free(&b->link);
	fake_broker_stop(&b->broker);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		remove_file(b, names[i]);
	rmdir(b->dir);
	free(b);
	return 0;
}

void linked_start(struct linked *b, bool (*on)(struct fake_broker *, const struct fake_msg *, void *))
{
	b->options.on_message = on;
	b->options.arg = b;
	b->broker = fake_broker_start(b->dir, &b->options);
}

int linked_begin(struct linked *b, struct link_call **call, struct err *err)
{
	return link_call_begin(b->link, LINKED_SESSION, "me", 0, &linked_will, 1, call, err);
}

void linked_expect(int rc, const struct err *err, enum err_code want, const char *what)
{
	if (rc != (want == ERR_NONE ? 0 : -1) || (rc && err->code != want))
		fail_msg("%s: got %d %s (%s), want %s", what, rc, rc ? err_name(err->code) : "NONE", rc ? err->msg : "",
		    err_name(want));
}

void linked_program(struct linked *b, const char *name, const char *script, char out[128])
{
	FILE *f;

	snprintf(out, 128, "%s/%s", b->dir, name);
	f = fopen(out, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\ncd %s && echo \"$@\" >>starts\n%s\n", b->dir, script);
	fclose(f);
	assert_int_equal(chmod(out, 0755), 0);
}

int linked_starts(struct linked *b)
{
	char path[128];
	FILE *f;
	int lines = 0;

	snprintf(path, sizeof(path), "%s/starts", b->dir);
	f = fopen(path, "r");
	if (!f)
		return 0;
	for (int c; (c = fgetc(f)) != EOF;)
		lines += c == '\n';
	fclose(f);
	return lines;
}
