/* fcgi/sql_offers.h - resources and prompts from queries; provider_sql.c says what their definitions hold. */
#ifndef MCP_FCGI_SQL_OFFERS_H
#define MCP_FCGI_SQL_OFFERS_H

#include "fcgi/provider.h"

extern const char *const sql_resource_members[], *const sql_prompt_members[];

int sql_resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
void sql_resource_release(struct resource *resource);
int sql_resource_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err);
int sql_resource_list(struct call *call, const struct resource *resource, struct slice after, size_t max,
    json_object *items, struct err *err);
int sql_resource_complete(struct call *call, const struct resource *resource, struct slice variable, struct slice value,
    json_object *others, json_object *values, struct err *err);

int sql_prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
void sql_prompt_release(struct prompt *prompt);
int sql_prompt_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err);
int sql_prompt_complete(struct call *call, const struct prompt *prompt, struct slice argument, struct slice value,
    json_object *others, json_object *values, struct err *err);

#endif
