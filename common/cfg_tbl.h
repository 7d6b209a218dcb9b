/* common/cfg_tbl.h - every setting, one row each. The struct, the loader, --help, the manual page and the tests are all
 * made from these rows.
 *
 *   CFG_INT(name, default, min, max, unit, help)    int64_t
 *   CFG_BOOL(name, default, help)                   bool
 *   CFG_STR(name, default, help)                    char *      (never NULL; "" is "not set")
 *   CFG_PATH(name, default, help)                   char *      (a relative path is relative to the file that names it)
 *   CFG_LIST(name, help)                            struct cfg_list   (JSON array of strings)
 *
 * The JSON section is the part of a name before its first underscore: stream_after_ms is {"stream": {"after_ms": 1000}}. */

CFG_STR(server_name, "mcp-fcgi", "Name of this server that clients are told (serverInfo.name)")
CFG_STR(server_title, "", "Title of this server for people")
CFG_STR(server_version, "", "Version that clients are told; without it that of mcp-fcgi")
CFG_STR(server_description, "", "What this server is for, in a sentence, for people (from 2025-11-25 on)")
CFG_STR(server_website_url, "", "Web page about this server (from 2025-11-25 on)")
CFG_LIST(server_icons, "URLs of icons for this server: http, https or data (from 2025-11-25 on)")
CFG_STR(server_instructions, "", "What a model should know before it uses this server's tools")
CFG_STR(server_public_url, "", "URL of the endpoint as clients see it; without it only loopback hosts are served")

CFG_PATH(auth_api_keys_file, "", "File of API keys, principal:key a line; without it no key is asked for")
CFG_LIST(cors_origins, "Origins that browsers may call from, beside that of server_public_url and loopback")

CFG_INT(rate_per_key, 0, 0, 6000000, "requests", "Requests a minute that the holder of an API key may make; 0: any number")
CFG_INT(rate_per_address, 0, 0, 6000000, "requests", "Requests a minute without a key, or with a wrong one, from an address (IPv6: from a /64); 0: any number")
CFG_INT(rate_completions, 0, 0, 6000000, "requests", "Completions a minute for each of these, which count as requests too; 0: any number")
CFG_INT(rate_burst, 20, 1, 100000, "requests", "How many requests may come at once after a pause, of each of these limits")
CFG_INT(rate_buckets, 65536, 1024, 16777216, "buckets", "What each limit tells apart; who shares a bucket by chance shares its limit. 8 bytes each")
CFG_LIST(rate_proxies, "Addresses and networks of proxies before the web server whose X-Forwarded-For is believed")

CFG_INT(principal_share_percent, 50, 1, 100, "%", "Share of each limit (sessions, streams, tasks, kept bytes, slow calls) that one client may use: the holder of a key, or without keys an address other than loopback")

CFG_PATH(run_dir, "/run/mcp-fcgi", "Directory of sockets and locks, writable by workers and broker only")
CFG_STR(log_level, "info", "error, warn, info or debug")

CFG_INT(body_max_bytes, 4194304, 1024, 67108864, "bytes", "Largest request body a worker reads")
CFG_INT(body_depth_max, 64, 4, 512, "levels", "Deepest nesting of JSON that is read")
CFG_INT(batch_max, 100, 1, 10000, "messages", "Largest batch (revision 2025-03-26)")
CFG_INT(page_size, 100, 1, 10000, "items", "Items on a page of a list")
CFG_INT(cache_ttl_ms, 60000, 0, 86400000, "ms", "How long clients of 2026-07-28 may cache lists (ttlMs)")

CFG_INT(worker_processes, 2, 1, 256, "processes", "Processes that mcp-worker --socket keeps")
CFG_INT(worker_threads, 8, 1, 256, "threads", "Threads of a worker process that wait for requests")
CFG_INT(worker_calls_max, 64, 1, 4096, "calls", "Calls of one worker process that take longer than stream_after_ms; half of them may wait for tasks, and half for a broker that restarts")
CFG_INT(worker_reload_ms, 1000, 0, 3600000, "ms", "How often mcp-worker --socket and mcp-runner look whether the configuration has changed; 0: at SIGHUP only")
CFG_INT(worker_drain_ms, 5000, 0, 600000, "ms", "How long SIGTERM lets running calls finish")

