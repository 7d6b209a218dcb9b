# tests/: what it builds and installs

# Real clients, the conformance suites and a browser, all in Node; tests/clients/install.sh gets what they need.
TESTS += %D%/browser/clients.mjs
TESTS += %D%/browser/console.mjs
TESTS += %D%/browser/demo.mjs
TESTS += %D%/clients/eras.mjs
TESTS += %D%/clients/asks.mjs
TESTS += %D%/clients/database.mjs
TESTS += %D%/clients/examples.mjs
TESTS += %D%/clients/faults.mjs
TESTS += %D%/clients/files.mjs
TESTS += %D%/clients/injection.mjs
TESTS += %D%/clients/limits.mjs
TESTS += %D%/clients/listen.mjs
TESTS += %D%/clients/modules.mjs
TESTS += %D%/clients/progress.mjs
TESTS += %D%/clients/publish.mjs
TESTS += %D%/clients/restart.mjs
TESTS += %D%/clients/resume.mjs
TESTS += %D%/clients/riverwatch.mjs
TESTS += %D%/clients/offers.mjs
TESTS += %D%/clients/openapi.mjs
TESTS += %D%/clients/sdk.mjs
TESTS += %D%/clients/storm.mjs
TESTS += %D%/clients/streams.mjs
TESTS += %D%/clients/tasks.mjs
TESTS += %D%/conformance/run.mjs
EXTRA_DIST += \
	%D%/browser/clients.mjs \
	%D%/browser/console.mjs \
	%D%/browser/demo.mjs \
	%D%/browser/lib.mjs \
	%D%/clients/eras.mjs \
	%D%/clients/asks.mjs \
	%D%/clients/database.mjs \
	%D%/clients/examples.mjs \
	%D%/clients/faults.mjs \
	%D%/clients/files.mjs \
	%D%/clients/install.sh \
	%D%/clients/lib.mjs \
	%D%/clients/.npmrc \
	%D%/clients/package.json \
	%D%/clients/package-lock.json \
	%D%/clients/injection.mjs \
	%D%/clients/limits.mjs \
	%D%/clients/listen.mjs \
	%D%/clients/modules.mjs \
	%D%/clients/progress.mjs \
	%D%/clients/publish.mjs \
	%D%/clients/restart.mjs \
	%D%/clients/resume.mjs \
	%D%/clients/riverwatch.mjs \
	%D%/clients/offers.mjs \
	%D%/clients/openapi.mjs \
	%D%/clients/sdk.mjs \
	%D%/clients/storm.mjs \
	%D%/clients/streams.mjs \
	%D%/clients/tasks.mjs \
	%D%/conformance/not-yet \
	%D%/conformance/run.mjs \
	%D%/conformance/scenarios \
	%D%/conformance/site

# Modules, which are built as those of others are: with the public header alone.
BROKEN = abi crash endless exit function large larger largest pointer schema size symbol twice twice_prompt twice_resource undefined
modules_of_tests = %D%/modules/manners.so %D%/modules/manners_2.so $(BROKEN:%=%D%/modules/broken_%.so) \
	%D%/modules/hello.so %D%/modules/numbers.so
if HAVE_CXX
modules_of_tests += %D%/modules/words.so
endif
check_DATA += $(modules_of_tests)
CLEANFILES += $(modules_of_tests)
EXTRA_DIST += %D%/modules/broken.c %D%/modules/manners.c
MODULE_HEADER = $(top_srcdir)/include/mcp-fcgi/module.h
MODULE_FLAGS = -I$(top_srcdir)/include $(SAN) $(CPPFLAGS) -fPIC -fvisibility=hidden -shared
MODULE_C = $(AM_V_CC)$(MKDIR_P) $(@D) && $(CC) $(WARN) -D_GNU_SOURCE $(MODULE_FLAGS) $(CFLAGS) $(LDFLAGS)
%D%/modules/manners.so: $(srcdir)/%D%/modules/manners.c $(MODULE_HEADER)
	$(MODULE_C) -o $@ $(srcdir)/%D%/modules/manners.c
%D%/modules/manners_2.so: $(srcdir)/%D%/modules/manners.c $(MODULE_HEADER)
	$(MODULE_C) -DVERSION='"2"' -o $@ $(srcdir)/%D%/modules/manners.c
$(BROKEN:%=%D%/modules/broken_%.so): $(srcdir)/%D%/modules/broken.c $(MODULE_HEADER)
	$(MODULE_C) -D$$(basename $@ .so | sed s/broken/BROKEN/) -o $@ $(srcdir)/%D%/modules/broken.c
%D%/modules/hello.so: $(srcdir)/examples/modules/hello.c $(MODULE_HEADER)
	$(MODULE_C) -o $@ $(srcdir)/examples/modules/hello.c
%D%/modules/numbers.so: $(srcdir)/examples/modules/numbers.c $(MODULE_HEADER)
	$(MODULE_C) -o $@ $(srcdir)/examples/modules/numbers.c
%D%/modules/words.so: $(srcdir)/examples/modules/words.cpp $(MODULE_HEADER)
	$(AM_V_CXX)$(MKDIR_P) $(@D) && $(CXX) -std=c++11 -Wall -Wextra $(MODULE_FLAGS) $(CXXFLAGS) $(LDFLAGS) -o $@ \
		$(srcdir)/examples/modules/words.cpp

# What runs every test: none hangs, none leaves a server behind.
check_PROGRAMS += %D%/lib/bounded
%C%_lib_bounded_SOURCES = %D%/lib/bounded.c

