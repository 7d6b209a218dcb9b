/* mcpctl: what people type. It reads the configuration as workers and broker do, and says what is wrong with it, what
 * is set, and what could be. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cfg.h"
#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/opts.h"
#include "ctl/import.h"
#include "ctl/mdoc.h"
#include "ctl/publish.h"
#include "ctl/status.h"
#include "fcgi/address.h"
#include "fcgi/capabilities.h"
#include "fcgi/guard.h"
#include "fcgi/keys.h"
#include "fcgi/promptset.h"
#include "fcgi/resourceset.h"
#include "fcgi/toolset.h"
#include "common/banned.h"

#define OUT_MAX (1 << 20)

static const char purpose[] = "Checks the configuration of mcp-fcgi, and shows what its broker does. COMMAND:\n"
			      "  check [FILE]     name every mistake with its file and line\n"
			      "  settings [FILE]  list all settings with their values (--json: as JSON)\n"
			      "  schema           print a JSON Schema of the configuration, for editors\n"
			      "  import openapi FILE  print the tools of an API that is described there\n"
			      "and of a broker that runs\n"
			      "  status           show what it holds and what it did (--json: as JSON)\n"
			      "  sessions         list the sessions of clients (--json: as JSON)\n"
			      "  sessions kill ID end the session whose id begins with ID\n"
			      "  streams          list the streams (--json: as JSON)\n"
			      "  restart          let the program on disk take over: no stream drops (--json)\n"
			      "  metrics          print its numbers as Prometheus reads them\n"
			      "and of its runner (--session ID, --principal NAME: to one only; --json)\n"
			      "  publish resource URI      tell clients that this resource was updated\n"
			      "  publish lists NAME...     that these lists changed: tools, prompts, resources\n"
			      "  publish log LEVEL TEXT    show them a log line (--logger NAME)\n"
			      "  publish progress CALL NUMBER[/TOTAL] [TEXT]  report on the call that\n"
			      "                            a tool finds in MCP_CALL, to its client";

static const char *as_json, *as_mdoc;
static struct import_options import_options;
static struct publish_args publication;

static const struct opts_row option_rows[] = {
    {"json", NULL, "settings, status, sessions, streams, restart, publish: print JSON", &as_json},
    {"mdoc", NULL, "settings, metrics: print the list of the manual page; asks and reads nothing", &as_mdoc},
    {"server", "URL", "import: where the API is, if its description doesn't say or says another", &import_options.server},
    {"variables", "NAME=TEXT,...", "import: values for variables in the URL of its server", &import_options.variables},
    {"prefix", "TEXT", "import: what the names of all its tools begin with", &import_options.prefix},
    {"tags", "TAG,...", "import: operations with one of these tags", &import_options.tags},
    {"paths", "PATTERN,...", "import: operations at such paths, as in '/pets*'", &import_options.paths},
    {"methods", "METHOD,...", "import: operations of these methods, as in get,head", &import_options.methods},
    {"operations", "PATTERN,...", "import: operations with such an operationId, as in 'list*,!listAll'",
	&import_options.operations},
    {"secrets", "SCHEME=FILE,...", "import: files with what its security schemes need; SCHEME=: do without",
	&import_options.secrets},
    {"session", "ID", "publish: only to the session whose id begins so", &publication.session},
    {"principal", "NAME", "publish: only to the holder of this one's API key", &publication.principal},
    {"logger", "NAME", "publish log: who says it", &publication.logger},
    {NULL, NULL, NULL, NULL},
};

static void complain(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

static int flush(struct buf *out)
{
	struct err err = {0};
	int ret = EXIT_SUCCESS;

	if (buf_check(out, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		ret = EXIT_FAILURE;
	} else if (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout)) {
		perror("mcpctl: write");
		ret = EXIT_FAILURE;
	}
	buf_release(out);
	return ret;
}

/* Settings whose value is not the default. */
static int count_changed(const struct cfg *cfg)
{
	struct cfg defaults;
	struct buf a, b;
	size_t count;
	int changed = 0;

	if (cfg_init(&defaults, NULL))
		return 0; /* no memory for a figure that is only for the eye */
	cfg_rows(&count);
	buf_init(&a, OUT_MAX);
	buf_init(&b, OUT_MAX);
	for (size_t i = 0; i < count; i++) {
		buf_clear(&a);
		buf_clear(&b);
		cfg_add_value(&a, cfg, i);
		cfg_add_value(&b, &defaults, i);
		changed += !slice_eq(buf_slice(&a), buf_slice(&b));
	}
	buf_release(&a);
	buf_release(&b);
	cfg_release(&defaults);
	return changed;
}

