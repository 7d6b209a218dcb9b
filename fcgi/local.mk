# fcgi/: the worker, mcp-worker, and mcp-launch, the parent of its tools
noinst_LIBRARIES += libworker.a
libworker_a_SOURCES = \
	%D%/address.c %D%/address.h \
	%D%/argument.c %D%/argument.h \
	%D%/ask.c %D%/ask.h \
	%D%/ask_legacy.c %D%/ask_legacy.h \
	%D%/ask_modern.c %D%/ask_modern.h \
	%D%/ask_round.c %D%/ask_round.h \
	%D%/call.c %D%/call.h %D%/call_priv.h \
	%D%/call_http.c %D%/call_http.h \
	%D%/capabilities.c %D%/capabilities.h \
	%D%/changes.c %D%/changes.h \
	%D%/content.c %D%/content.h \
	%D%/cursor.c %D%/cursor.h \
	%D%/daemon_start.c %D%/daemon_start.h \
	%D%/definition.c %D%/definition.h \
	%D%/endpoint.c %D%/post.h \
	%D%/exchange.c %D%/exchange.h \
	%D%/escape.c %D%/escape.h \
	%D%/exec.c %D%/exec.h %D%/exec_priv.h \
	%D%/exec_args.c \
	%D%/exec_ask.c \
	%D%/exec_def.c \
	%D%/exec_offers.c %D%/exec_offers.h \
	%D%/exec_pool.c %D%/exec_pool.h \
	%D%/exec_resident.c \
	%D%/exec_strings.c %D%/exec_strings.h \
	%D%/exec_wait.c \
	%D%/filetree.c %D%/filetree.h \
	%D%/guard.c %D%/guard.h \
	%D%/header.c %D%/header.h \
	%D%/http_address.c %D%/http_address.h \
	%D%/http_api.c %D%/http_api.h %D%/http_api_priv.h \
	%D%/http_ask.c \
	%D%/http_base.c %D%/http_base.h \
	%D%/http_breaker.c %D%/http_breaker.h \
	%D%/http_cache.c %D%/http_cache.h \
	%D%/http_client.c %D%/http_client.h \
	%D%/http_def.c %D%/http_def.h %D%/http_def_priv.h \
	%D%/http_make.c \
	%D%/keys.c %D%/keys.h \
	%D%/launch.h \
	%D%/library.c %D%/library.h \
	%D%/launcher.c %D%/launcher.h \
	%D%/legacy.c %D%/legacy.h \
	%D%/level.c %D%/level.h \
	%D%/link_call.c \
	%D%/link_caller.c \
	%D%/link_client.c %D%/link_client.h \
	%D%/link_conn.c \
	%D%/link_priv.h \
	%D%/link_request.c \
	%D%/link_return.c \
	%D%/link_stats.c \
	%D%/link_task.c \
	%D%/link_thread.c \
	%D%/listen.c %D%/listen.h \
	%D%/method.c %D%/method.h \
	%D%/method_completion.c %D%/method_completion.h \
	%D%/method_prompts.c %D%/method_prompts.h \
	%D%/method_resources.c %D%/method_resources.h \
	%D%/method_tasks.c %D%/method_tasks.h \
	%D%/method_tools.c %D%/method_tools.h \
	%D%/mime.c %D%/mime.h \
	%D%/modern.c %D%/modern.h \
	%D%/module.c %D%/module.h %D%/module_priv.h \
	%D%/module_apart.c %D%/module_apart.h \
	%D%/module_host.c \
	%D%/module_run.c %D%/module_run.h \
	%D%/oldsse.c %D%/oldsse.h \
	%D%/pool.c %D%/pool.h \
	%D%/openapi.c %D%/openapi.h %D%/openapi_priv.h \
	%D%/openapi_choose.c \
	%D%/openapi_load.c \
	%D%/openapi_request.c \
	%D%/openapi_schema.c \
	%D%/openapi_security.c \
	%D%/placeholder.c %D%/placeholder.h \
	%D%/promptset.c %D%/promptset.h \
	%D%/provider.h %D%/provider_builtin.c %D%/provider_exec.c %D%/provider_file.c %D%/provider_http.c %D%/provider_module.c %D%/provider_sql.c %D%/provider_template.c \
	%D%/rate.c %D%/rate.h \
	%D%/reload.c %D%/reload.h \
	%D%/report.c %D%/report.h \
	%D%/req.c %D%/req.h %D%/req_ops.h \
	%D%/req_cgi.c %D%/req_cgi.h \
	%D%/req_fcgi.c %D%/req_fcgi.h \
	%D%/resourceset.c %D%/resourceset.h \
	%D%/result.c %D%/result.h \
	%D%/revision.c %D%/revision.h \
	%D%/route.c %D%/route.h \
	%D%/rpc.c %D%/rpc.h \
	%D%/schema.c %D%/schema.h %D%/schema_priv.h \
	%D%/schema_check.c \
	%D%/schema_children.c \
	%D%/schema_keywords.c \
	%D%/schema_pattern.c \
	%D%/schema_ref.c \
	%D%/schema_run.c \
	%D%/schema_value.c \
	%D%/seal.c %D%/seal.h \
	%D%/shape.c %D%/shape.h \
	%D%/session.c %D%/session.h \
	%D%/sql.c %D%/sql.h %D%/sql_priv.h \
	%D%/sql_database.c \
	%D%/sql_offers.c %D%/sql_offers.h \
	%D%/sql_query.c %D%/sql_query.h \
	%D%/sql_sqlite.c \
	%D%/sql_value.c \
	%D%/supervisor.c %D%/supervisor.h \
	%D%/task.c %D%/task.h \
	%D%/task_call.c %D%/task_call.h \
	%D%/toolset.c %D%/toolset.h \
	%D%/topic.c %D%/topic.h \
	%D%/uri.c %D%/uri.h \
	%D%/uri_template.c %D%/uri_template.h \
	%D%/worker.c %D%/worker.h

if HAVE_LIBPQ
libworker_a_SOURCES += %D%/sql_postgresql.c
endif
if HAVE_LIBMARIADB
libworker_a_SOURCES += %D%/sql_mysql.c
endif

if HAVE_LIBYAML
libworker_a_SOURCES += %D%/yaml.c %D%/yaml.h
endif

# What whoever links the worker's parts needs. Other libraries are opened at need (fcgi/library.h).
WORKER_LIBS = libworker.a libcommon.a $(FCGI_LIBS) $(ZMQ_LIBS) $(JSONC_LIBS) $(PCRE_LIBS) $(CRYPTO_LIBS) $(SQLITE_LIBS) $(YAML_LIBS)

bin_PROGRAMS += mcp-worker
mcp_worker_SOURCES = %D%/main.c
mcp_worker_LDADD = $(WORKER_LIBS)

pkglibexec_PROGRAMS += mcp-launch
mcp_launch_SOURCES = %D%/launch.c %D%/launch.h
mcp_launch_LDADD = libcommon.a
