# examples/: complete sites that run
EXTRA_DIST += %D%/hello

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(pkgdatadir)/examples'
	cp -R '$(srcdir)/%D%/hello' '$(DESTDIR)$(pkgdatadir)/examples/'
	chmod -R u+w,go+rX '$(DESTDIR)$(pkgdatadir)/examples'

uninstall-local:
	rm -rf '$(DESTDIR)$(pkgdatadir)/examples'
