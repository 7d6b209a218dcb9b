# ctl/: mcpctl, what people type
bin_PROGRAMS += mcpctl
mcpctl_SOURCES = \
	%D%/http_unix.c %D%/http_unix.h \
	%D%/import.c %D%/import.h \
	%D%/mcpctl.c \
	%D%/mdoc.c %D%/mdoc.h \
	%D%/publish.c %D%/publish.h \
	%D%/status.c %D%/status.h
mcpctl_LDADD = $(WORKER_LIBS)

# For editors: what may stand in mcp.json. Made of the same rows as everything else.
schemadir = $(pkgdatadir)
nodist_schema_DATA = %D%/mcp.schema.json
CLEANFILES += %D%/mcp.schema.json
%D%/mcp.schema.json: mcpctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && ./mcpctl$(EXEEXT) schema >$@.tmp && mv $@.tmp $@
