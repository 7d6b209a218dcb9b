/* fcgi/exec_offers.h - resources and prompts that are programs. How one runs is fcgi/exec.h; the variables of a URI
 * template, or the arguments of a prompt, are its arguments.
 *
 *   resources   {"exec": ["./read", "{id}"]}. In its environment MCP_URI is what is asked for. By "output":
 *               text     (else) stdout is the text; bytes that are not UTF-8 become U+FFFD
 *               binary   stdout is the bytes
 *               result   stdout is a whole ReadResourceResult, or at least {"contents": [{"text" or "blob"}]}
 *   prompts     {"exec": ["./summary", "{file}"]}. In its environment MCP_PROMPT is the prompt's name. By "output":
 *               text     (else) stdout is one message that the user says
 *               result   stdout is a whole GetPromptResult
 * Exit status 0 is success. 64 (EX_USAGE): the arguments are wrong, and the client is told what stands on stderr. 66
 * (EX_NOINPUT) of a resource: there is none. Anything else is an internal error, whose reason stands in the log.
 *
 * Both may have "complete": ["./suggest", "{id}"], a program that suggests values, one a line. Its arguments are those
 * that the client knows so far; MCP_COMPLETE is the name of the one that is being typed. */
#ifndef MCP_FCGI_EXEC_OFFERS_H
#define MCP_FCGI_EXEC_OFFERS_H

#include "fcgi/provider.h"

extern const char *const exec_resource_members[], *const exec_prompt_members[];

int exec_resource_init(
    struct resource *resource, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
void exec_resource_release(struct resource *resource);
int exec_resource_read(struct call *call, const struct resource *resource, struct slice uri, json_object *vars,
    json_object *contents, struct err *err);
int exec_resource_complete(struct call *call, const struct resource *resource, struct slice variable,
    struct slice value, json_object *others, json_object *values, struct err *err);

int exec_prompt_init(struct prompt *prompt, json_object *def, struct cfg *cfg, const char *pointer, struct err *err);
void exec_prompt_release(struct prompt *prompt);
int exec_prompt_get(
    struct call *call, const struct prompt *prompt, json_object *args, json_object **result, struct err *err);
int exec_prompt_complete(struct call *call, const struct prompt *prompt, struct slice argument, struct slice value,
    json_object *others, json_object *values, struct err *err);

#endif
