#!/bin/sh
# What Apache (mod_fcgid, mod_cgid) or lighttpd (mod_cgi) starts: a program whose name ends in .fcgi, without arguments.
# For shared hosting: put the paths of your own programs and files here. run_dir and store_dir must be directories of yours,
# mode 0700.
exec /usr/bin/mcp-worker --conf /etc/mcp-fcgi/mcp.json
