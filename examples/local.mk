# examples/: complete sites that run
EXTRA_DIST += \
	%D%/README.md \
	%D%/clients \
	%D%/hello \
	%D%/modules \
	%D%/publish \
	%D%/riverwatch \
	%D%/tools

# What comes into being when they are tried in the source tree.
example_leftovers = clients/clients.db clients/clients.db.new modules/*.so publish/jobs riverwatch/keys riverwatch/run tools/tools/chart

dist-hook:
	cd '$(distdir)/%D%' && rm -rf $(example_leftovers)

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(pkgdatadir)/examples'
	cp -R '$(srcdir)/%D%/README.md' '$(srcdir)/%D%/clients' '$(srcdir)/%D%/hello' '$(srcdir)/%D%/modules' '$(srcdir)/%D%/publish' '$(srcdir)/%D%/riverwatch' '$(srcdir)/%D%/tools' '$(DESTDIR)$(pkgdatadir)/examples/'
	chmod -R u+w,go+rX '$(DESTDIR)$(pkgdatadir)/examples'
	cd '$(DESTDIR)$(pkgdatadir)/examples' && rm -rf $(example_leftovers)

uninstall-local:
	rm -rf '$(DESTDIR)$(pkgdatadir)/examples'