# Unit tests, one program a module, linked with the libraries that the programs are made of.
COMMON_LIBS = libcommon.a $(JSONC_LIBS) $(CMOCKA_LIBS)
UNIT_LIBS = $(WORKER_LIBS) $(CMOCKA_LIBS)
# The worker's end of the link, with a fake broker at the other.
LINKED_SOURCES = %D%/lib/linked.c %D%/lib/linked.h %D%/lib/fake_broker.c %D%/lib/fake_broker.h %D%/lib/unit.h
# A worker with fake tools and a fake broker, under the real fcgi/*.c.
SITE_SOURCES = %D%/lib/site.c %D%/lib/site.h %D%/lib/fake_link.c %D%/lib/fake_link_task.c %D%/lib/fake_link.h %D%/lib/fake_req.c %D%/lib/fake_req.h %D%/lib/unit.h
if HAVE_CMOCKA
check_PROGRAMS += %D%/unit/test_broker
check_PROGRAMS += %D%/unit/test_broker_admin
check_PROGRAMS += %D%/unit/test_broker_ctl
check_PROGRAMS += %D%/unit/test_broker_limits
check_PROGRAMS += %D%/unit/test_broker_no_memory
check_PROGRAMS += %D%/unit/test_broker_park
check_PROGRAMS += %D%/unit/test_broker_restart
check_PROGRAMS += %D%/unit/test_broker_return
check_PROGRAMS += %D%/unit/test_broker_task
check_PROGRAMS += %D%/unit/test_broker_topic
check_PROGRAMS += %D%/unit/test_handover
check_PROGRAMS += %D%/unit/test_record
check_PROGRAMS += %D%/unit/test_restore
check_PROGRAMS += %D%/unit/test_stats
check_PROGRAMS += %D%/unit/test_store
check_PROGRAMS += %D%/unit/test_store_no_memory
check_PROGRAMS += %D%/unit/test_store_sqlite
check_PROGRAMS += %D%/unit/test_stream
check_PROGRAMS += %D%/unit/test_wheel
check_PROGRAMS += %D%/unit/test_file
check_PROGRAMS += %D%/unit/test_filetree
check_PROGRAMS += %D%/unit/test_guard
check_PROGRAMS += %D%/unit/test_header
check_PROGRAMS += %D%/unit/test_cfg
check_PROGRAMS += %D%/unit/test_common
check_PROGRAMS += %D%/unit/test_common_no_memory
check_PROGRAMS += %D%/unit/test_content
check_PROGRAMS += %D%/unit/test_jx
check_PROGRAMS += %D%/unit/test_keys
check_PROGRAMS += %D%/unit/test_job
check_PROGRAMS += %D%/unit/test_library
check_PROGRAMS += %D%/unit/test_link_client
check_PROGRAMS += %D%/unit/test_link_ends
check_PROGRAMS += %D%/unit/test_link_task
check_PROGRAMS += %D%/unit/test_address
check_PROGRAMS += %D%/unit/test_ask
check_PROGRAMS += %D%/unit/test_endpoint
check_PROGRAMS += %D%/unit/test_exec
check_PROGRAMS += %D%/unit/test_exec_resident
check_PROGRAMS += %D%/unit/test_http
check_PROGRAMS += %D%/unit/test_http_def
check_PROGRAMS += %D%/unit/test_legacy
check_PROGRAMS += %D%/unit/test_listen
check_PROGRAMS += %D%/unit/test_modern
check_PROGRAMS += %D%/unit/test_no_memory
check_PROGRAMS += %D%/unit/test_offers
check_PROGRAMS += %D%/unit/test_sql
check_PROGRAMS += %D%/unit/test_module
check_PROGRAMS += %D%/unit/test_oldsse
check_PROGRAMS += %D%/unit/test_openapi
check_PROGRAMS += %D%/unit/test_publish
check_PROGRAMS += %D%/unit/test_rate
check_PROGRAMS += %D%/unit/test_report
check_PROGRAMS += %D%/unit/test_route
check_PROGRAMS += %D%/unit/test_rpc
check_PROGRAMS += %D%/unit/test_schema
check_PROGRAMS += %D%/unit/test_seal
check_PROGRAMS += %D%/unit/test_schema_suite
check_PROGRAMS += %D%/unit/test_session
check_PROGRAMS += %D%/unit/test_supervisor
check_PROGRAMS += %D%/unit/test_table
check_PROGRAMS += %D%/unit/test_task
check_PROGRAMS += %D%/unit/test_toolset
check_PROGRAMS += %D%/unit/test_uri_template
check_PROGRAMS += %D%/unit/test_watch
TESTS += %D%/unit/test_broker
TESTS += %D%/unit/test_broker_admin
TESTS += %D%/unit/test_broker_ctl
TESTS += %D%/unit/test_broker_limits
TESTS += %D%/unit/test_broker_no_memory
TESTS += %D%/unit/test_broker_park
TESTS += %D%/unit/test_broker_restart
TESTS += %D%/unit/test_broker_return
TESTS += %D%/unit/test_broker_task
TESTS += %D%/unit/test_broker_topic
TESTS += %D%/unit/test_handover
TESTS += %D%/unit/test_record
TESTS += %D%/unit/test_restore
TESTS += %D%/unit/test_stats
TESTS += %D%/unit/test_store
TESTS += %D%/unit/test_store_no_memory
TESTS += %D%/unit/test_store_sqlite
TESTS += %D%/unit/test_stream
TESTS += %D%/unit/test_wheel
TESTS += %D%/unit/test_file
TESTS += %D%/unit/test_filetree
TESTS += %D%/unit/test_guard
TESTS += %D%/unit/test_header
TESTS += %D%/unit/test_cfg
TESTS += %D%/unit/test_common
TESTS += %D%/unit/test_common_no_memory
TESTS += %D%/unit/test_content
TESTS += %D%/unit/test_jx
TESTS += %D%/unit/test_keys
TESTS += %D%/unit/test_job
TESTS += %D%/unit/test_library
TESTS += %D%/unit/test_link_client
TESTS += %D%/unit/test_link_ends
TESTS += %D%/unit/test_link_task
TESTS += %D%/unit/test_address
TESTS += %D%/unit/test_ask
TESTS += %D%/unit/test_endpoint
TESTS += %D%/unit/test_exec
TESTS += %D%/unit/test_exec_resident
TESTS += %D%/unit/test_http
TESTS += %D%/unit/test_http_def
TESTS += %D%/unit/test_legacy
TESTS += %D%/unit/test_listen
TESTS += %D%/unit/test_modern
TESTS += %D%/unit/test_no_memory
TESTS += %D%/unit/test_offers
TESTS += %D%/unit/test_sql
TESTS += %D%/unit/test_module
TESTS += %D%/unit/test_oldsse
TESTS += %D%/unit/test_openapi
TESTS += %D%/unit/test_publish
TESTS += %D%/unit/test_rate
TESTS += %D%/unit/test_report
TESTS += %D%/unit/test_route
TESTS += %D%/unit/test_rpc
TESTS += %D%/unit/test_schema
TESTS += %D%/unit/test_seal
TESTS += %D%/unit/test_schema_suite
TESTS += %D%/unit/test_session
TESTS += %D%/unit/test_supervisor
TESTS += %D%/unit/test_table
TESTS += %D%/unit/test_task
TESTS += %D%/unit/test_toolset
TESTS += %D%/unit/test_uri_template
TESTS += %D%/unit/test_watch
endif
%C%_fault_test_tools_SOURCES = %D%/fault/test_tools.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/toolfile.c \
	%D%/lib/toolfile.h %D%/lib/fake_call.c %D%/lib/fake_call.h
