#!/bin/sh
# What shows that a way to run mcp-fcgi works at all, with lighttpd that starts the workers itself.
cd "${abs_top_srcdir:?run by make check}/tests/proto" || exit 1
exec ../mct --server lighttpd-spawn a0001-health.mct a0006-api-key.mct b0004-call.mct b0039-silence.mct b0041-client-leaves.mct b0070-ask.mct \
	c0057-call.mct c0057-progress.mct c0066-batch.mct c0072-cancel.mct c0090-ask.mct d0087-resume.mct d0100-delete.mct \
	e0110-paths.mct e0110-session.mct e0122-before-initialize.mct e0130-ask.mct f0130-well-known.mct
