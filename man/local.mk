# man/: a page for each program, and one for their configuration
dist_man_MANS += \
	%D%/mcp-fcgi-module.3 \
	%D%/mcp-launch.8 \
	%D%/mcp-runner.8 \
	%D%/mcp-worker.8 \
	%D%/mcpctl.1

# The list of settings comes from the rows of common/cfg_tbl.h, like everything that is said about them.
man_MANS = %D%/mcp.json.5 %D%/mcp-broker.8
EXTRA_DIST += %D%/mcp.json.5.in %D%/mcp-broker.8.in
CLEANFILES += %D%/mcp.json.5 %D%/mcp-broker.8
%D%/mcp.json.5: %D%/mcp.json.5.in mcpctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && ./mcpctl$(EXEEXT) settings --mdoc >$@.rows && \
	$(SED) -e 's|@CONF_DIR@|$(sysconfdir)|; s|@DATA_DIR@|$(pkgdatadir)|; s|@DOC_DIR@|$(docdir)|' \
		-e '/^@SETTINGS@$$/{' -e 'r $@.rows' -e d -e '}' $(srcdir)/%D%/mcp.json.5.in >$@.tmp && \
	rm -f $@.rows && mv $@.tmp $@

# That of what the broker counts from those of broker/stats_tbl.h.
%D%/mcp-broker.8: %D%/mcp-broker.8.in mcpctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && ./mcpctl$(EXEEXT) metrics --mdoc >$@.rows && \
	$(SED) -e '/^@METRICS@$$/{' -e 'r $@.rows' -e d -e '}' $(srcdir)/%D%/mcp-broker.8.in >$@.tmp && \
	rm -f $@.rows && mv $@.tmp $@