CFG_INT(session_idle_s, 3600, 1, 604800, "s", "Idle time after which a session ends; each request renews it")
CFG_INT(session_life_s, 604800, 0, 315360000, "s", "Time after which a session ends, however busy it is; 0: never")
CFG_INT(session_grace_s, 30, 0, 3600, "s", "How long an HTTP+SSE session outlives its connection")
CFG_INT(session_max, 10000, 1, 1000000, "sessions", "Sessions that the broker holds")
CFG_INT(session_calls_max, 64, 1, 4096, "calls", "Requests that one session may have open, in each direction")
CFG_INT(session_streams_max, 1000, 1, 1000000, "streams", "Streams of one session, with those that are kept to be resumed; further answers are plain JSON")
CFG_INT(session_topics_max, 1000, 1, 100000, "topics", "Topics that one session or one subscriptions/listen may subscribe to")
CFG_INT(session_blob_max_bytes, 65536, 1024, 1048576, "bytes", "What a session may remember: client name, capabilities")

CFG_INT(call_timeout_s, 3600, 1, 604800, "s", "How long a request may be worked on, or wait for a task, before it is answered by an error; the time in which its client is asked (ask_wait_s) does not count")

CFG_INT(ask_wait_s, 600, 1, 86400, "s", "How long a question to a client waits for its answer")
CFG_INT(ask_rounds_max, 10, 1, 1000, "rounds", "How often one request may ask its client")

CFG_INT(stream_after_ms, 1000, 10, 600000, "ms", "Silence after which a call's answer becomes an event stream")
CFG_INT(stream_heartbeat_ms, 15000, 100, 600000, "ms", "Silence after which a comment is sent to a legacy client")
CFG_INT(stream_heartbeat_modern_ms, 5000, 100, 600000, "ms", "The same for 2026-07-28, where it shows a client that left")
CFG_INT(stream_keep_s, 300, 0, 86400, "s", "How long a finished stream can be resumed")
CFG_INT(stream_log_max_bytes, 4194304, 65536, 268435456, "bytes", "Events kept per stream, each counted with 64 bytes of its own")
CFG_INT(stream_poll_after_ms, 0, 0, 86400000, "ms", "Age at which the connection of a 2025-11-25 answer is closed, for its client to come back; 0: never")
CFG_INT(stream_retry_ms, 1000, 0, 600000, "ms", "How long a client of 2025-11-25 waits before it comes back for the rest of an answer, whose connection was closed; at most twice as long")
CFG_INT(stream_retry_lost_ms, 3000, 0, 600000, "ms", "The same for one that lost its connection; official SDKs try twice, so a restart of mcp-broker must take no longer")
CFG_INT(stream_max, 10000, 1, 1000000, "streams", "Streams that the broker holds")
CFG_INT(stream_open_max, 0, 0, 1000000, "streams", "Connections that only wait for news (GET, subscriptions/listen, HTTP+SSE), for web servers that give each a thread; 0: any number")
CFG_INT(stream_adopt_rate, 5000, 0, 1000000, "connections", "Connections that wait for news (GET, subscriptions/listen) that the broker takes over in a second; further ones wait a moment; 0: any number")
CFG_INT(stream_adopt_burst, 1000, 1, 1000000, "connections", "How many of them it takes at once after a pause")
CFG_INT(stream_rotate_s, 0, 0, 604800, "s", "Age at which the connection of a GET is closed, for its client to come back after stream_retry_ms, so that web servers which give each a thread serve others meanwhile; 0: never")
CFG_INT(stream_stall_s, 120, 1, 86400, "s", "How long a connection may take no bytes that wait for it")
CFG_INT(stream_sndbuf_bytes, 65536, 4096, 4194304, "bytes", "SO_SNDBUF of an adopted connection")

