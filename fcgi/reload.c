#include "config.h"

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/reload.h"
#include "common/banned.h"

/* *w can't serve after a failure, but knows its sources. */
static int load(struct reload *r, struct worker **w, struct err *err)
{
	int ret;

	*w = mem_alloc(1, sizeof(**w));
	if (!*w)
		return err_set(err, ERR_NOMEM, "a worker");
	ret = worker_init(*w, r->file, r->sets, r->sets_count, err);
	sources_release(&r->tried);
	r->tried = (*w)->cfg.sources;
	(*w)->cfg.sources = (struct sources){0};
	r->seen = r->tried.mark;
	return ret;
}

int reload_init(struct reload *r, const char *file, const char *const *sets, size_t sets_count, struct err *err)
{
	*r = (struct reload){.file = file, .sets = sets, .sets_count = sets_count};
	return load(r, &r->now, err);
}

void reload_free_worker(struct worker *w)
{
	if (!w)
		return;
	worker_release(w);
	mem_free(w);
}

void reload_release(struct reload *r)
{
	reload_free_worker(r->now);
	sources_release(&r->tried);
}

bool reload_has_changed(const struct reload *r)
{
	return sources_mark(&r->tried) != r->tried.mark;
}

bool reload_is_due(struct reload *r)
{
	uint64_t mark = sources_mark(&r->tried), before = r->seen;

	r->seen = mark;
	return mark != r->tried.mark && mark == before;
}

int reload_try(struct reload *r, struct worker **old)
{
	struct worker *next;
	struct err err = {0};

	if (load(r, &next, &err)) {
		LOG(ERROR, "reload.refused", "why=\"%s\" effect=\"the configuration of before stays\"", err.msg);
		reload_free_worker(next);
		return -1;
	}
	LOG(INFO, "reload.done", "tools=%zu resources=%zu prompts=%zu", next->tools.count,
	    next->resources.fixed_count + next->resources.templates_count, next->prompts.count);
	*old = r->now;
	r->now = next;
	return 0;
}
