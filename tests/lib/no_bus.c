#include "config.h"

#include "common/mem.h"
#include "tests/lib/no_bus.h"
#include "common/banned.h"

struct link_header no_bus_sent;
unsigned no_bus_sent_count, no_bus_answers_count, no_bus_closed_count;
uint64_t no_bus_seq;

void bus_send(struct producer *p, const struct link_header *h, struct slice key, struct slice body)
{
	(void)p, (void)key, (void)body;
	no_bus_sent = *h;
	no_bus_sent_count++;
	no_bus_answers_count += (h->type == LINK_ACK || h->type == LINK_NACK) && h->corr == no_bus_seq;
}

void bus_forget(struct producer *p)
{
	(void)p;
}

int ctl_send(struct ctl *c, struct link_header *h, struct slice body)
{
	(void)c, (void)h, (void)body;
	return -1;
}

void ctl_close(struct ctl *c, const char *why)
{
	(void)c, (void)why;
	no_bus_closed_count++;
}

int no_bus_open(struct broker *b, struct cfg *cfg)
{
	mem_free(cfg->store_kind);
	cfg->store_kind = mem_dup("memory", strlen("memory"));
	return broker_init(b, cfg, no_bus_turn, b, NULL) || broker_open(b, NULL) ? -1 : 0;
}

bool no_bus_turn(void *broker)
{
	struct broker *b = broker;

	return b->store->reap(b->store);
}

void no_bus_run(struct broker *b)
{
	for (int i = 0; i < 8; i++)
		uv_run(&b->loop.uv, UV_RUN_NOWAIT);
}