static void check_publish(struct cfg *cfg)
{
	struct sockaddr_storage address;
	struct keys keys = {0};
	struct err err = {0};
	socklen_t len;

	if (!cfg->publish_listen[0])
		return;
	if (address_read_listen(cfg->publish_listen, &address, &len, &err))
		cfg_complain(cfg, "/publish/listen", "%s", err.msg);
	if (!cfg->publish_keys_file[0])
		cfg_complain(cfg, "/publish/listen", "needs publish_keys_file, a file with name:key a line");
	else if (keys_load(&keys, cfg->publish_keys_file, &err))
		cfg_complain(cfg, "/publish/keys_file", "%s", err.msg);
	keys_release(&keys);
}

/* What a worker reads beside the rows when it starts. */
static void check_values(struct cfg *cfg)
{
	struct buf server;
	struct keys keys = {0};
	struct err err = {0};
	char *host = NULL, *origin = NULL;

	buf_init(&server, OUT_MAX);
	if (capabilities_put_server(&server, cfg, REV_2026_07, &err))
		cfg_complain(cfg, "/server", "%s", err.msg);
	buf_release(&server);
	if (cfg->auth_api_keys_file[0] && keys_load(&keys, cfg->auth_api_keys_file, &err))
		cfg_complain(cfg, "/auth/api_keys_file", "%s", err.msg);
	keys_release(&keys);
	check_publish(cfg);
	if (cfg->server_public_url[0] && guard_split_url(cfg->server_public_url, &host, &origin, &err))
		cfg_complain(cfg, "/server/public_url", "%s", err.msg);
	mem_free(host);
	mem_free(origin);
	for (size_t i = 0; i < cfg->cors_origins.count; i++) {
		char pointer[64];

		host = origin = NULL;
		snprintf(pointer, sizeof(pointer), "/cors/origins/%zu", i);
		if (guard_split_url(cfg->cors_origins.items[i], &host, &origin, &err))
			cfg_complain(cfg, pointer, "%s", err.msg);
		mem_free(host);
		mem_free(origin);
	}
}

/* What a site offers. Each kind is read whatever is wrong with the one before. */
struct site {
	struct toolset tools;
	struct resourceset resources;
	struct promptset prompts;
};

static void site_release(struct site *site)
{
	toolset_release(&site->tools);
	resourceset_release(&site->resources);
	promptset_release(&site->prompts);
}

static int site_init(struct site *site, struct cfg *cfg, struct err *err)
{
	int complaints = cfg->complaint_count;
	struct err why[3] = {0};
	int bad[] = {toolset_init(&site->tools, cfg, &why[0]), resourceset_init(&site->resources, cfg, &why[1]),
	    promptset_init(&site->prompts, cfg, &why[2])};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (bad[i] && cfg->complaint_count == complaints) { /* it was not for what the configuration says */
			*err = why[i];
			return -1;
		}
	}
	return 0;
}

static void put_count(size_t count, const char *noun)
{
	printf("%zu %s%s, ", count, noun, count == 1 ? "" : "s");
}

