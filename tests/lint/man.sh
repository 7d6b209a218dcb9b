#!/bin/sh
# Every manual page is what mandoc takes without a complaint, and every program has one.
set -u
src=${abs_top_srcdir:?} build=${abs_top_builddir:?}

command -v mandoc >/dev/null || {
	echo "1..0 # SKIP mandoc is missing (Debian: apt install mandoc)"
	exit 0
}
n=0
ok() { # ok STATUS NAME
	n=$((n + 1))
	[ "$1" -eq 0 ] && echo "ok $n - $2" || echo "not ok $n - $2"
}

for page in "$src"/man/*.[1358] "$build"/man/mcp.json.5 "$build"/man/mcp-broker.8; do
	# Whether other pages are known depends on the machine, not on ours.
	complaints=$(mandoc -Tlint -W style "$page" 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db' \
		-e 'operating system explicitly')
	[ -z "$complaints" ]
	ok $? "$(basename "$page")"
	[ -z "$complaints" ] || echo "$complaints" | sed 's/^/# /'
done
for program in mcp-broker.8 mcp-launch.8 mcp-runner.8 mcp-worker.8 mcpctl.1; do
	[ -f "$src/man/$program" ] || [ -f "$build/man/$program" ]
	ok $? "there is a page $program"
done

# Each option that --help names is on the page, but for the settings.
for program in mcp-broker mcp-runner mcp-worker mcpctl; do
	page=$(ls "$src"/man/$program.*)
	missing=
	for option in $("$build/$program" --help | sed -n 's/^  --\([a-z]*\).*/\1/p'); do
		grep -q -e "Fl -$option" -e "Fl -help | -$option" "$page" || missing="$missing --$option"
	done
	[ -z "$missing" ]
	ok $? "$program: all options are on its page$missing"
done

# The examples of configurations are taken from their pages and checked.
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
(umask 077 && echo 'alice:0123456789abcdef' >"$scratch/keys")
sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$build/man/mcp.json.5" | sed -n '/^{/,/^}/p' >"$scratch/mcp.json"
said=$("$build/mcpctl" check "$scratch/mcp.json" 2>&1)
ok $? "the example of mcp.json.5 is a good configuration"
echo "$said" | sed 's/^/# /'
printf '{\n\t"stream": {\n\t\t"after_ms": 5\n\t}\n}\n' >"$scratch/mcp.json"
shown=$(sed -n '/^\$ mcpctl check/,/^\.Ed/p' "$src/man/mcpctl.1" | sed -e '1d' -e '/^\.Ed/d')
said=$("$build/mcpctl" check "$scratch/mcp.json" 2>&1 | sed "s|^$(cd "$scratch" && pwd -P)|/srv/acme|")
[ "$said" = "$shown" ]
ok $? "mcpctl says what mcpctl.1 shows"
echo "1..$n"