%C%_fault_test_tools_LDADD = $(UNIT_LIBS)
%C%_fault_test_handoff_SOURCES = %D%/fault/test_handoff.c %D%/lib/unit.h
%C%_fault_test_handoff_LDADD = $(UNIT_LIBS)
# A real broker, driven by a fake worker.
BROKER_SOURCES = %D%/lib/broker_fixture.c %D%/lib/broker_fixture.h %D%/lib/fake_worker.c %D%/lib/fake_worker.h %D%/lib/unit.h
BROKER_LIBS = libcommon.a $(ZMQ_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
# mcp-broker with system calls that fail or kill it when a test says so.
%C%_fault_mcp_broker_SOURCES = broker/main.c %D%/lib/breaker.c %D%/lib/breaker.h
%C%_fault_mcp_broker_LDADD = $(mcp_broker_LDADD)
BREAKER_SOURCES = %D%/lib/breaker_ctl.c %D%/lib/breaker.h $(BROKER_SOURCES)
%C%_fault_test_store_disk_SOURCES = %D%/fault/test_store_disk.c $(BREAKER_SOURCES)
%C%_fault_test_store_disk_LDADD = $(BROKER_LIBS)
%C%_fault_test_store_files_SOURCES = %D%/fault/test_store_files.c %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_fault_test_store_files_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_fault_test_descriptors_SOURCES = %D%/fault/test_descriptors.c $(BROKER_SOURCES) $(ADMIN_SOURCES)
%C%_fault_test_descriptors_LDADD = $(BROKER_LIBS)
%C%_fault_test_store_kill_SOURCES = %D%/fault/test_store_kill.c $(BREAKER_SOURCES)
%C%_fault_test_store_kill_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_SOURCES = %D%/unit/test_broker.c $(BROKER_SOURCES)
%C%_unit_test_broker_LDADD = $(BROKER_LIBS)
# Who asks its admin socket.
ADMIN_SOURCES = %D%/lib/fake_admin.c %D%/lib/fake_admin.h %D%/lib/prometheus.c %D%/lib/prometheus.h
%C%_unit_test_broker_admin_SOURCES = %D%/unit/test_broker_admin.c $(ADMIN_SOURCES) $(BROKER_SOURCES)
%C%_unit_test_broker_admin_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_limits_SOURCES = %D%/unit/test_broker_limits.c $(BROKER_SOURCES) $(ADMIN_SOURCES)
%C%_unit_test_broker_limits_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_park_SOURCES = %D%/unit/test_broker_park.c $(BROKER_SOURCES)
%C%_unit_test_broker_park_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_restart_SOURCES = %D%/unit/test_broker_restart.c %D%/lib/scratch.c %D%/lib/scratch.h $(BROKER_SOURCES)
%C%_unit_test_broker_restart_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_ctl_SOURCES = %D%/unit/test_broker_ctl.c $(BROKER_SOURCES)
%C%_unit_test_broker_ctl_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_return_SOURCES = %D%/unit/test_broker_return.c $(BROKER_SOURCES)
%C%_unit_test_broker_return_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_task_SOURCES = %D%/unit/test_broker_task.c $(BROKER_SOURCES)
%C%_unit_test_broker_task_LDADD = libbroker.a $(BROKER_LIBS) $(SQLITE_LIBS) $(UV_LIBS)
%C%_unit_test_broker_topic_SOURCES = %D%/unit/test_broker_topic.c $(BROKER_SOURCES)
%C%_unit_test_broker_topic_LDADD = $(BROKER_LIBS)
%C%_unit_test_broker_no_memory_SOURCES = %D%/unit/test_broker_no_memory.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/unit.h
%C%_unit_test_broker_no_memory_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_record_SOURCES = %D%/unit/test_record.c %D%/lib/unit.h
%C%_unit_test_record_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_restore_SOURCES = %D%/unit/test_restore.c %D%/lib/scratch.c %D%/lib/scratch.h $(NO_BUS_SOURCES) %D%/lib/unit.h
%C%_unit_test_restore_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_stats_SOURCES = %D%/unit/test_stats.c %D%/lib/prometheus.c %D%/lib/prometheus.h $(NO_BUS_SOURCES) %D%/lib/unit.h
%C%_unit_test_stats_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_store_SOURCES = %D%/unit/test_store.c %D%/lib/unit.h
%C%_unit_test_store_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_store_no_memory_SOURCES = %D%/unit/test_store_no_memory.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_store_no_memory_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_store_sqlite_SOURCES = %D%/unit/test_store_sqlite.c %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_store_sqlite_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_handover_SOURCES = %D%/unit/test_handover.c %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_handover_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_stream_SOURCES = %D%/unit/test_stream.c %D%/lib/unit.h
%C%_unit_test_stream_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_wheel_SOURCES = %D%/unit/test_wheel.c %D%/lib/unit.h
%C%_unit_test_wheel_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_file_SOURCES = %D%/unit/test_file.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/mem_fault.c %D%/lib/mem_fault.h \
	%D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_file_LDADD = $(UNIT_LIBS)
%C%_unit_test_filetree_SOURCES = %D%/unit/test_filetree.c %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_filetree_LDADD = $(UNIT_LIBS)
%C%_unit_test_guard_SOURCES = %D%/unit/test_guard.c %D%/lib/fake_req.c %D%/lib/fake_req.h %D%/lib/unit.h
%C%_unit_test_guard_LDADD = $(UNIT_LIBS)
%C%_unit_test_header_SOURCES = %D%/unit/test_header.c %D%/lib/unit.h
%C%_unit_test_header_LDADD = $(UNIT_LIBS)
%C%_unit_test_cfg_SOURCES = %D%/unit/test_cfg.c %D%/lib/unit.h
%C%_unit_test_cfg_LDADD = $(COMMON_LIBS)
%C%_unit_test_cfg_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=jpos_line
%C%_unit_test_common_SOURCES = %D%/unit/test_common.c %D%/lib/unit.h
%C%_unit_test_common_LDADD = $(COMMON_LIBS)
%C%_unit_test_common_no_memory_SOURCES = %D%/unit/test_common_no_memory.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/unit.h
%C%_unit_test_common_no_memory_LDADD = $(COMMON_LIBS)
%C%_unit_test_jx_SOURCES = %D%/unit/test_jx.c %D%/lib/unit.h
%C%_unit_test_jx_LDADD = $(COMMON_LIBS)
%C%_unit_test_keys_SOURCES = %D%/unit/test_keys.c %D%/lib/unit.h
%C%_unit_test_keys_LDADD = $(UNIT_LIBS)
%C%_unit_test_library_SOURCES = %D%/unit/test_library.c %D%/lib/unit.h
%C%_unit_test_library_LDADD = $(UNIT_LIBS)
%C%_unit_test_link_client_SOURCES = %D%/unit/test_link_client.c $(LINKED_SOURCES)
%C%_unit_test_link_client_LDADD = $(UNIT_LIBS)
%C%_unit_test_link_ends_SOURCES = %D%/unit/test_link_ends.c $(ADMIN_SOURCES) %D%/lib/fake_worker.c %D%/lib/fake_worker.h %D%/lib/unit.h
%C%_unit_test_link_ends_LDADD = $(UNIT_LIBS)
%C%_unit_test_link_task_SOURCES = %D%/unit/test_link_task.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h $(LINKED_SOURCES)
%C%_unit_test_link_task_LDADD = $(UNIT_LIBS)
%C%_unit_test_address_SOURCES = %D%/unit/test_address.c %D%/lib/fake_req.c %D%/lib/fake_req.h %D%/lib/unit.h
%C%_unit_test_address_LDADD = $(UNIT_LIBS)
%C%_unit_test_ask_SOURCES = %D%/unit/test_ask.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/unit.h
%C%_unit_test_ask_LDADD = $(UNIT_LIBS)
%C%_unit_test_endpoint_SOURCES = %D%/unit/test_endpoint.c $(SITE_SOURCES)
%C%_unit_test_endpoint_LDADD = $(UNIT_LIBS)
%C%_unit_test_legacy_SOURCES = %D%/unit/test_legacy.c $(SITE_SOURCES)
%C%_unit_test_legacy_LDADD = $(UNIT_LIBS)
%C%_unit_test_listen_SOURCES = %D%/unit/test_listen.c $(SITE_SOURCES)
%C%_unit_test_listen_LDADD = $(UNIT_LIBS)
%C%_unit_test_modern_SOURCES = %D%/unit/test_modern.c $(SITE_SOURCES)
%C%_unit_test_modern_LDADD = $(UNIT_LIBS)
%C%_unit_test_no_memory_SOURCES = %D%/unit/test_no_memory.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h $(SITE_SOURCES)
%C%_unit_test_no_memory_LDADD = $(UNIT_LIBS)
%C%_unit_test_oldsse_SOURCES = %D%/unit/test_oldsse.c $(SITE_SOURCES)
%C%_unit_test_oldsse_LDADD = $(UNIT_LIBS)
%C%_unit_test_rate_SOURCES = %D%/unit/test_rate.c %D%/lib/unit.h
%C%_unit_test_rate_LDADD = $(UNIT_LIBS)
%C%_unit_test_route_SOURCES = %D%/unit/test_route.c %D%/lib/fake_req.c %D%/lib/fake_req.h %D%/lib/unit.h
%C%_unit_test_route_LDADD = $(UNIT_LIBS)
%C%_unit_test_rpc_SOURCES = %D%/unit/test_rpc.c %D%/lib/unit.h
%C%_unit_test_rpc_LDADD = $(UNIT_LIBS)
%C%_unit_test_schema_SOURCES = %D%/unit/test_schema.c %D%/lib/unit.h
%C%_unit_test_schema_LDADD = $(UNIT_LIBS)
%C%_unit_test_seal_SOURCES = %D%/unit/test_seal.c %D%/lib/unit.h
%C%_unit_test_seal_LDADD = $(UNIT_LIBS)
%C%_unit_test_schema_suite_SOURCES = %D%/unit/test_schema_suite.c %D%/lib/unit.h
%C%_unit_test_schema_suite_LDADD = $(UNIT_LIBS)
%C%_unit_test_exec_SOURCES = %D%/unit/test_exec.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_exec_LDADD = $(UNIT_LIBS)
%C%_unit_test_exec_resident_SOURCES = %D%/unit/test_exec_resident.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_exec_resident_LDADD = $(UNIT_LIBS)
STANDIN_SOURCES = %D%/lib/standin.c %D%/lib/standin.h
%C%_unit_test_http_SOURCES = %D%/unit/test_http.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/toolfile.c %D%/lib/toolfile.h $(STANDIN_SOURCES)
%C%_unit_test_http_LDADD = $(UNIT_LIBS)
%C%_unit_test_openapi_SOURCES = %D%/unit/test_openapi.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_openapi_LDADD = $(UNIT_LIBS)
%C%_unit_test_http_def_SOURCES = %D%/unit/test_http_def.c %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_http_def_LDADD = $(UNIT_LIBS)
%C%_fault_test_http_SOURCES = %D%/fault/test_http.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/mem_fault.c %D%/lib/mem_fault.h \
	%D%/lib/toolfile.c %D%/lib/toolfile.h $(STANDIN_SOURCES)
%C%_fault_test_http_LDADD = $(UNIT_LIBS)
%C%_unit_test_content_SOURCES = %D%/unit/test_content.c
%C%_unit_test_content_LDADD = $(UNIT_LIBS)
%C%_unit_test_offers_SOURCES = %D%/unit/test_offers.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_offers_LDADD = $(UNIT_LIBS)
%C%_unit_test_sql_SOURCES = %D%/unit/test_sql.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_sql_LDADD = $(UNIT_LIBS)
%C%_unit_test_module_SOURCES = %D%/unit/test_module.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_module_LDADD = $(UNIT_LIBS)
%C%_unit_test_toolset_SOURCES = %D%/unit/test_toolset.c %D%/lib/toolfile.c %D%/lib/toolfile.h
%C%_unit_test_toolset_LDADD = $(UNIT_LIBS)
%C%_unit_test_uri_template_SOURCES = %D%/unit/test_uri_template.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/unit.h
%C%_unit_test_uri_template_LDADD = $(UNIT_LIBS)
%C%_unit_test_watch_SOURCES = %D%/unit/test_watch.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_watch_LDADD = librunner.a $(UNIT_LIBS)
%C%_unit_test_publish_SOURCES = %D%/unit/test_publish.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h $(SITE_SOURCES)
%C%_unit_test_publish_LDADD = librunner.a $(UNIT_LIBS)
%C%_unit_test_report_SOURCES = %D%/unit/test_report.c %D%/lib/fake_call.c %D%/lib/fake_call.h %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/scratch.c %D%/lib/scratch.h %D%/lib/unit.h
%C%_unit_test_report_LDADD = librunner.a $(UNIT_LIBS)
%C%_unit_test_job_SOURCES = %D%/unit/test_job.c %D%/lib/mem_fault.c %D%/lib/mem_fault.h %D%/lib/fake_link.c %D%/lib/fake_link_task.c %D%/lib/fake_link.h %D%/lib/unit.h
%C%_unit_test_job_LDADD = librunner.a $(UNIT_LIBS)
%C%_unit_test_supervisor_SOURCES = %D%/unit/test_supervisor.c %D%/lib/unit.h
%C%_unit_test_supervisor_LDADD = $(UNIT_LIBS)
%C%_unit_test_table_SOURCES = %D%/unit/test_table.c %D%/lib/unit.h
%C%_unit_test_table_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS) $(CMOCKA_LIBS)
%C%_unit_test_task_SOURCES = %D%/unit/test_task.c %D%/lib/unit.h
%C%_unit_test_task_LDADD = $(UNIT_LIBS)
%C%_unit_test_session_SOURCES = %D%/unit/test_session.c %D%/lib/unit.h
%C%_unit_test_session_LDADD = $(UNIT_LIBS)

