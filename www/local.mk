# www/: what the web server serves by itself
wwwdir = $(pkgdatadir)/www
dist_www_DATA = \
	%D%/index.html \
	%D%/mcp.css \
	%D%/mcp.js
