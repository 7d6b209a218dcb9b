/* fcgi/http_def_priv.h - what these share: http_def.c (a definition is read), http_make.c (requests are made of it). */
#ifndef MCP_FCGI_HTTP_DEF_PRIV_H
#define MCP_FCGI_HTTP_DEF_PRIV_H

#include "fcgi/http_def.h"

/* All that is no object of its own is borrowed from the configuration. */
struct http_def {
	const char *method;
	const char *url;
	char *host;                   /* owned */
	char *name;                   /* owned */
	struct http_base *base;       /* owned; NULL: none */
	json_object *query, *headers; /* objects; NULL: none */
	json_object *json, *form;     /* at most one of these and body */
	bool has_json;                /* json may be a null */
	const char *body;
	bool is_xml;             /* body */
	bool names_call;         /* {mcp:call} stands somewhere */
	json_object *properties; /* of the arguments, with their defaults; NULL: none */
	json_object *secrets;    /* owned; "file:PATH" -> text */
};

/* The url, query and headers that an API's definition, at pointer, has for all who ask it. As http_def_new(). */
struct http_def *http_def_new_base(json_object *api, struct cfg *cfg, const char *pointer, struct err *err);

/* How a value of a query or form is written that is no single value. */
enum http_style {
	HTTP_STYLE_NONE,  /* no such style */
	HTTP_STYLE_COMMA, /* items with these between them */
	HTTP_STYLE_SPACE,
	HTTP_STYLE_PIPE,
	HTTP_STYLE_DEEP, /* NAME[MEMBER]=..., as deep as it goes */
	HTTP_STYLE_JSON  /* as JSON, strings too */
};
enum http_style http_style_of(json_object *field); /* its "style" */


/* Whether text is one {placeholder} and nothing else: *name is that. */
bool http_is_placeholder(const char *text, struct slice *name);

#endif