# Conversations with the real programs behind real web servers: tests/mct reads them, tests/serve runs the servers.
TESTS += %D%/proto/apache.sh
TESTS += %D%/proto/apache-cgi.sh
TESTS += %D%/proto/apache-fcgid.sh
TESTS += %D%/proto/lighttpd.sh
TESTS += %D%/proto/lighttpd-cgi.sh
TESTS += %D%/proto/lighttpd-spawn.sh
TESTS += %D%/proto/nginx.sh
EXTRA_DIST += \
	%D%/fault/bad_input.py \
	%D%/fault/bad_offers.py \
	%D%/fault/clocks.py \
	%D%/fault/comeback.py \
	%D%/fault/databases.py \
	%D%/fault/faults.py \
	%D%/fault/links.py \
	%D%/fault/handover.py \
	%D%/fault/offers \
	%D%/fault/proxied.py \
	%D%/fault/publish.py \
	%D%/fault/reload.py \
	%D%/fault/reports.py \
	%D%/fault/residents.py \
	%D%/fault/resume.py \
	%D%/fault/site \
	%D%/fault/soak.py \
	%D%/fault/stalled.py \
	%D%/fault/storms.py \
	%D%/fault/streams.py \
	%D%/fault/system_calls.py \
	%D%/fault/tasks.py \
	%D%/fault/upstreams.py \
	%D%/lib/http_standin.py \
	%D%/mct \
	%D%/packages \
	%D%/proto \
	%D%/requirements.tsv \
	%D%/results \
	%D%/schema \
	%D%/serve \
	%D%/wire.py

