#include "config.h"

#include "common/mem.h"
#include "fcgi/exec_strings.h"
#include "common/banned.h"

int exec_strings_add(struct exec_strings *s, char *item, struct err *err)
{
	char **items = item ? mem_realloc(s->items, (s->count + 2) * sizeof(*items)) : NULL;

	if (!items) {
		mem_free(item);
		return err_set(err, ERR_NOMEM, "exec");
	}
	s->items = items;
	s->bytes += strlen(item) + 1;
	items[s->count++] = item;
	items[s->count] = NULL;
	return 0;
}

void exec_strings_release(struct exec_strings *s)
{
	for (size_t i = 0; i < s->count; i++)
		mem_free(s->items[i]);
	mem_free(s->items);
	*s = (struct exec_strings){0};
}

int exec_strings_put(struct exec_strings *env, char *item, struct err *err)
{
	size_t name_len = item ? strcspn(item, "=") + 1 : 0;

	for (size_t i = 0; item && i < env->count; i++) {
		if (strncmp(env->items[i], item, name_len) == 0) {
			env->bytes += strlen(item) - strlen(env->items[i]);
			mem_free(env->items[i]);
			env->items[i] = item;
			return 0;
		}
	}
	return exec_strings_add(env, item, err);
}

int exec_strings_set(struct exec_strings *env, const char *name, struct slice value, struct err *err)
{
	size_t name_len = strlen(name);
	char *item = mem_alloc(1, name_len + value.len + 2);

	if (!item)
		return err_set(err, ERR_NOMEM, "exec");
	memcpy(item, name, name_len);
	item[name_len] = '=';
	if (value.len)
		memcpy(item + name_len + 1, value.p, value.len);
	return exec_strings_put(env, item, err);
}
