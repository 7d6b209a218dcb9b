/* Descriptions that a configuration names: what is wrong with one is complained about where the configuration has it.
 */
#include "config.h"

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/openapi_priv.h"
#include "common/banned.h"

#define WARNINGS_MAX 100 /* that a worker logs of one description */

struct load {
	struct cfg *cfg;
	const char *pointer, *file;
	size_t warnings;
};

static void on_wrong_member(void *arg, const char *member, const char *text)
{
	const struct load *load = arg;

	cfg_complain_at(load->cfg, load->pointer, member, "%s", text);
}

static void on_wrong_file(void *arg, const char *pointer, const char *text)
{
	const struct load *load = arg;

	cfg_complain_at(
	    load->cfg, load->pointer, "file", "%s: %s%s%s", load->file, pointer, *pointer ? ": " : "", text);
}

static void on_left_out(void *arg, const char *pointer, const char *text)
{
	struct load *load = arg;

	if (++load->warnings <= WARNINGS_MAX)
		cfg_warn(load->cfg, load->pointer, "%s: %s: %s", load->file, pointer, text);
}

static json_object *load_file(struct load *load, json_object *def, struct err *err)
{
	const struct openapi_listener listener = {on_wrong_member, on_wrong_file, on_left_out, load};
	struct openapi_counts counts = {0};
	json_object *tools = NULL;
	struct buf text;

	buf_init(&text, OPENAPI_FILE_MAX_BYTES);
	if (sources_read(&load->cfg->sources, load->file, &text, err) == 0)
		tools = openapi_convert(buf_slice(&text), def, &listener, &counts, err);
	else if (err->code != ERR_NOMEM)
		cfg_complain_at(load->cfg, load->pointer, "file", "%s: %s", load->file,
		    err->code == ERR_TOO_BIG ? "it is too large" : err->msg);
	buf_release(&text);
	if (load->warnings > WARNINGS_MAX)
		cfg_warn(load->cfg, load->pointer, "%s: and %zu more are left out", load->file,
		    load->warnings - WARNINGS_MAX);
	return tools;
}

json_object *openapi_load(struct cfg *cfg, const char *pointer, json_object *def, struct err *err)
{
	struct load load = {.cfg = cfg, .pointer = pointer};
	json_object *tools = NULL;
	char *file;

	err_set(err, ERR_CONFIG, "bad description of an API");
	if (!json_object_is_type(def, json_type_object) || !openapi_is_text(jx_get(def, "file"))) {
		cfg_complain(
		    cfg, pointer, "a description of an API is named by an object, as in {\"file\": \"api.json\"}");
		return NULL;
	}
	if (cfg_complain_unknown(cfg, pointer, def, openapi_members))
		return NULL;
	file = cfg_path_join(cfg_dir_of(cfg, pointer), jx_get_str(def, "file").p);
	load.file = file;
	if (file)
		tools = load_file(&load, def, err);
	else
		err_set(err, ERR_NOMEM, "openapi");
	mem_free(file);
	return tools;
}
