# www/: what the web server serves by itself
wwwdir = $(pkgdatadir)/www
dist_www_DATA = \
	%D%/calls.js \
	%D%/client.js \
	%D%/coalesce.js \
	%D%/complete.js \
	%D%/connect.js \
	%D%/console.css \
	%D%/console.js \
	%D%/content.js \
	%D%/dom.js \
	%D%/events.js \
	%D%/form.js \
	%D%/index.html \
	%D%/journal.js \
	%D%/legacy.js \
	%D%/list.js \
	%D%/modern.js \
	%D%/oldsse.js \
	%D%/prompts.js \
	%D%/questions.js \
	%D%/resources.js \
	%D%/schema.js \
	%D%/session.js \
	%D%/setup.js \
	%D%/streams.js \
	%D%/tasks.js \
	%D%/template.js \
	%D%/timeline.js \
	%D%/tools.js
