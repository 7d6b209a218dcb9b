# conf/: configurations to copy; tests/serve runs these very files
confexampledir = $(pkgdatadir)/conf
dist_confexample_DATA = \
	%D%/apache-cgi.conf \
	%D%/apache-fcgid.conf \
	%D%/apache-console.conf \
	%D%/apache.conf \
	%D%/htaccess \
	%D%/lighttpd-cgi.conf \
	%D%/lighttpd-spawn.conf \
	%D%/lighttpd-console.conf \
	%D%/lighttpd-metrics.conf \
	%D%/lighttpd.conf \
	%D%/nginx-console.conf \
	%D%/nginx-metrics.conf \
	%D%/nginx-proxy.conf \
	%D%/nginx.conf
dist_confexample_SCRIPTS = %D%/mcp.fcgi
confsystemddir = $(confexampledir)/systemd
dist_confsystemd_DATA = \
	%D%/systemd/mcp-fcgi-broker.service \
	%D%/systemd/mcp-fcgi-runner.service \
	%D%/systemd/mcp-fcgi.service