CFG_BOOL(broker_autostart, true, "A worker that finds no broker starts one")
CFG_PATH(broker_program, "", "mcp-broker to start; without it the one beside mcp-worker")
CFG_LIST(broker_peer_uids, "User names or ids that may connect to the broker, beside its own and root")
CFG_INT(broker_log_max_bytes, 268435456, 1048576, 17179869184, "bytes", "Events kept by the broker in all, each counted with 64 bytes of its own")
CFG_INT(broker_topics_max_bytes, 67108864, 65536, 17179869184, "bytes", "Kept in all of what clients subscribed to")
CFG_INT(broker_tasks_max_bytes, 268435456, 1048576, 17179869184, "bytes", "Kept in all of tasks: what is to be done, states, results")
CFG_INT(broker_park_max_bytes, 67108864, 65536, 17179869184, "bytes", "Kept in all of calls that wait for answers of their clients")
CFG_INT(broker_fd_reserve, 64, 16, 4096, "descriptors", "Descriptors that the broker never gives to clients")
CFG_INT(broker_drain_ms, 5000, 0, 600000, "ms", "How long SIGTERM lets streams finish")

CFG_STR(store_kind, "sqlite", "Where sessions and events are kept: sqlite (they outlive mcp-broker) or memory")
CFG_PATH(store_dir, "/var/lib/mcp-fcgi", "Directory of the store, of one mcp-broker only")
CFG_INT(store_keep_s, 86400, 1, 31536000, "s", "How long events are kept for which no client comes; then it meets a gap")
CFG_STR(store_sync, "write", "When an event counts as kept: write (the system has it) or group (it is on the disk)")
CFG_INT(store_sync_ms, 200, 0, 60000, "ms", "With write: how soon it is on the disk; 0: when the system likes")
CFG_INT(store_cache_bytes, 33554432, 65536, 17179869184, "bytes", "Events that mcp-broker has in memory beside the disk")

CFG_INT(once_max, 100000, 1, 10000000, "marks", "States given to clients for one use only of which the broker remembers that they were used")

CFG_INT(link_credit_bytes, 8388608, 65536, 268435456, "bytes", "Event bytes that one worker may have under way to the broker")
CFG_INT(link_window, 4096, 64, 65536, "messages", "Answers to one worker that the broker remembers, for retries")
CFG_INT(link_backlog_max, 1024, 16, 65536, "messages", "Answers that wait for one worker that doesn't read, before it is cut off")
CFG_INT(link_return_ms, 5000, 0, 600000, "ms", "How long a broker waits for workers that it lost, or that the one before it had, until it ends their calls and fails their tasks")
CFG_INT(link_timeout_ms, 5000, 100, 60000, "ms", "How long a worker waits for the broker's answer")

CFG_INT(task_max, 1000, 1, 1000000, "tasks", "Tasks that the broker holds, ended ones until their time is over too")
CFG_INT(task_blob_max_bytes, 4194304, 65536, 67108864, "bytes", "Largest state, result or job of a task")
CFG_INT(task_ttl_ms, 3600000, 1000, 604800000, "ms", "How long a task is kept, from its creation, unless the client asks for less or more")
CFG_INT(task_ttl_max_ms, 86400000, 1000, 2592000000, "ms", "The most that a client may ask for")
CFG_INT(task_poll_ms, 1000, 10, 600000, "ms", "How often clients shall ask for a task's state")

CFG_BOOL(runner_autostart, true, "A worker that needs a runner and finds none starts one")
CFG_PATH(runner_program, "", "mcp-runner to start; without it the one beside mcp-worker")
CFG_INT(runner_jobs_max, 64, 1, 4096, "tasks", "Tasks that a runner works on at a time, those included whose program waits alive for input; further ones wait")
CFG_INT(runner_drain_ms, 5000, 0, 600000, "ms", "How long SIGTERM lets a runner's tasks finish")

