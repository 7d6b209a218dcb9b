#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/cfg.h"
#include "common/mem.h"
#include "common/opts.h"
#include "common/banned.h"

#define HELP_COLUMN 26
#define WIDTH       80

static const struct opts_row common_rows[] = {
    {"conf", "FILE", "Configuration; without it $MCP_FCGI_CONF, else " CFG_FILE_DEFAULT, NULL},
    {"set", "NAME=VALUE", "Overrides one setting; may be given often", NULL},
    {"help", NULL, "This page", NULL},
    {"version", NULL, "Name and version", NULL},
    {NULL, NULL, NULL, NULL},
};

/* "  head   text", wrapped. */
static void put_wrapped(const char *head, const char *text)
{
	int column = printf("  %s", head);

	if (column >= HELP_COLUMN) {
		putchar('\n');
		column = 0;
	}
	column += printf("%*s", HELP_COLUMN - column, "");
	for (const char *before = ""; *text; before = " ") {
		int len = (int)strcspn(text, " ");

		if (*before && column + 1 + len > WIDTH) {
			printf("\n%*s", HELP_COLUMN, "");
			column = HELP_COLUMN;
			before = "";
		}
		column += printf("%s%.*s", before, len, text);
		text += len + (text[len] == ' ');
	}
	putchar('\n');
}

static void put_rows(const struct opts_row *rows)
{
	for (; rows->name; rows++) {
		char head[80];

		snprintf(
		    head, sizeof(head), "--%s%s%s", rows->name, rows->value ? " " : "", rows->value ? rows->value : "");
		put_wrapped(head, rows->help);
	}
}

static void put_help(const char *program, const char *purpose, const struct opts_row *rows, const char *rest_names)
{
	size_t count;
	const struct cfg_row *settings = cfg_rows(&count);

	printf("%s [OPTION]...%s%s\n%s\n\n", program, rest_names ? " " : "", rest_names ? rest_names : "", purpose);
	put_rows(rows);
	put_rows(common_rows);
	printf("\nSettings ({\"stream\": {\"after_ms\": 500}} in the file is stream_after_ms):\n");
	for (size_t i = 0; i < count; i++) {
		const struct cfg_row *s = &settings[i];
		char text[512];

		if (strcmp(s->type, "int") == 0)
			snprintf(text, sizeof(text), "%s (%" PRId64 " to %" PRId64 " %s; default %s)", s->help, s->min,
			    s->max, s->unit, s->def);
		else if (s->def[0])
			snprintf(text, sizeof(text), "%s (default %s)", s->help, s->def);
		else
			snprintf(text, sizeof(text), "%s", s->help);
		put_wrapped(s->name, text);
	}
}

static const struct opts_row *find(const struct opts_row *rows, const char *name, size_t len)
{
	for (; rows->name; rows++) {
		if (strlen(rows->name) == len && memcmp(rows->name, name, len) == 0)
			return rows;
	}
	return NULL;
}

static int wrong(struct opts *opts, const char *program, const char *arg, const char *why)
{
	fprintf(stderr, "%s: %s: %s; see %s --help\n", program, arg, why, program);
	opts_release(opts);
	opts->status = 2;
	return -1;
}

static int answered(struct opts *opts)
{
	opts_release(opts);
	opts->status = 0;
	return -1;
}

int opts_parse(struct opts *opts, int argc, char **argv, const char *program, const char *purpose,
    const struct opts_row *rows, const char *rest_names)
{
	bool is_end = false;
	int i;

	*opts = (struct opts){.sets = mem_alloc((size_t)argc, sizeof(*opts->sets)), .status = 2};
	if (!opts->sets)
		return wrong(opts, program, "start", "out of memory");
	opts->rest = argv + 1; /* moved together there: none is past the option that is read */
	for (i = 1; i < argc; i++) {
		const char *arg = argv[i], *name, *value = NULL;
		const struct opts_row *row;
		size_t len;

		if (arg[0] != '-' || !arg[1] || is_end) {
			opts->rest[opts->rest_count++] = argv[i];
			continue;
		}
		if (strcmp(arg, "--") == 0) {
			is_end = true;
			continue;
		}
		name = arg + 2;
		len = strcspn(name, "=");
		row = arg[1] != '-' ? NULL : find(rows, name, len);
		if (arg[1] == '-' && !row)
			row = find(common_rows, name, len);
		if (!row)
			return wrong(opts, program, arg, "no such option");
		if (row->value)
			value = name[len] ? name + len + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (row->value ? !value : name[len] != '\0')
			return wrong(opts, program, arg, row->value ? "needs a value" : "takes no value");
		if (row->target)
			*row->target = value ? value : "";
		else if (strcmp(row->name, "conf") == 0)
			opts->conf = value;
		else if (strcmp(row->name, "set") == 0)
			opts->sets[opts->sets_count++] = value;
		else if (strcmp(row->name, "help") == 0)
			return put_help(program, purpose, rows, rest_names), answered(opts);
		else
			return printf("%s (mcp-fcgi) %s\n", program, PACKAGE_VERSION), answered(opts);
	}
	if (opts->rest_count > 0 && !rest_names)
		return wrong(opts, program, opts->rest[0], "unexpected argument");
	return 0;
}

void opts_release(struct opts *opts)
{
	mem_free(opts->sets);
	opts->sets = NULL;
	opts->sets_count = 0;
}
