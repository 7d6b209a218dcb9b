# bench/: "make bench" measures with bench/run (doc/performance.md); "make bench-programs" only builds what that needs.
BENCH =
bench_programs = %D%/load %D%/hello_fcgi %D%/link_ask %D%/link_adopt %D%/link_publish %D%/writer_fcgi %D%/sql_loop \
	%D%/spawn_loop %D%/static_tool %D%/store_append
check_PROGRAMS += %D%/streams $(bench_programs)
check_DATA += %D%/tool_module.so
CLEANFILES += %D%/tool_module.so
EXTRA_DIST += %D%/run %D%/chart %D%/thin %D%/tool_module.c $(bench_modules) $(bench_peers)
bench_modules = %D%/calls.py %D%/events.py %D%/growth.py %D%/instructions.py %D%/link.py %D%/machine.py %D%/peers.py \
	%D%/report.py %D%/running.py %D%/sites.py %D%/starts.py
bench_peers = %D%/peers/.npmrc %D%/peers/package.json %D%/peers/package-lock.json %D%/peers/sdk_v1.mjs %D%/peers/sdk_v2.mjs

%C%_load_SOURCES = %D%/load.c %D%/histogram.c %D%/histogram.h %D%/target.c %D%/target.h
%C%_load_LDADD = libcommon.a
%C%_streams_SOURCES = %D%/streams.c %D%/histogram.c %D%/histogram.h %D%/target.c %D%/target.h
%C%_streams_LDADD = libcommon.a
%C%_hello_fcgi_SOURCES = %D%/hello_fcgi.c %D%/target.c %D%/target.h
%C%_hello_fcgi_LDADD = $(WORKER_LIBS)
%C%_link_ask_SOURCES = %D%/link_ask.c %D%/target.c %D%/target.h
%C%_link_ask_LDADD = $(WORKER_LIBS)
%C%_link_adopt_SOURCES = %D%/link_adopt.c
%C%_link_adopt_LDADD = $(WORKER_LIBS)
%C%_link_publish_SOURCES = %D%/link_publish.c %D%/target.c %D%/target.h
%C%_link_publish_LDADD = $(WORKER_LIBS)
%C%_writer_fcgi_SOURCES = %D%/writer_fcgi.c %D%/target.c %D%/target.h
%C%_writer_fcgi_LDADD = libcommon.a
%C%_sql_loop_SOURCES = %D%/sql_loop.c %D%/target.c %D%/target.h
%C%_sql_loop_LDADD = libcommon.a $(SQLITE_LIBS)
%C%_spawn_loop_SOURCES = %D%/spawn_loop.c %D%/target.c %D%/target.h
%C%_spawn_loop_LDADD = libcommon.a
%C%_static_tool_SOURCES = %D%/static_tool.c
%C%_static_tool_CFLAGS = $(WARN)
%C%_static_tool_LDFLAGS = $(STATIC)
%C%_store_append_SOURCES = %D%/store_append.c %D%/target.c %D%/target.h
%C%_store_append_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS)
%D%/tool_module.so: $(srcdir)/%D%/tool_module.c $(MODULE_HEADER)
	$(MODULE_C) -o $@ $(srcdir)/%D%/tool_module.c

# BENCH: options of bench/run, as in  make bench BENCH='--only calls --rounds 3'
# One make after the other: two at a time would write the same libraries.
bench-programs: all
	$(MAKE) $(AM_MAKEFLAGS) $(bench_programs) %D%/streams %D%/tool_module.so
bench: bench-programs
	$(srcdir)/%D%/run $(BENCH)
.PHONY: bench bench-programs
