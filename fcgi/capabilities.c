#include "config.h"

#include "common/jx.h"
#include "fcgi/capabilities.h"
#include "fcgi/content.h"
#include "fcgi/shape.h"
#include "fcgi/task.h"
#include "common/banned.h"

bool capabilities_offered(const struct worker *w, enum capability capability)
{
	switch (capability) {
	case CAPABILITY_RESOURCES:
		return w->resources.fixed_count || w->resources.templates_count;
	case CAPABILITY_PROMPTS:
		return w->prompts.count > 0;
	case CAPABILITY_COMPLETIONS:
		return w->prompts.count || w->resources.templates_count;
	case CAPABILITY_TASKS:
		return w->tools.has_tasks;
	case CAPABILITY_CORE:
	case CAPABILITY_TOOLS:
	case CAPABILITY_LOGGING:
		break;
	}
	return true;
}

/* Every list and resource may change, for any tool can announce it. In 2024-11-05 completion has no capability, its
 * method simply exists (CM-01). */
static const struct {
	enum capability capability;
	enum revision since;
	const char *member;
} rows[] = {
    {CAPABILITY_TOOLS, REV_2024_11, "\"tools\":{\"listChanged\":true}"},
    {CAPABILITY_RESOURCES, REV_2024_11, "\"resources\":{\"subscribe\":true,\"listChanged\":true}"},
    {CAPABILITY_PROMPTS, REV_2024_11, "\"prompts\":{\"listChanged\":true}"},
    {CAPABILITY_COMPLETIONS, REV_2025_03, "\"completions\":{}"},
    {CAPABILITY_LOGGING, REV_2024_11, "\"logging\":{}"},
};

/* TK-01, TX-01, TX-16. TK-17: there is no list where all clients are one. */
static void put_tasks(struct buf *out, const struct worker *w, enum revision revision)
{
	if (revision == REV_2025_11)
		buf_addf(out, ",\"tasks\":{%s\"cancel\":{},\"requests\":{\"tools\":{\"call\":{}}}}",
		    w->keys.count ? "\"list\":{}," : "");
	else if (revision > REV_2025_11)
		buf_adds(out, ",\"extensions\":{\"" TASK_EXTENSION "\":{}}");
}

void capabilities_put(struct buf *out, const struct worker *w, enum revision revision)
{
	const char *comma = "";

	buf_adds(out, "{");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (revision < rows[i].since || !capabilities_offered(w, rows[i].capability))
			continue;
		buf_addf(out, "%s%s", comma, rows[i].member);
		comma = ",";
	}
	if (capabilities_offered(w, CAPABILITY_TASKS))
		put_tasks(out, w, revision);
	buf_adds(out, "}");
}

static json_object *icons_of(const struct cfg *cfg, struct err *err)
{
	json_object *icons = json_object_new_array();
	int bad = 0;

	for (size_t i = 0; i < cfg->server_icons.count; i++) {
		json_object *icon = json_object_new_object();

		bad |= jx_add_str(icon, "src", cfg->server_icons.items[i], err);
		bad |= jx_append(icons, icon, err);
	}
	if (bad || content_check_icons(icons, "server_icons", err)) {
		json_object_put(icons);
		return NULL;
	}
	return icons;
}

int capabilities_put_server(struct buf *out, const struct cfg *cfg, enum revision revision, struct err *err)
{
	const struct {
		const char *name, *value;
	} members[] = {
	    {"name", cfg->server_name},
	    {"version", cfg->server_version[0] ? cfg->server_version : PACKAGE_VERSION},
	    {"title", cfg->server_title},
	    {"description", cfg->server_description},
	    {"websiteUrl", cfg->server_website_url},
	};
	json_object *server = json_object_new_object(), *icons;
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(members); i++) {
		if (members[i].value[0])
			bad |= jx_add_str(server, members[i].name, members[i].value, err);
	}
	if (cfg->server_icons.count && !bad) {
		icons = icons_of(cfg, err);
		bad = icons ? jx_add(server, "icons", icons, err) : -1;
	}
	if (!bad)
		shape_put(out, SHAPE_SERVER, server, revision);
	json_object_put(server);
	return bad;
}
