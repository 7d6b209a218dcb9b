#!/bin/sh
# What "make install" puts in place is enough to build a module elsewhere, by the words of its manual page.
set -u
src=${abs_top_srcdir:?} build=${abs_top_builddir:?}

scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
n=0
ok() { # ok STATUS NAME
	n=$((n + 1))
	[ "$1" -eq 0 ] && echo "ok $n - $2" || echo "not ok $n - $2"
}
try() { # try NAME COMMAND...: what it says matters only when it fails
	name=$1
	shift
	"$@" >"$scratch/said" 2>&1
	status=$?
	ok $status "$name"
	[ $status -eq 0 ] || sed 's/^/# /' "$scratch/said"
}

try "make install DESTDIR=..." env MAKEFLAGS= make -C "$build" install DESTDIR="$scratch/root"
for file in mcp-fcgi/module.h mcp-fcgi-module.pc mcp-fcgi-module.3 mcpctl mcp-worker; do
	[ -n "$(find "$scratch/root" -path "*/$file")" ]
	ok $? "$file is installed"
done

# Nothing but what is installed: the directory of its .pc, with all paths in there taken as below the root.
pc=$(find "$scratch/root" -name mcp-fcgi-module.pc)
flags=$(PKG_CONFIG_LIBDIR=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$scratch/root pkg-config --cflags mcp-fcgi-module)
ok $? "pkg-config --cflags mcp-fcgi-module"
# The header by itself, and the module in C++, as strict compilers of each age want it.
echo '#include <mcp-fcgi/module.h>' >"$scratch/header.c"
for how in 'gcc -std=c99' 'gcc -std=c11' 'gcc -std=c2x' 'clang -std=c99' 'clang -std=c11'; do
	command -v "${how%% *}" >/dev/null || continue
	# shellcheck disable=SC2086 # words
	try "the header: $how" $how -Wall -Wextra -pedantic-errors -Werror -fsyntax-only $flags "$scratch/header.c"
done
for how in 'g++ -std=c++11' 'g++ -std=c++17' 'g++ -std=c++20' 'clang++ -std=c++17'; do
	command -v "${how%% *}" >/dev/null || continue
	# shellcheck disable=SC2086
	try "words.cpp: $how" $how -Wall -Wextra -pedantic-errors -Werror -shared -fPIC -fvisibility=hidden $flags \
		-o "$scratch/words.so" "$src/examples/modules/words.cpp"
done
for module in hello numbers; do
	# shellcheck disable=SC2086 # flags are words
	try "$module.c is compiled" "${CC:-cc}" -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden $flags \
		-o "$scratch/$module.so" "$src/examples/modules/$module.c"
	echo "{\"modules\": {\"$module\": {\"file\": \"$module.so\"}}}" >"$scratch/$module.json"
	try "$module.so is loaded" "$(find "$scratch/root" -name mcpctl -type f)" check "$scratch/$module.json"
done
# Whose configuration wants a library that is not there, or can't be opened, is told which.
libcurl=$(sed -n 's/^#define LIBCURL "\(.*\)"/\1/p' "$build/config.h")
: >"$scratch/$libcurl"
echo '{"tools": {"t": {"http": {"url": "https://api.example/v1"}}}}' >"$scratch/http.json"
LD_LIBRARY_PATH=$scratch "$(find "$scratch/root" -name mcpctl -type f)" check "$scratch/http.json" 2>&1 | grep -q ": /tools/t: .*$libcurl: "
ok $? "a libcurl that can't be opened is complained about"
echo "1..$n"
