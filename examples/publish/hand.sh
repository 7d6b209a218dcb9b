#!/bin/sh
# hand.sh QUEUE - hands a call to whoever works on that queue, and waits for what comes of it. How far it is, the client hears from him.
set -eu
mkdir -p "jobs/$1"
job=jobs/$1/$(date +%s).$$
trap 'rm -f "$job".*' EXIT
trap 'exit 1' TERM # the client cancelled, or the time is up
printf '{"call":"%s","arguments":%s}\n' "$MCP_CALL" "$(cat)" >"$job.new"
mv "$job.new" "$job.job"
until [ -e "$job.done" ]; do sleep 0.1; done
cat "$job.done"
