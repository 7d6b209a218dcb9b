/* broker/share_tbl.h - what one owner may have a share of:  id, name of the limit. Each has its rows in stats_tbl.h. */
SHARE(SESSIONS, "session_max")
SHARE(STREAMS, "stream_max")
SHARE(WAITING, "stream_open_max")
SHARE(DESCRIPTORS, "descriptors")
SHARE(LOG_BYTES, "broker_log_max_bytes")
SHARE(TASKS, "task_max")
SHARE(TASKS_BYTES, "broker_tasks_max_bytes")
