/* A body: it is refused with an error, or what it is as JSON-RPC survives being written and read again. */
#include "config.h"

#include <stdlib.h>

#include "common/jx.h"
#include "fcgi/rpc.h"
#include "tests/fuzz/target.h"
#include "common/banned.h"

/* An answer that repeats id is JSON. */
static void check_answer(const struct rpc *rpc, const struct err *why)
{
	struct err err = {0};
	json_object *answer;
	struct buf out;

	buf_init(&out, 1 << 20);
	rpc_put_error(&out, rpc->id, why, NULL);
	answer = jx_parse(buf_slice(&out), 8, &err);
	if (!answer)
		abort();
	json_object_put(answer);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0}, ignored = {0};
	json_object *first, *second;
	struct rpc rpc, again;
	struct buf text;
	int ret;

	first = jx_parse((struct slice){(const char *)data, size}, 32, &err);
	if ((first == NULL) != (err.code != ERR_NONE))
		abort();
	if (!first)
		return 0;
	buf_init(&text, 8 * size + 64);
	jx_write(&text, first);
	second = jx_parse(buf_slice(&text), 32, &ignored);
	if (!second)
		abort();
	ret = rpc_read(first, &rpc, &err);
	if (ret != rpc_read(second, &again, &ignored) || strcmp(rpc.id, again.id) != 0 ||
	    (ret != 0) != (err.code != ERR_NONE))
		abort();
	if (ret == 0 && (rpc.kind != again.kind || !slice_eq(rpc.method, again.method)))
		abort();
	check_answer(&rpc, &err);
	json_object_put(first);
	json_object_put(second);
	buf_release(&text);
	return 0;
}
