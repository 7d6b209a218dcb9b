#!/bin/sh
# Installs what is missing, builds, runs examples/hello behind lighttpd on 127.0.0.1, and ends it all on Ctrl-C.
#
#   ./demo.sh                    a free port
#   ./demo.sh --port 8080 --server apache      or whatever else tests/serve takes
#
# Only the installation of packages needs root or sudo. The build stays in ./build-demo.
set -eu
cd "$(dirname "$0")"

if command -v dpkg-query >/dev/null; then
	tests/packages build demo
fi

build=$PWD/build-demo
[ ! -e config.status ] || build=$PWD # configured in place already
mkdir -p "$build"
make_it() {
	if [ ! -e "$build/Makefile" ]; then
		[ -x configure ] || ./autogen.sh
		(cd "$build" && "$OLDPWD/configure")
	fi
	make -C "$build" -j"$(nproc 2>/dev/null || echo 2)"
}
echo "demo.sh: building in $build ..." >&2
make_it >"$build/demo.log" 2>&1 || {
	tail -n 40 "$build/demo.log" >&2
	exit 1
}

case " $* " in
*" --server "*) ;;
*) set -- --server lighttpd "$@" ;;
esac
pipe=$build/demo.pipe
rm -f "$pipe"
mkfifo "$pipe"
tests/serve examples/hello --bin-dir "$build" --console "$@" >"$pipe" &
server=$!
trap 'kill $server 2>/dev/null || true' INT TERM HUP

url=
while read -r word value; do
	case $word in
	CONSOLE) page=$value ;;
	SSE) sse=$value ;;
	READY)
		url=$value
		break
		;;
	esac
done <"$pipe"
rm -f "$pipe"

[ -z "$url" ] || cat <<EOF

The page:       $page
The endpoint:   $url
Old transport:  $sse

A call:
  curl $url \\
    -H 'Content-Type: application/json' -H 'MCP-Protocol-Version: 2026-07-28' \\
    -H 'Mcp-Method: tools/call' -H 'Mcp-Name: echo' \\
    -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"Hello"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'

For a client:
  { "mcpServers": { "hello": { "type": "http", "url": "$url" } } }

Ctrl-C ends it.
EOF

status=0
wait "$server" || status=$?
while kill -0 "$server" 2>/dev/null; do # a signal interrupted wait; the server is ending
	status=0
	wait "$server" || status=$?
done
exit "$status"
