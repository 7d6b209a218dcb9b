# examples/: complete sites that run
EXTRA_DIST += \
	%D%/README.md \
	%D%/clients \
	%D%/hello \
	%D%/riverwatch \
	%D%/tools

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(pkgdatadir)/examples'
	cp -R '$(srcdir)/%D%/README.md' '$(srcdir)/%D%/clients' '$(srcdir)/%D%/hello' '$(srcdir)/%D%/riverwatch' '$(srcdir)/%D%/tools' '$(DESTDIR)$(pkgdatadir)/examples/'
	chmod -R u+w,go+rX '$(DESTDIR)$(pkgdatadir)/examples'

uninstall-local:
	rm -rf '$(DESTDIR)$(pkgdatadir)/examples'