static int check(struct cfg *cfg, const struct opts *opts)
{
	struct site site = {0};
	struct err err = {0};
	int problems, changed;

	/* Mistakes in settings don't hide those in tools; a file that could not be read hides all. */
	if (cfg_load(cfg, opts->conf, opts->sets, opts->sets_count, &err) && cfg->complaint_count == 0) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	check_values(cfg);
	if (site_init(&site, cfg, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		site_release(&site);
		return EXIT_FAILURE;
	}
	problems = cfg->complaint_count;
	changed = count_changed(cfg);
	if (problems == 0) {
		printf("%s: ok, ", cfg->file);
		put_count(site.tools.count, "tool");
		if (site.resources.fixed_count || site.resources.templates_count)
			put_count(site.resources.fixed_count + site.resources.templates_count, "resource");
		if (site.prompts.count)
			put_count(site.prompts.count, "prompt");
		printf("%d setting%s changed\n", changed, changed == 1 ? "" : "s");
	} else {
		fprintf(stderr, "%d problem%s\n", problems, problems == 1 ? "" : "s");
	}
	site_release(&site);
	return problems ? EXIT_FAILURE : EXIT_SUCCESS;
}

static bool is_int(const struct cfg_row *row)
{
	return strcmp(row->type, "int") == 0;
}

/* The default as JSON. */
static void add_default(struct buf *out, const struct cfg_row *row)
{
	if (is_int(row) || strcmp(row->type, "bool") == 0)
		buf_adds(out, row->def);
	else if (strcmp(row->type, "list") == 0)
		buf_adds(out, "[]");
	else
		jx_write_str(out, slice_str(row->def));
}

static void add_settings_json(struct buf *out, const struct cfg *cfg)
{
	size_t count;
	const struct cfg_row *rows = cfg_rows(&count);

	for (size_t i = 0; i < count; i++) {
		const struct cfg_row *row = &rows[i];

		buf_addf(out, "%s{\"name\":\"%s\",\"type\":\"%s\",\"value\":", i ? ",\n" : "[", row->name, row->type);
		cfg_add_value(out, cfg, i);
		buf_adds(out, ",\"default\":");
		add_default(out, row);
		if (is_int(row))
			buf_addf(out, ",\"min\":%" PRId64 ",\"max\":%" PRId64 ",\"unit\":\"%s\"", row->min, row->max,
			    row->unit);
		buf_adds(out, ",\"help\":");
		jx_write_str(out, slice_str(row->help));
		buf_adds(out, "}");
	}
	buf_adds(out, "]\n");
}

static void add_settings_text(struct buf *out, const struct cfg *cfg)
{
	size_t count;
	const struct cfg_row *rows = cfg_rows(&count);

	for (size_t i = 0; i < count; i++) {
		const struct cfg_row *row = &rows[i];
		struct buf value, def;

		buf_init(&value, OUT_MAX);
		buf_init(&def, OUT_MAX);
		cfg_add_value(&value, cfg, i);
		add_default(&def, row);
		if (value.fault || def.fault)
			out->fault = value.fault ? value.fault : def.fault;
		else if (slice_eq(buf_slice(&value), buf_slice(&def)))
			buf_addf(out, "  %-28s %s\n", row->name, value.data);
		else
			buf_addf(out, "* %-28s %s  (default %s)\n", row->name, value.data, def.data);
		buf_release(&value);
		buf_release(&def);
	}
}

static void add_settings_mdoc(struct buf *out)
{
	size_t count;
	const struct cfg_row *rows = cfg_rows(&count);

	buf_adds(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < count; i++) {
		const struct cfg_row *row = &rows[i];
		size_t section_len = strcspn(row->name, "_");

		if (i == 0 || strncmp(rows[i - 1].name, row->name, section_len + 1) != 0)
			buf_addf(out, ".It Ic %.*s\n.Bl -tag -width Ds -compact\n", (int)section_len, row->name);
		buf_addf(out, ".It Va %s\n", row->name + section_len + 1);
		mdoc_add_text(out, row->help);
		buf_adds(out, ".\n");
		if (is_int(row))
			buf_addf(out, "From %" PRId64 " to %" PRId64 " %s; default %s.\n", row->min, row->max,
			    row->unit, row->def);
		else if (strcmp(row->type, "bool") == 0)
			buf_addf(out, "True or false; default %s.\n", row->def);
		else if (strcmp(row->type, "list") == 0)
			buf_adds(out, "An array of strings; default none.\n");
		else if (row->def[0])
			buf_addf(out, "Default\n.Ql %s .\n", row->def);
		if (i + 1 == count || strncmp(rows[i + 1].name, row->name, section_len + 1) != 0)
			buf_adds(out, ".El\n");
	}
	buf_adds(out, ".El\n");
}

static int settings(struct cfg *cfg, const struct opts *opts)
{
	struct err err = {0};
	struct buf out;

	buf_init(&out, OUT_MAX);
	if (as_mdoc) {
		add_settings_mdoc(&out);
		return flush(&out);
	}
	if (cfg_load(cfg, opts->conf, opts->sets, opts->sets_count, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	if (as_json)
		add_settings_json(&out, cfg);
	else
		add_settings_text(&out, cfg);
	return flush(&out);
}

static void add_schema_row(struct buf *out, const struct cfg_row *row)
{
	buf_addf(out, "\"%s\":{", row->name + strcspn(row->name, "_") + 1);
	if (is_int(row))
		buf_addf(out, "\"type\":\"integer\",\"minimum\":%" PRId64 ",\"maximum\":%" PRId64, row->min, row->max);
	else if (strcmp(row->type, "bool") == 0)
		buf_adds(out, "\"type\":\"boolean\"");
	else if (strcmp(row->type, "list") == 0)
		buf_adds(out, "\"type\":\"array\",\"items\":{\"type\":\"string\"}");
	else
		buf_adds(out, "\"type\":\"string\"");
	buf_adds(out, ",\"default\":");
	add_default(out, row);
	buf_adds(out, ",\"description\":");
	jx_write_str(out, slice_str(row->help));
	buf_adds(out, "}");
}

#define SCHEMA_NAMES "\"propertyNames\":{\"pattern\":\"^[A-Za-z0-9_.-]{1,128}$\"}"
#define SCHEMA_EXEC  "\"exec\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}}"
#define SCHEMA_HTTP_POLICY                                                                                             \
	"\"retries\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":10},"                                              \
	"\"cache\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},{\"type\":\"object\",\"required\":[\"ttl_s\"],"      \
	"\"additionalProperties\":false,\"properties\":{\"ttl_s\":{\"type\":\"integer\",\"minimum\":1},"                \
	"\"stale_while_revalidate_s\":{\"type\":\"integer\",\"minimum\":0},"                                            \
	"\"stale_if_error_s\":{\"type\":\"integer\",\"minimum\":0}}}]}"
#define SCHEMA_TEXTS "{\"type\":[\"string\",\"array\"],\"items\":{\"type\":\"string\"}}"
#define SCHEMA_HTTP                                                                                                    \
	"\"http\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\","                                             \
	"\"additionalProperties\":false,\"properties\":{\"api\":{\"type\":\"string\"},\"url\":{\"type\":\"string\"},"    \
	"\"method\":{\"enum\":[\"GET\",\"HEAD\",\"POST\",\"PUT\",\"PATCH\",\"DELETE\"]},"                              \
	"\"query\":{\"type\":\"object\"},\"headers\":{\"type\":\"object\"},\"json\":true,"                             \
	"\"form\":{\"type\":\"object\"},\"body\":{\"type\":\"string\"}}}]},"                                           \
	"\"result\":{\"type\":\"string\"},\"template\":{\"type\":\"string\"},"                                         \
	SCHEMA_HTTP_POLICY
#define SCHEMA_SQL                                                                                                     \
	"\"sql\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"required\":[\"file\"],"                       \
	"\"additionalProperties\":false,\"properties\":{\"file\":{\"type\":\"string\"}}}]},"                           \
	"\"database\":{\"type\":\"string\"},\"rows\":{\"enum\":[\"many\",\"one\"]},"                                        \
	"\"rows_max\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000}"
#define SCHEMA_COMMON                                                                                                  \
	"\"title\":{\"type\":\"string\"},\"description\":{\"type\":\"string\"},\"icons\":{\"type\":\"array\"},"        \
	"\"_meta\":{\"type\":\"object\"},\"timeout_s\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400}"
#define SCHEMA_VALUES "\"values\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"

/* Definitions are described as far as all providers share it: what only a provider knows, "mcpctl check" checks. */
static const char schema_definitions[] =
    "\"$schema\":{\"type\":\"string\"},\n"
    "\"include\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}],"
    "\"description\":\"Files to read too, as glob patterns, relative to this file\"},\n"
    "\"modules\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"required\":[\"file\"],"
    "\"additionalProperties\":false,\"properties\":{\"file\":{\"type\":\"string\"},\"settings\":true,"
    "\"timeout_s\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400}}}},\n"
    "\"databases\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"properties\":{\"sqlite\":{\"type\":\"string\"},\"postgresql\":{\"type\":\"string\"},\"mysql\":{\"type\":\"string\"},"
    "\"password_file\":{\"type\":\"string\"},\"write\":{\"type\":\"boolean\"},"
    "\"connections_max\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":256}}}},\n"
    "\"apis\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"required\":[\"url\"],"
    "\"additionalProperties\":false,\"properties\":{\"url\":{\"type\":\"string\"},\"query\":{\"type\":\"object\"},"
    "\"headers\":{\"type\":\"object\"},\"timeout_s\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400},"
    "\"output_max_bytes\":{\"type\":\"integer\",\"minimum\":1024,\"maximum\":67108864}," SCHEMA_HTTP_POLICY ","
    "\"allow_addresses\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}},\n"
    "\"openapi\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"file\"],\"properties\":{\"file\":{\"type\":\"string\"},\"server\":{\"type\":\"string\"},"
    "\"variables\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}},"
    "\"prefix\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_-]{0,32}$\"},"
    "\"tags\":" SCHEMA_TEXTS ",\"paths\":" SCHEMA_TEXTS ",\"methods\":" SCHEMA_TEXTS ",\"operations\":" SCHEMA_TEXTS ","
    "\"secrets\":{\"type\":\"object\",\"additionalProperties\":{\"type\":[\"string\",\"null\"]}},"
    "\"timeout_s\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400},"
    "\"output_max_bytes\":{\"type\":\"integer\",\"minimum\":1024,\"maximum\":67108864}," SCHEMA_HTTP_POLICY "}}},\n"
    "\"tools\":{\"type\":\"object\"," SCHEMA_NAMES ",\"additionalProperties\":{\"type\":\"object\",\"properties\":{"
    "\"builtin\":{\"type\":\"string\"}," SCHEMA_EXEC "," SCHEMA_HTTP "," SCHEMA_SQL "," SCHEMA_COMMON ","
    "\"input\":{\"type\":\"object\"},\"output_schema\":{\"type\":\"object\"},\"annotations\":{\"type\":\"object\"},"
    "\"poll\":{\"type\":\"boolean\"},\"single_use\":{\"type\":\"boolean\"},"
    "\"wait\":{\"type\":\"boolean\"},\"resident\":{\"type\":\"boolean\"},"
    "\"ask\":{\"type\":\"object\",\"minProperties\":1,\"additionalProperties\":{\"type\":\"object\","
    "\"required\":[\"method\"],\"properties\":{"
    "\"method\":{\"enum\":[\"elicitation/create\",\"sampling/createMessage\",\"roots/list\"]},"
    "\"params\":{\"type\":\"object\"},\"optional\":{\"type\":\"boolean\"}}}},"
    "\"task\":{\"enum\":[\"no\",\"optional\",\"required\"]}}}},\n"
    "\"resources\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"object\",\"properties\":{"
    "\"text\":{\"type\":\"string\"},\"base64\":{\"type\":\"string\"},\"file\":{\"type\":\"string\"}," SCHEMA_EXEC
    "," SCHEMA_HTTP "," SCHEMA_SQL "," SCHEMA_COMMON ","
    "\"name\":{\"type\":\"string\"},\"mime_type\":{\"type\":\"string\"},\"size\":{\"type\":\"integer\",\"minimum\":0},"
    "\"annotations\":{\"type\":\"object\"},\"variables\":{\"type\":\"object\",\"additionalProperties\":"
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{" SCHEMA_VALUES "}}}}}},\n"
    "\"prompts\":{\"type\":\"object\"," SCHEMA_NAMES ",\"additionalProperties\":{\"type\":\"object\",\"properties\":{"
    "\"text\":{\"type\":\"string\"},\"messages\":{\"type\":\"array\"}," SCHEMA_EXEC "," SCHEMA_HTTP "," SCHEMA_SQL
    "," SCHEMA_COMMON ","
    "\"arguments\":{\"type\":\"object\"," SCHEMA_NAMES ",\"additionalProperties\":"
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"title\":{\"type\":\"string\"},"
    "\"description\":{\"type\":\"string\"},\"optional\":{\"type\":\"boolean\"}," SCHEMA_VALUES "}}}}}}";

