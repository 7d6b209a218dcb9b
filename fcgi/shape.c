#include "config.h"

#include "common/jx.h"
#include "fcgi/shape.h"
#include "common/banned.h"

#define NEVER     REV__COUNT
#define ALWAYS    REV_2026_07
#define BIT(kind) (1u << SHAPE_##kind)

/* Members that not all revisions have. */
static const struct {
	const char *name;
	unsigned kinds;
	enum revision since, until;
} rows[] = {
    {"title", BIT(TOOL) | BIT(RESOURCE) | BIT(PROMPT) | BIT(ARGUMENT) | BIT(SERVER), REV_2025_06, ALWAYS},
    {"icons", BIT(TOOL) | BIT(RESOURCE) | BIT(PROMPT) | BIT(SERVER), REV_2025_11, ALWAYS},
    {"_meta", BIT(TOOL) | BIT(RESOURCE) | BIT(PROMPT) | BIT(CONTENT) | BIT(CONTENTS), REV_2025_06, ALWAYS},
    {"annotations", BIT(TOOL), REV_2025_03, ALWAYS},
    {"outputSchema", BIT(TOOL), REV_2025_06, ALWAYS},
    {"execution", BIT(TOOL), REV_2025_11, REV_2025_11},
    {"description", BIT(SERVER), REV_2025_11, ALWAYS},
    {"websiteUrl", BIT(SERVER), REV_2025_11, ALWAYS},
    {"lastModified", BIT(ANNOTATIONS), REV_2025_06, ALWAYS},
    {"structuredContent", BIT(RESULT), REV_2025_06, ALWAYS},
    {"_meta", BIT(RESULT), NEVER, ALWAYS},
    {"resultType", BIT(RESULT), NEVER, ALWAYS},
};

/* Members that hold objects of a kind. */
static const struct {
	const char *name;
	unsigned kinds;
	enum shape inner;
} nested[] = {
    {"annotations", BIT(RESOURCE) | BIT(CONTENT), SHAPE_ANNOTATIONS},
    {"arguments", BIT(PROMPT), SHAPE_ARGUMENT},
    {"content", BIT(RESULT) | BIT(MESSAGE), SHAPE_CONTENT},
    {"contents", BIT(RESULT), SHAPE_CONTENTS},
    {"messages", BIT(RESULT), SHAPE_MESSAGE},
    {"resource", BIT(CONTENT), SHAPE_CONTENTS},
};

static bool is_known(enum shape kind, const char *name, json_object *val, enum revision revision)
{
	/* What revisions with sessions know of structured results is an object. */
	if (kind == SHAPE_RESULT && revision < REV_2026_07 && strcmp(name, "structuredContent") == 0 &&
	    !json_object_is_type(val, json_type_object))
		return false;
	if (kind == SHAPE_TOOL && revision < REV_2026_07 && strcmp(name, "outputSchema") == 0 &&
	    !slice_is(jx_get_str(val, "type"), "object"))
		return false;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].kinds & 1u << kind && strcmp(rows[i].name, name) == 0)
			return revision >= rows[i].since && revision <= rows[i].until;
	}
	return true;
}

static void put_member(struct buf *out, enum shape kind, const char *name, json_object *val, enum revision revision)
{
	for (size_t i = 0; i < COUNT_OF(nested); i++) {
		if (nested[i].kinds & 1u << kind && strcmp(nested[i].name, name) == 0) {
			shape_put(out, nested[i].inner, val, revision);
			return;
		}
	}
	jx_write(out, val);
}

void shape_put_members(struct buf *out, enum shape kind, json_object *val, enum revision revision)
{
	const char *comma = "";

	json_object_object_foreach(val, name, member) {
		if (!is_known(kind, name, member, revision))
			continue;
		buf_adds(out, comma);
		comma = ",";
		jx_write_str(out, slice_str(name));
		buf_adds(out, ":");
		put_member(out, kind, name, member, revision);
	}
}

/* A block that came later, in words (decisions.md). */
static void put_as_text(struct buf *out, json_object *block)
{
	struct slice uri = jx_get_str(block, "uri"), description = jx_get_str(block, "description");
	struct buf text;

	buf_init(&text, out->max);
	if (uri.p) {
		buf_add_slice(&text, jx_get_str(block, "name"));
		buf_adds(&text, ": ");
		buf_add_slice(&text, uri);
		buf_adds(&text, description.len ? "\n" : "");
		buf_add_slice(&text, description);
	} else {
		buf_adds(&text, "[");
		buf_add_slice(&text, jx_get_str(block, "mimeType"));
		buf_adds(&text, ": this revision of the protocol has no audio]");
	}
	buf_adds(out, "{\"type\":\"text\",\"text\":");
	jx_write_str(out, buf_slice(&text));
	buf_adds(out, "}");
	if (text.fault && !out->fault)
		out->fault = text.fault;
	buf_release(&text);
}

static void put_object(struct buf *out, enum shape kind, json_object *val, enum revision revision)
{
	struct slice type = jx_get_str(val, "type");

	if (kind == SHAPE_CONTENT && type.p &&
	    ((revision < REV_2025_03 && slice_is(type, "audio")) ||
		(revision < REV_2025_06 && slice_is(type, "resource_link")))) {
		put_as_text(out, val);
		return;
	}
	if (kind == SHAPE_CONTENT && type.p && slice_is(type, "resource_link"))
		kind = SHAPE_RESOURCE;
	buf_adds(out, "{");
	shape_put_members(out, kind, val, revision);
	buf_adds(out, "}");
}

void shape_put(struct buf *out, enum shape kind, json_object *val, enum revision revision)
{
	if (json_object_is_type(val, json_type_object)) {
		put_object(out, kind, val, revision);
		return;
	}
	if (!json_object_is_type(val, json_type_array)) {
		jx_write(out, val);
		return;
	}
	buf_adds(out, "[");
	for (size_t i = 0; i < json_object_array_length(val); i++) {
		buf_adds(out, i ? "," : "");
		shape_put(out, kind, json_object_array_get_idx(val, i), revision);
	}
	buf_adds(out, "]");
}
