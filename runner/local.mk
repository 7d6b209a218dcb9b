# runner/: mcp-runner, the one process per host that owns what outlives a request; the library is for its tests
noinst_LIBRARIES += librunner.a
librunner_a_SOURCES = \
	%D%/job.c %D%/job.h %D%/job_priv.h \
	%D%/job_tell.c \
	%D%/jobs.c %D%/jobs.h \
	%D%/publication.c %D%/publication.h \
	%D%/publish_request.c %D%/publish_request.h \
	%D%/publisher.c %D%/publisher.h \
	%D%/reporter.c %D%/reporter.h \
	%D%/watch.c %D%/watch.h \
	%D%/watcher.c %D%/watcher.h
bin_PROGRAMS += mcp-runner
mcp_runner_SOURCES = %D%/main.c
mcp_runner_LDADD = librunner.a $(WORKER_LIBS)