static int schema(void)
{
	size_t count;
	const struct cfg_row *rows = cfg_rows(&count);
	struct buf out;

	buf_init(&out, OUT_MAX);
	buf_adds(&out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n"
		       "\"title\":\"Configuration of "
		       "mcp-fcgi\",\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\n");
	buf_adds(&out, schema_definitions);
	for (size_t i = 0; i < count; i++) {
		size_t section_len = strcspn(rows[i].name, "_");

		if (i == 0 || strncmp(rows[i - 1].name, rows[i].name, section_len + 1) != 0)
			buf_addf(&out,
			    ",\n\"%.*s\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\n",
			    (int)section_len, rows[i].name);
		else
			buf_adds(&out, ",\n");
		add_schema_row(&out, &rows[i]);
		if (i + 1 == count || strncmp(rows[i + 1].name, rows[i].name, section_len + 1) != 0)
			buf_adds(&out, "}}");
	}
	buf_adds(&out, "\n}}\n");
	return flush(&out);
}

static int list_metrics(void)
{
	struct buf out;

	buf_init(&out, OUT_MAX);
	status_put_mdoc(&out);
	return flush(&out);
}

static int is_wrong(const char *arg, const char *why)
{
	fprintf(stderr, "mcpctl: %s%s; see mcpctl --help\n", arg, why);
	return 2;
}

