/* ctl/import.h - "mcpctl import": the tools of a description of an API, written as a configuration has them. */
#ifndef MCP_CTL_IMPORT_H
#define MCP_CTL_IMPORT_H

/* What the command line says, NULL if it doesn't: members of the definition (fcgi/openapi.h). Lists are split at
 * commas. */
struct import_options {
	const char *server, *variables, *prefix, *tags, *paths, *methods, *operations, *secrets;
};

/* Reads file, prints {"tools": ...} for an include. Returns what to exit with. */
int import_openapi(const char *file, const struct import_options *options);

#endif
