# fcgi/: the worker, mcp-worker, and mcp-launch, the parent of its tools
noinst_LIBRARIES += libworker.a
libworker_a_SOURCES =
