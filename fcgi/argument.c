#include "config.h"

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/argument.h"
#include "fcgi/definition.h"
#include "common/banned.h"

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "arguments");
}

static int check_members(const struct definition *d, const char *const *known)
{
	int bad = 0;

	json_object_object_foreach(d->def, name, val) {
		const char *near = cfg_nearest(name, known);
		size_t i = 0;

		(void)val;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (!known[i])
			bad = definition_complain(d, name, NULL, "unknown member \"%s\"%s%s%s", name,
			    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	}
	return bad;
}

static int check_types(const struct definition *d)
{
	static const char *const strings[] = {"title", "description"};
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(strings); i++) {
		if (jx_has(d->def, strings[i]) && !jx_get_str(d->def, strings[i]).p)
			bad = definition_complain(d, strings[i], NULL, "%s must be a string", strings[i]);
	}
	if (jx_has(d->def, "optional") && !json_object_is_type(jx_get(d->def, "optional"), json_type_boolean))
		bad = definition_complain(d, "optional", NULL, "optional must be true or false");
	return bad;
}

static int read_values(struct argument *argument, const struct definition *d, struct err *err)
{
	json_object *values = jx_get_array(d->def, "values");
	size_t count = values ? json_object_array_length(values) : 0;

	if (jx_has(d->def, "values") && !values)
		return definition_complain(d, "values", NULL, "values must be an array of strings");
	argument->values = count ? mem_alloc(count, sizeof(*argument->values)) : NULL;
	if (count && !argument->values)
		return out_of_memory(err);
	for (size_t i = 0; i < count; i++) {
		struct slice value = jx_str(json_object_array_get_idx(values, i));

		if (!value.p || strlen(value.p) != value.len)
			return definition_complain(d, "values", NULL, "values must be an array of strings");
		argument->values[i] = mem_dup(value.p, value.len);
		if (!argument->values[i])
			return out_of_memory(err);
		argument->values_count++;
	}
	return 0;
}

/* While a list is read. */
struct reader {
	struct arguments *list;
	const char *const *known;
};

/* d is the argument's own: complaints stand at "/prompts/NAME/arguments/ARGUMENT". */
static int add_argument(void *arg, const struct definition *d, struct slice name, struct err *err)
{
	const struct reader *r = arg;
	struct argument *more, *argument;

	if (!json_object_is_type(d->def, json_type_object))
		return definition_complain(
		    d, NULL, NULL, "it is described by an object, as in {\"values\": [\"...\"]}");
	if (check_members(d, r->known) | check_types(d))
		return -1;
	if (!definition_name_is_valid(name))
		return definition_complain(d, NULL, NULL, "its name is 1 to 128 of A-Z a-z 0-9 _ - .");
	more = mem_realloc(r->list->items, (r->list->count + 1) * sizeof(*more));
	if (!more)
		return out_of_memory(err);
	r->list->items = more;
	argument = &more[r->list->count++];
	*argument = (struct argument){.name = mem_dup(name.p, name.len)};
	argument->is_required = !json_object_get_boolean(jx_get(d->def, "optional"));
	return argument->name ? read_values(argument, d, err) : out_of_memory(err);
}

int arguments_read(
    struct arguments *list, const struct definition *d, const char *member, const char *const *known, struct err *err)
{
	json_object *all = jx_get_object(d->def, member);
	struct reader r = {list, known};
	int complaints = d->cfg->complaint_count;
	struct buf pointer;
	int ret;

	if (jx_has(d->def, member) && !all)
		return definition_complain(d, member, NULL, "%s must be an object: name -> description", member);
	if (!all)
		return 0;
	buf_init(&pointer, DEFINITION_POINTER_MAX);
	buf_addf(&pointer, "%s/%s", d->pointer, member);
	ret = buf_check(&pointer, err) ? out_of_memory(err)
				       : definition_each(d->cfg, all, pointer.data, add_argument, &r, err);
	buf_release(&pointer);
	return ret || d->cfg->complaint_count != complaints ? -1 : 0;
}

void arguments_release(struct arguments *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct argument *argument = &list->items[i];

		for (size_t k = 0; k < argument->values_count; k++)
			mem_free(argument->values[k]);
		mem_free(argument->values);
		mem_free(argument->name);
	}
	mem_free(list->items);
	*list = (struct arguments){0};
}

const struct argument *arguments_find(const struct arguments *list, struct slice name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (slice_is(name, list->items[i].name))
			return &list->items[i];
	}
	return NULL;
}