# A folder is packed with what stands there in the build directory too: what came of its tests.
dist-hook: no-results
no-results:
	rm -f '$(distdir)/%D%/proto/'*.log '$(distdir)/%D%/proto/'*.trs
.PHONY: no-results

# Faults: the same programs, and whatever kills, stops, fills or cuts something. make check-fault runs only these.
fault_programs =
fault_tests =
if HAVE_CMOCKA
fault_programs += %D%/fault/test_descriptors
fault_programs += %D%/fault/test_handoff
fault_programs += %D%/fault/test_http
fault_programs += %D%/fault/test_tools
fault_programs += %D%/fault/mcp-broker
fault_programs += %D%/fault/test_store_disk
fault_programs += %D%/fault/test_store_files
fault_programs += %D%/fault/test_store_kill
fault_tests += %D%/fault/test_descriptors
fault_tests += %D%/fault/test_handoff
fault_tests += %D%/fault/test_store_disk
fault_tests += %D%/fault/test_store_files
fault_tests += %D%/fault/test_store_kill
fault_tests += %D%/fault/test_http
fault_tests += %D%/fault/test_tools
endif
fault_tests += %D%/fault/bad_input.py
fault_tests += %D%/fault/bad_offers.py
fault_tests += %D%/fault/clocks.py
fault_tests += %D%/fault/comeback.py
fault_tests += %D%/fault/handover.py
fault_tests += %D%/fault/databases.py
fault_tests += %D%/fault/upstreams.py
fault_tests += %D%/fault/publish.py
fault_tests += %D%/fault/reports.py
fault_tests += %D%/fault/proxied.py
fault_tests += %D%/fault/reload.py
fault_tests += %D%/fault/residents.py
fault_tests += %D%/fault/resume.py
fault_tests += %D%/fault/links.py
fault_tests += %D%/fault/stalled.py
fault_tests += %D%/fault/storms.py
fault_tests += %D%/fault/system_calls.py
fault_tests += %D%/fault/tasks.py
# Preloaded into the programs of a site.
fault_at = %D%/fault/fault_at.so
%D%/fault/fault_at.so: %D%/fault/fault_at.c common/link.h common/link_tbl.h
	@$(MKDIR_P) %D%/fault
	$(AM_V_CCLD)$(CC) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS) $(WARN) $(JSONC_CFLAGS) $(ZMQ_CFLAGS) $(CFLAGS) \
		$(LDFLAGS) -fPIC -shared -o $@ $(srcdir)/%D%/fault/fault_at.c