CFG_PATH(publish_socket, "", "Unix socket at which mcp-runner lets scripts publish: what changed, a log line; see mcpctl publish; without it there is none")
CFG_STR(publish_group, "", "Group whose members may connect to publish_socket, beside the user of mcp-runner, who must be a member")
CFG_STR(publish_listen, "", "The same over HTTP, for who holds a key, as in 127.0.0.1:8765 or [::1]:8765: of loopback only")
CFG_PATH(publish_keys_file, "", "File of keys for publish_listen, name:key a line")
CFG_INT(publish_body_max_bytes, 65536, 64, 1048576, "bytes", "Largest publication")
CFG_INT(publish_connections_max, 32, 1, 1024, "connections", "Scripts that may be connected at a time; further ones wait")
CFG_INT(publish_wait_ms, 10000, 10, 600000, "ms", "How long a script may take to say what it publishes")
CFG_INT(publish_rate, 100, 0, 1000000, "publications", "Publications a second, of all scripts together; 0: any number")
CFG_INT(publish_burst, 200, 1, 1000000, "publications", "How many of them may come at once after a pause")

CFG_LIST(exec_dirs, "Directories of tools: a program NAME with a manifest NAME.json beside it")
CFG_PATH(exec_launcher, "", "mcp-launch to use; without it the one that was installed, or beside mcp-worker")
CFG_INT(exec_timeout_s, 60, 1, 86400, "s", "Time after which a tool's process group is ended, unless the tool says otherwise")
CFG_INT(exec_grace_ms, 1000, 0, 60000, "ms", "How long a tool that is ended early may clean up, after SIGTERM; 0: it is killed at once")
CFG_INT(exec_output_max_bytes, 1048576, 1024, 67108864, "bytes", "Largest output of a tool")
CFG_INT(exec_stderr_max_bytes, 16384, 256, 1048576, "bytes", "What is kept of a tool's stderr")
CFG_LIST(exec_env, "Names of environment variables that tools inherit, beside PATH, HOME, LANG, LC_ALL, TZ and TMPDIR")

CFG_INT(module_grace_ms, 1000, 0, 60000, "ms", "How long a module's handler may take to return when its time is over or its call cancelled; then the call ends without it")
CFG_INT(module_hung_max, 16, 1, 1024, "calls", "Handlers of modules that have not returned by then, with so many of which a process begins no further one")
CFG_INT(module_output_max_bytes, 1048576, 1024, 67108864, "bytes", "Largest answer of a module's handler")

CFG_INT(http_timeout_s, 30, 1, 86400, "s", "How long an HTTP API may take for one call, retries included, unless the definition says otherwise")
CFG_INT(http_connect_ms, 5000, 10, 600000, "ms", "How long a connection to an HTTP API may take to be there")
CFG_INT(http_output_max_bytes, 1048576, 1024, 67108864, "bytes", "Largest answer of an HTTP API, decompressed")
CFG_INT(http_redirects_max, 3, 0, 20, "redirects", "How often an HTTP API may redirect a GET")
CFG_INT(http_retries, 2, 0, 10, "retries", "How often a request that can be repeated is repeated, unless the definition says otherwise")
CFG_INT(http_connections_max, 16, 1, 1024, "connections", "Connections of one worker process to one host of an HTTP API")
CFG_INT(http_cache_max_bytes, 67108864, 1048576, 17179869184, "bytes", "Answers of HTTP APIs that are kept in run_dir, of all workers together; one takes at most a sixteenth")
CFG_INT(http_breaker_failures, 5, 0, 1000, "failures", "Failures of an HTTP API in a row after which a worker process doesn't ask its host for a while; 0: it always does")
CFG_INT(http_breaker_open_s, 30, 1, 86400, "s", "How long that is, until one request tries it again")
CFG_LIST(http_allow_addresses, "Addresses and networks that HTTP APIs may have though they are not public, as in 127.0.0.1 or 10.1.0.0/16")
CFG_PATH(http_ca_file, "", "PEM file of the certificate authorities that HTTP APIs are trusted by, instead of the system's")

CFG_INT(sql_rows_max, 1000, 1, 1000000, "rows", "Rows that a query gives, unless its definition says otherwise")
CFG_INT(sql_result_max_bytes, 1048576, 1024, 67108864, "bytes", "Largest result of a query; further rows are left out")

CFG_INT(resource_max_bytes, 4194304, 1024, 67108864, "bytes", "Largest file that is read as a resource")
CFG_INT(file_entries_max, 10000, 10, 1000000, "names", "Names of files that one list or completion reads from the disk")
CFG_INT(file_watches_max, 1000, 0, 100000, "directories", "Directories of files that are watched for changes; 0: none")
