# broker/: mcp-broker, the one process per host that owns sessions and streams; the library is for its tests
noinst_LIBRARIES += libbroker.a
libbroker_a_SOURCES = \
	%D%/accept.c %D%/accept.h \
	%D%/admin.c %D%/admin.h \
	%D%/admin_pages.c %D%/admin_pages.h \
	%D%/admin_request.c %D%/admin_request.h \
	%D%/broker.c %D%/broker.h \
	%D%/bus.c %D%/bus.h \
	%D%/bus_line.c %D%/bus_line.h \
	%D%/call.c %D%/call.h \
	%D%/conn.c %D%/conn.h \
	%D%/ctl.c %D%/ctl.h \
	%D%/gate.c %D%/gate.h \
	%D%/handle.c %D%/handle.h %D%/handle_priv.h \
	%D%/handle_session.c \
	%D%/handle_return.c \
	%D%/handle_stats.c \
	%D%/handle_stream.c \
	%D%/handle_task.c \
	%D%/handle_topic.c \
	%D%/handover.c %D%/handover.h \
	%D%/handover_snapshot.c \
	%D%/loop.c %D%/loop.h \
	%D%/once.c %D%/once.h \
	%D%/park.c %D%/park.h \
	%D%/producer.c %D%/producer.h \
	%D%/record.c %D%/record.h \
	%D%/recover.c %D%/recover.h \
	%D%/server.c %D%/server.h \
	%D%/session.c %D%/session.h \
	%D%/share.c %D%/share.h %D%/share_tbl.h \
	%D%/snapshot.c %D%/snapshot.h \
	%D%/stats.c %D%/stats.h %D%/stats_tbl.h \
	%D%/store.h %D%/store_memory.c \
	%D%/store_batch.c %D%/store_batch.h \
	%D%/store_cache.c %D%/store_cache.h \
	%D%/store_disk.c %D%/store_disk.h %D%/store_disk_priv.h \
	%D%/store_file.c \
	%D%/store_joint.c %D%/store_joint.h \
	%D%/store_load.c \
	%D%/store_renew.c \
	%D%/store_sqlite.c \
	%D%/store_sum.c %D%/store_sum.h \
	%D%/store_wal.c %D%/store_wal.h \
	%D%/store_writer.c %D%/store_writer.h \
	%D%/stream.c %D%/stream.h %D%/stream_priv.h %D%/stream_tbl.h \
	%D%/stream_id.c \
	%D%/stream_kept.c \
	%D%/stream_log.c \
	%D%/stream_saved.c \
	%D%/table.c %D%/table.h \
	%D%/task.c %D%/task.h %D%/task_tbl.h \
	%D%/topic.c %D%/topic.h \
	%D%/wheel.c %D%/wheel.h
bin_PROGRAMS += mcp-broker
mcp_broker_SOURCES = %D%/main.c
mcp_broker_LDADD = libbroker.a libcommon.a $(SQLITE_LIBS) $(ZMQ_LIBS) $(UV_LIBS) $(JSONC_LIBS)