check_DATA += $(fault_at)
CLEANFILES += $(fault_at)
EXTRA_DIST += %D%/fault/fault_at.c
check_PROGRAMS += $(fault_programs)
TESTS += $(fault_tests)
# The last line says: N passed, N failed, N skipped.
check-fault: all $(fault_programs) $(fault_at)
	-$(MAKE) $(AM_MAKEFLAGS) check-TESTS TESTS='$(fault_tests)'
	@printf '%s.trs\n' $(fault_tests) | xargs $(top_srcdir)/tests/results
.PHONY: check-fault
# A worker stands still for a minute; then hours of mixed load, trouble and then peace: SOAK_HOURS=8 make soak,
# SOAK_MINUTES=2 for a try; 30 minutes without.
soak: all $(fault_at)
	STOP_S=60 abs_top_builddir=$(abs_top_builddir) $(PYTHON3) $(srcdir)/%D%/fault/links.py "a worker stands still"
	abs_top_builddir=$(abs_top_builddir) $(PYTHON3) $(srcdir)/%D%/fault/soak.py
.PHONY: soak

# Fuzz targets. make check replays their corpora; tests/fuzz/replay.c says how to fuzz.
FUZZ_LIBS = $(WORKER_LIBS)
FUZZ_BROKER_LIBS = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS)
REPLAY_SOURCES = %D%/fuzz/replay.c %D%/fuzz/target.h
# The broker's objects without its sockets.
NO_BUS_SOURCES = %D%/lib/no_bus.c %D%/lib/no_bus.h
check_PROGRAMS += %D%/fuzz/replay_admin
check_PROGRAMS += %D%/fuzz/replay_publish
check_PROGRAMS += %D%/fuzz/replay_broker
check_PROGRAMS += %D%/fuzz/replay_cursor
check_PROGRAMS += %D%/fuzz/replay_event_id
check_PROGRAMS += %D%/fuzz/replay_header
check_PROGRAMS += %D%/fuzz/replay_jpos
check_PROGRAMS += %D%/fuzz/replay_link
check_PROGRAMS += %D%/fuzz/replay_openapi
check_PROGRAMS += %D%/fuzz/replay_rpc
check_PROGRAMS += %D%/fuzz/replay_schema
check_PROGRAMS += %D%/fuzz/replay_seal
check_PROGRAMS += %D%/fuzz/replay_session
check_PROGRAMS += %D%/fuzz/replay_sse
check_PROGRAMS += %D%/fuzz/replay_uri_template
check_PROGRAMS += %D%/fuzz/replay_url
TESTS += %D%/fuzz/replay_admin
TESTS += %D%/fuzz/replay_publish
TESTS += %D%/fuzz/replay_broker
TESTS += %D%/fuzz/replay_cursor
TESTS += %D%/fuzz/replay_event_id
TESTS += %D%/fuzz/replay_header
TESTS += %D%/fuzz/replay_jpos
TESTS += %D%/fuzz/replay_link
TESTS += %D%/fuzz/replay_openapi
TESTS += %D%/fuzz/replay_rpc
TESTS += %D%/fuzz/replay_schema
TESTS += %D%/fuzz/replay_seal
TESTS += %D%/fuzz/replay_session
TESTS += %D%/fuzz/replay_sse
TESTS += %D%/fuzz/replay_uri_template
TESTS += %D%/fuzz/replay_url
EXTRA_PROGRAMS += %D%/fuzz/fuzz_admin
EXTRA_PROGRAMS += %D%/fuzz/fuzz_publish
EXTRA_PROGRAMS += %D%/fuzz/fuzz_broker
EXTRA_PROGRAMS += %D%/fuzz/fuzz_cursor
EXTRA_PROGRAMS += %D%/fuzz/fuzz_event_id
EXTRA_PROGRAMS += %D%/fuzz/fuzz_header
EXTRA_PROGRAMS += %D%/fuzz/fuzz_jpos
EXTRA_PROGRAMS += %D%/fuzz/fuzz_link
EXTRA_PROGRAMS += %D%/fuzz/fuzz_openapi
EXTRA_PROGRAMS += %D%/fuzz/fuzz_rpc
EXTRA_PROGRAMS += %D%/fuzz/fuzz_schema
EXTRA_PROGRAMS += %D%/fuzz/fuzz_seal
EXTRA_PROGRAMS += %D%/fuzz/fuzz_session
EXTRA_PROGRAMS += %D%/fuzz/fuzz_sse
EXTRA_PROGRAMS += %D%/fuzz/fuzz_uri_template
EXTRA_PROGRAMS += %D%/fuzz/fuzz_url
if HAVE_CMOCKA
check_PROGRAMS += %D%/fuzz/replay_fcgi
check_PROGRAMS += %D%/fuzz/replay_param
TESTS += %D%/fuzz/replay_fcgi
TESTS += %D%/fuzz/replay_param
EXTRA_PROGRAMS += %D%/fuzz/fuzz_fcgi
EXTRA_PROGRAMS += %D%/fuzz/fuzz_param
endif
%C%_fuzz_replay_admin_SOURCES = %D%/fuzz/fuzz_admin.c $(REPLAY_SOURCES)
%C%_fuzz_replay_admin_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_admin_SOURCES = %D%/fuzz/fuzz_admin.c %D%/fuzz/target.h
%C%_fuzz_fuzz_admin_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_admin_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_publish_SOURCES = %D%/fuzz/fuzz_publish.c $(REPLAY_SOURCES)
%C%_fuzz_replay_publish_LDADD = librunner.a libcommon.a $(JSONC_LIBS)
%C%_fuzz_fuzz_publish_SOURCES = %D%/fuzz/fuzz_publish.c %D%/fuzz/target.h
%C%_fuzz_fuzz_publish_LDADD = librunner.a libcommon.a $(JSONC_LIBS)
%C%_fuzz_fuzz_publish_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_broker_SOURCES = %D%/fuzz/fuzz_broker.c $(NO_BUS_SOURCES) $(REPLAY_SOURCES)
%C%_fuzz_replay_broker_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_broker_SOURCES = %D%/fuzz/fuzz_broker.c $(NO_BUS_SOURCES) %D%/fuzz/target.h
%C%_fuzz_fuzz_broker_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_broker_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_cursor_SOURCES = %D%/fuzz/fuzz_cursor.c $(REPLAY_SOURCES)
%C%_fuzz_replay_cursor_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_cursor_SOURCES = %D%/fuzz/fuzz_cursor.c %D%/fuzz/target.h
%C%_fuzz_fuzz_cursor_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_cursor_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_event_id_SOURCES = %D%/fuzz/fuzz_event_id.c $(NO_BUS_SOURCES) $(REPLAY_SOURCES)
%C%_fuzz_replay_event_id_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_event_id_SOURCES = %D%/fuzz/fuzz_event_id.c $(NO_BUS_SOURCES) %D%/fuzz/target.h
%C%_fuzz_fuzz_event_id_LDADD = $(FUZZ_BROKER_LIBS)
%C%_fuzz_fuzz_event_id_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_fcgi_SOURCES = %D%/fuzz/fuzz_fcgi.c $(SITE_SOURCES) $(REPLAY_SOURCES)
%C%_fuzz_replay_fcgi_LDADD = $(UNIT_LIBS)
%C%_fuzz_fuzz_fcgi_SOURCES = %D%/fuzz/fuzz_fcgi.c $(SITE_SOURCES) %D%/fuzz/target.h
%C%_fuzz_fuzz_fcgi_LDADD = $(UNIT_LIBS)
%C%_fuzz_fuzz_fcgi_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_header_SOURCES = %D%/fuzz/fuzz_header.c $(REPLAY_SOURCES)
%C%_fuzz_replay_header_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_header_SOURCES = %D%/fuzz/fuzz_header.c %D%/fuzz/target.h
%C%_fuzz_fuzz_header_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_header_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_jpos_SOURCES = %D%/fuzz/fuzz_jpos.c $(REPLAY_SOURCES)
%C%_fuzz_replay_jpos_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_jpos_SOURCES = %D%/fuzz/fuzz_jpos.c %D%/fuzz/target.h
%C%_fuzz_fuzz_jpos_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_jpos_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_link_SOURCES = %D%/fuzz/fuzz_link.c $(REPLAY_SOURCES)
%C%_fuzz_replay_link_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_link_SOURCES = %D%/fuzz/fuzz_link.c %D%/fuzz/target.h
%C%_fuzz_fuzz_link_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_link_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_param_SOURCES = %D%/fuzz/fuzz_param.c $(SITE_SOURCES) $(REPLAY_SOURCES)
%C%_fuzz_replay_param_LDADD = $(UNIT_LIBS)
%C%_fuzz_fuzz_param_SOURCES = %D%/fuzz/fuzz_param.c $(SITE_SOURCES) %D%/fuzz/target.h
%C%_fuzz_fuzz_param_LDADD = $(UNIT_LIBS)
%C%_fuzz_fuzz_param_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_rpc_SOURCES = %D%/fuzz/fuzz_rpc.c $(REPLAY_SOURCES)
%C%_fuzz_replay_rpc_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_rpc_SOURCES = %D%/fuzz/fuzz_rpc.c %D%/fuzz/target.h
%C%_fuzz_fuzz_rpc_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_rpc_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_openapi_SOURCES = %D%/fuzz/fuzz_openapi.c $(REPLAY_SOURCES)
%C%_fuzz_replay_openapi_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_openapi_SOURCES = %D%/fuzz/fuzz_openapi.c %D%/fuzz/target.h
%C%_fuzz_fuzz_openapi_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_openapi_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_schema_SOURCES = %D%/fuzz/fuzz_schema.c $(REPLAY_SOURCES)
%C%_fuzz_replay_schema_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_schema_SOURCES = %D%/fuzz/fuzz_schema.c %D%/fuzz/target.h
%C%_fuzz_fuzz_schema_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_schema_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_seal_SOURCES = %D%/fuzz/fuzz_seal.c $(REPLAY_SOURCES)
%C%_fuzz_replay_seal_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_seal_SOURCES = %D%/fuzz/fuzz_seal.c %D%/fuzz/target.h
%C%_fuzz_fuzz_seal_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_seal_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_session_SOURCES = %D%/fuzz/fuzz_session.c $(REPLAY_SOURCES)
%C%_fuzz_replay_session_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_session_SOURCES = %D%/fuzz/fuzz_session.c %D%/fuzz/target.h
%C%_fuzz_fuzz_session_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_session_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_sse_SOURCES = %D%/fuzz/fuzz_sse.c $(REPLAY_SOURCES)
%C%_fuzz_replay_sse_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_sse_SOURCES = %D%/fuzz/fuzz_sse.c %D%/fuzz/target.h
%C%_fuzz_fuzz_sse_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_sse_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_uri_template_SOURCES = %D%/fuzz/fuzz_uri_template.c $(REPLAY_SOURCES)
%C%_fuzz_replay_uri_template_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_uri_template_SOURCES = %D%/fuzz/fuzz_uri_template.c %D%/fuzz/target.h
%C%_fuzz_fuzz_uri_template_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_uri_template_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_replay_url_SOURCES = %D%/fuzz/fuzz_url.c $(REPLAY_SOURCES)
%C%_fuzz_replay_url_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_url_SOURCES = %D%/fuzz/fuzz_url.c %D%/fuzz/target.h
%C%_fuzz_fuzz_url_LDADD = $(FUZZ_LIBS)
%C%_fuzz_fuzz_url_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
EXTRA_DIST += %D%/fuzz/corpus

# What a person types, and what the layout and the manual pages promise.
TESTS += %D%/ctl/mcpctl.sh
TESTS += %D%/ctl/status.py
TESTS += %D%/lint/bench.py
TESTS += %D%/lint/dist.sh
TESTS += %D%/lint/guide.py
TESTS += %D%/lint/install.sh
TESTS += %D%/lint/man.sh
TESTS += %D%/lint/requirements.py
TESTS += %D%/lint/source.sh
EXTRA_DIST += \
	%D%/ctl/mcpctl.sh \
	%D%/ctl/status.py \
	%D%/lint/bench.py \
	%D%/lint/dist.sh \
	%D%/lint/guide.py \
	%D%/lint/install.sh \
	%D%/lint/man.sh \
	%D%/lint/requirements.py \
	%D%/lint/source.sh
