#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/definition.h"
#include "fcgi/module.h"
#include "fcgi/promptset.h"
#include "common/banned.h"

static const char *const own_members[] = {"arguments", NULL};
static const char *const argument_members[] = {"title", "description", "optional", "values", NULL};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "prompts");
}

/* {"name", "title", "description", "required"} */
static json_object *argument_entry(const struct argument *argument, json_object *def, struct err *err)
{
	json_object *entry = json_object_new_object();
	int bad = jx_add_str(entry, "name", argument->name, err);

	for (size_t i = 0; i < 2 && !bad; i++) {
		if (jx_has(def, argument_members[i]))
			bad =
			    jx_add(entry, argument_members[i], json_object_get(jx_get(def, argument_members[i])), err);
	}
	if (argument->is_required && !bad)
		bad = jx_add(entry, "required", json_object_new_boolean(true), err);
	if (!bad)
		return entry;
	json_object_put(entry);
	return NULL;
}

static int make_listing(struct prompt *prompt, const struct definition *d, struct err *err)
{
	json_object *entry = json_object_new_object(), *arguments = json_object_new_array();
	json_object *defs = jx_get_object(d->def, "arguments");
	int bad = jx_add_str(entry, "name", prompt->name, err);

	bad |= definition_copy(d, "title", entry, "title", err);
	bad |= definition_copy(d, "description", entry, "description", err);
	for (size_t i = 0; i < prompt->arguments.count; i++) {
		const struct argument *argument = &prompt->arguments.items[i];

		bad |= jx_append(arguments, argument_entry(argument, jx_get(defs, argument->name), err), err);
	}
	if (prompt->arguments.count)
		bad |= jx_add(entry, "arguments", arguments, err);
	else
		json_object_put(arguments);
	bad |= definition_copy(d, "icons", entry, "icons", err);
	bad |= definition_copy(d, "_meta", entry, "_meta", err);
	if (!bad)
		bad = definition_make_listing(d, SHAPE_PROMPT, entry, prompt->listing, err);
	json_object_put(entry);
	return bad;
}

static int read_definition(struct prompt *prompt, const struct definition *d, struct slice name, struct err *err)
{
	bool bad = false;

	if (!json_object_is_type(d->def, json_type_object))
		return definition_complain(
		    d, NULL, NULL, "a prompt is described by an object, as in {\"text\": \"Hello {name}\"}");
	if (!definition_name_is_valid(name))
		return definition_complain(d, NULL, NULL, "a prompt's name is 1 to 128 of A-Z a-z 0-9 _ - .");
	prompt->name = mem_dup(name.p, name.len);
	if (!prompt->name)
		return out_of_memory(err);
	prompt->provider = definition_provider(d, DEFINITION_PROMPT, own_members, &bad);
	if (!prompt->provider || definition_check_common(d))
		return -1;
	bad |= definition_read_timeout(d, &prompt->timeout_s) != 0;
	if (arguments_read(&prompt->arguments, d, "arguments", argument_members, err))
		return -1;
	bad |= prompt->provider->prompt_init(prompt, d->def, d->cfg, d->pointer, err) != 0;
	return bad ? -1 : make_listing(prompt, d, err);
}

static void prompt_release(struct prompt *prompt)
{
	if (prompt->provider)
		prompt->provider->prompt_release(prompt);
	arguments_release(&prompt->arguments);
	for (int i = 0; i < REV__COUNT; i++)
		mem_free(prompt->listing[i]);
	mem_free(prompt->name);
}

static int add_prompt(void *arg, const struct definition *d, struct slice name, struct err *err)
{
	struct promptset *set = arg;
	struct prompt *more = mem_realloc(set->prompts, (set->count + 1) * sizeof(*more));

	if (!more)
		return out_of_memory(err);
	set->prompts = more;
	err_set(err, ERR_CONFIG, "bad prompt");
	for (size_t i = 0; i < set->count; i++) {
		if (slice_is(name, more[i].name))
			return definition_complain(d, NULL, NULL, "there is a prompt \"%s\" already", more[i].name);
	}
	more[set->count] = (struct prompt){0};
	if (read_definition(&more[set->count], d, name, err)) {
		prompt_release(&more[set->count]);
		return -1;
	}
	set->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct prompt *)a)->name, ((const struct prompt *)b)->name);
}

int promptset_init(struct promptset *set, struct cfg *cfg, struct err *err)
{
	int complaints = cfg->complaint_count;
	uint64_t hash = DEFINITION_HASH_SEED;

	*set = (struct promptset){0};
	if (definition_each(cfg, cfg->prompts, "/prompts", add_prompt, set, err) ||
	    module_each(cfg, DEFINITION_PROMPT, add_prompt, set, err))
		goto fail;
	if (cfg->complaint_count != complaints) {
		err_set(
		    err, ERR_CONFIG, "mistakes in the definitions of prompts: %d", cfg->complaint_count - complaints);
		goto fail;
	}
	if (set->count)
		qsort(set->prompts, set->count, sizeof(*set->prompts), by_name);
	for (size_t i = 0; i < set->count; i++)
		hash = definition_hash(hash, set->prompts[i].listing[REV_2026_07]);
	snprintf(set->digest, sizeof(set->digest), "%016llx", (unsigned long long)hash);
	return 0;
fail:
	promptset_release(set);
	return -1;
}

void promptset_release(struct promptset *set)
{
	for (size_t i = 0; i < set->count; i++)
		prompt_release(&set->prompts[i]);
	mem_free(set->prompts);
	*set = (struct promptset){0};
}

static int by_key(const void *key, const void *prompt)
{
	return definition_order(*(const struct slice *)key, ((const struct prompt *)prompt)->name);
}

const struct prompt *promptset_find(const struct promptset *set, struct slice name)
{
	return set->count ? bsearch(&name, set->prompts, set->count, sizeof(*set->prompts), by_key) : NULL;
}
