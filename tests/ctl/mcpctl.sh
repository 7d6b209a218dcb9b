#!/bin/sh
# mcpctl as a person uses it: what it says, where, and how it exits.
set -u
build=${abs_top_builddir:?} src=${abs_top_srcdir:?}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
unset MCP_FCGI_CONF
PATH=$build:$PATH

n=0
is() { # is NAME GOT WANTED
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf 'got:\n%s\nwanted:\n%s\n' "$2" "$3" | sed 's/^/# /'
	fi
}
run() { # run ARGUMENT...: what it prints, with its exit status behind, the scratch directory left out
	mcpctl "$@" 2>&1 </dev/null | sed "s|$dir/||g"
	mcpctl "$@" >/dev/null 2>&1 </dev/null
	echo "exit $?"
}

cat >"$dir/good.json" <<'END'
// A comment
{
	"stream": { "after_ms": 500 },
	"batch": { "max": 100 }, // the default, so not changed
	"tools": { "echo": { "builtin": "echo" } }
}
END
cat >"$dir/bad.json" <<'END'
{
	"server": { "public_url": "https://" },
	"strem": {},
	"stream": { "after_ms": 5 },
	"tools": { "a": { "builtin": "eco" } },
	"auth": { "api_keys_file": "none" }
}
END
is "a good file" "$(run check "$dir/good.json")" "good.json: ok, 1 tool, 1 setting changed
exit 0"
is "--conf names it too" "$(run --conf "$dir/good.json" check)" "good.json: ok, 1 tool, 1 setting changed
exit 0"
is "and MCP_FCGI_CONF" "$(MCP_FCGI_CONF=$dir/good.json run check)" "good.json: ok, 1 tool, 1 setting changed
exit 0"
is "--set counts" "$(run check "$dir/good.json" --set batch_max=7 --set page_size=8)" \
	"good.json: ok, 1 tool, 3 settings changed
exit 0"
is "mistakes of all kinds are named at once, with their lines" \
	"$(run check "$dir/bad.json" | sed 's/^\([a-z.]*:[0-9]*: [^:]*\):.*/\1/' | sort)" "$(sort <<'END'
bad.json:3: /strem
bad.json:4: /stream/after_ms
bad.json:5: /tools/a
bad.json:6: /auth/api_keys_file
bad.json:2: /server/public_url
5 problems
exit 1
END
)"
is "the nearest name, and the range" "$(run check "$dir/bad.json" | grep -e strem -e after_ms)" \
	'bad.json:3: /strem: no such section; did you mean "stream"?
bad.json:4: /stream/after_ms: 5 is out of range: 10 to 600000 ms'
is "no such file" "$(run check "$dir/none.json")" "mcpctl: configuration none.json: No such file or directory
exit 1"
is "the example site" "$(run check "$src/examples/hello/mcp.json" | grep -c -e '/mcp.json: ok, ' -e 'exit 0')" 2
is "settings, those that were changed" "$(run settings "$dir/good.json" | grep '^\*')" \
	"* stream_after_ms              500  (default 1000)"
is "no command" "$(run | tail -n 1)" "exit 2"
is "unknown command" "$(run frobnicate)" "mcpctl: frobnicate: no such command; see mcpctl --help
exit 2"
is "an argument too many" "$(run schema x)" "mcpctl: x: unexpected argument; see mcpctl --help
exit 2"
is "publish: what" "$(run publish)" "mcpctl: publish: what? resource, lists, log or progress; see mcpctl --help
exit 2"
is "publish: the nearest" "$(run publish list tools)" \
	"mcpctl: publish list: there is no such thing to publish; did you mean lists?
exit 2"
is "publish: too few words" "$(run publish log info)" "mcpctl: it is: publish log LEVEL TEXT
exit 2"
is "publish: too many words" "$(run publish resource a:b c:d)" "mcpctl: it is: publish resource URI
exit 2"
is "publish: an option of another's" "$(run publish lists tools --logger x)" \
	"mcpctl: publish lists: --logger is for publish log
exit 2"
is "publish: progress is a number" "$(run publish progress c 3/ten)" \
	'mcpctl: publish progress: "3/ten" is no progress, as 3, 0.5 or 3/10 are
exit 2'
for text in '' / 3/ /3 nan 1e999 0x3 '[3]' '3,"total":4' 3//4; do
	is "publish: $text is no progress" "$(run publish progress c "$text" | tail -n 1)" "exit 2"
done
is "publish: progress is for one call" "$(run publish progress c 3 --session abcd)" \
	"mcpctl: publish progress: it is for the client of its call, not --session or --principal
exit 2"
is "publish: of progress somebody has to hear" \
	"$(run publish progress c 3/10 --conf "$dir/good.json" --set publish_socket="$dir/none" --set run_dir="$dir" | sed 's/^mcpctl: .*: /.../')" \
	"...No such file or directory
No mcp-runner serves it. A worker starts one when a client comes (runner_autostart is true); what keeps one from serving it, its log says
exit 1"
is "publish: nowhere" "$(run publish lists tools --conf "$dir/good.json")" \
	'mcpctl: nothing can be published: good.json names no socket for it, as in {"publish": {"socket": "/run/mcp-fcgi/publish"}}
exit 1'
is "publish: nobody is there" \
	"$(run publish lists tools --conf "$dir/good.json" --set publish_socket="$dir/none" --set run_dir="$dir")" \
	"reached 0: no client is connected, for no broker runs
exit 0"
is "publish: no socket is there" \
	"$(run publish lists tools --conf "$dir/good.json" --set publish_socket="$dir/good.json" --set run_dir="$dir" --json)" \
	'{"reached":0}
exit 0'
is "publish: a port for everybody" "$(run check "$dir/good.json" --set publish_listen=0.0.0.0:80 | tail -n 1)" "exit 1"
is "help is at most 80 columns wide" "$(mcpctl --help | awk 'length > 80 && NF > 1')" "" # but for a long path
is "nothing is lost when the disk is full" "$(mcpctl schema 2>&1 >/dev/full; echo "exit $?")" \
	"mcpctl: write: No space left on device
exit 1"

# Its JSON, read by somebody else.
if command -v python3 >/dev/null; then
	is "settings --json" "$(mcpctl settings --json "$dir/good.json" | python3 -c '
import json, sys
rows = {row["name"]: row for row in json.load(sys.stdin)}
row = rows["stream_after_ms"]
print(row["value"], row["default"], row["min"], row["max"], row["unit"], rows["cors_origins"]["value"])')" \
		"500 1000 10 600000 ms []"
	is "the schema names each setting once" "$(mcpctl schema | python3 -c '
import json, sys
def once(pairs):
	assert len(dict(pairs)) == len(pairs), pairs
	return dict(pairs)
sections = json.load(sys.stdin, object_pairs_hook=once)["properties"]
print(sum(len(s.get("properties", {})) for s in sections.values()))')" \
		"$(mcpctl settings "$dir/good.json" | wc -l | tr -d ' ')"
fi
echo "1..$n"
