# include/: what is installed for modules, which are built outside of here
mcpincludedir = $(includedir)/mcp-fcgi
mcpinclude_HEADERS = %D%/mcp-fcgi/module.h
pkgconfigdir = $(libdir)/pkgconfig
nodist_pkgconfig_DATA = %D%/mcp-fcgi-module.pc