/* What is asked of a broker needs to know where it is, and no more. */
static int run_status(struct cfg *cfg, struct opts *opts, const char *command)
{
	bool kills = strcmp(command, "sessions") == 0 && opts->rest_count > 1;
	struct err err = {0};

	if (kills && strcmp(opts->rest[1], "kill") != 0)
		return is_wrong(opts->rest[1], ": sessions can only be listed, and killed");
	if (kills && opts->rest_count != 3)
		return is_wrong("sessions kill", ": which one? One id, or its beginning");
	if (!kills && opts->rest_count > 1)
		return is_wrong(opts->rest[1], ": unexpected argument");
	if (as_mdoc && strcmp(command, "metrics") == 0)
		return list_metrics();
	if (cfg_load(cfg, opts->conf, opts->sets, opts->sets_count, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	if (kills)
		return status_kill(cfg, opts->rest[2]);
	if (strcmp(command, "status") == 0)
		return status_show(cfg, as_json != NULL);
	if (strcmp(command, "sessions") == 0)
		return status_sessions(cfg, as_json != NULL);
	if (strcmp(command, "streams") == 0)
		return status_streams(cfg, as_json != NULL);
	if (strcmp(command, "restart") == 0)
		return status_restart(cfg, as_json != NULL);
	return status_metrics(cfg);
}

static int run_publish(struct cfg *cfg, struct opts *opts)
{
	struct err err = {0};

	publication.words = opts->rest + 1;
	publication.count = opts->rest_count - 1;
	if (!publish_check(&publication))
		return 2;
	if (cfg_load(cfg, opts->conf, opts->sets, opts->sets_count, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	return publish_send(cfg, &publication, as_json != NULL);
}

static int run(struct cfg *cfg, struct opts *opts)
{
	static const char *const of_broker[] = {"status", "sessions", "streams", "metrics", "restart"};
	const char *command = opts->rest_count > 0 ? opts->rest[0] : "";
	bool takes_file = strcmp(command, "check") == 0 || strcmp(command, "settings") == 0;

	for (size_t i = 0; i < COUNT_OF(of_broker); i++) {
		if (strcmp(command, of_broker[i]) == 0)
			return run_status(cfg, opts, command);
	}
	if (strcmp(command, "import") == 0) {
		if (opts->rest_count != 3 || strcmp(opts->rest[1], "openapi") != 0)
			return is_wrong("import", ": what is read is: import openapi FILE");
		return import_openapi(opts->rest[2], &import_options);
	}
	if (strcmp(command, "publish") == 0)
		return run_publish(cfg, opts);
	if (opts->rest_count > (takes_file ? 2 : 1))
		return is_wrong(opts->rest[takes_file ? 2 : 1], ": unexpected argument");
	if (opts->rest_count == 2)
		opts->conf = opts->rest[1];
	if (strcmp(command, "check") == 0)
		return check(cfg, opts);
	if (strcmp(command, "settings") == 0)
		return settings(cfg, opts);
	if (strcmp(command, "schema") == 0)
		return schema();
	return is_wrong(command, *command ? ": no such command" : "a command is needed");
}

int main(int argc, char **argv)
{
	struct opts opts;
	struct cfg cfg;
	struct err err = {0};
	int ret;

	log_init("mcpctl", LOG_LEVEL_WARN);
	if (opts_parse(&opts, argc, argv, "mcpctl", purpose, option_rows, "COMMAND"))
		return opts.status;
	if (cfg_init(&cfg, &err)) {
		fprintf(stderr, "mcpctl: %s\n", err.msg);
		opts_release(&opts);
		return EXIT_FAILURE;
	}
	cfg.complain = complain;
	ret = run(&cfg, &opts);
	cfg_release(&cfg);
	opts_release(&opts);
	return ret;
}
