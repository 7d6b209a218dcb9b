# bench/: programs that measure; built by "make bench" only, but for the streams that tests/fault/storms.py holds.
# Then bench/run.
bench_tools = %D%/load %D%/hello_fcgi %D%/link_ask %D%/link_adopt %D%/link_publish %D%/writer_fcgi %D%/sql_loop %D%/store_append
EXTRA_PROGRAMS += $(bench_tools)
check_PROGRAMS += %D%/streams
CLEANFILES += $(bench_tools)
EXTRA_DIST += %D%/run %D%/thin

%C%_load_SOURCES = %D%/load.c %D%/histogram.c %D%/histogram.h %D%/target.c %D%/target.h
%C%_load_LDADD = libcommon.a
%C%_streams_SOURCES = %D%/streams.c %D%/histogram.c %D%/histogram.h %D%/target.c %D%/target.h
%C%_streams_LDADD = libcommon.a
%C%_hello_fcgi_SOURCES = %D%/hello_fcgi.c %D%/target.c %D%/target.h
%C%_hello_fcgi_LDADD = libcommon.a $(FCGI_LIBS)
%C%_link_ask_SOURCES = %D%/link_ask.c
%C%_link_ask_LDADD = $(WORKER_LIBS)
%C%_link_adopt_SOURCES = %D%/link_adopt.c
%C%_link_adopt_LDADD = $(WORKER_LIBS)
%C%_link_publish_SOURCES = %D%/link_publish.c %D%/target.c %D%/target.h
%C%_link_publish_LDADD = $(WORKER_LIBS)
%C%_writer_fcgi_SOURCES = %D%/writer_fcgi.c %D%/target.c %D%/target.h
%C%_writer_fcgi_LDADD = libcommon.a

%C%_sql_loop_SOURCES = %D%/sql_loop.c %D%/target.c %D%/target.h
%C%_sql_loop_LDADD = libcommon.a $(SQLITE_LIBS)
%C%_store_append_SOURCES = %D%/store_append.c
%C%_store_append_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS)

bench: $(bench_tools) %D%/streams
.PHONY: bench
