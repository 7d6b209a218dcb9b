#!/bin/sh
# What the layout promises, and the README: who may include whom, headers that compile on their own, a first comment in each file that
# says what it is for, and no environment but where it belongs.
set -u
cd "${abs_top_srcdir:?}" || exit 1
build=${abs_top_builddir:?}

n=0
ok() { # ok NAME COMPLAINTS
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "$2" | sed 's/^/# /'
	fi
}
sources() { # sources FOLDER...
	find "$@" -name node_modules -prune -o \( -name '*.c' -o -name '*.h' \) -print | sort
}
except() { # lines of standard input without those that begin with "FILE:"
	grep -v $(for file in "$@"; do printf -- '-e ^%s: ' "$file"; done)
}

ok "common/ includes nothing of its users" "$(grep -nE '#include "(fcgi|broker|runner|ctl|tests|bench)/' $(sources common))"
ok "fcgi/ includes nothing of broker/ and ctl/" "$(grep -nE '#include "(broker|runner|ctl|tests|bench)/' $(sources fcgi))"
ok "runner/ includes nothing of broker/ and ctl/" "$(grep -nE '#include "(broker|ctl|tests|bench)/' $(sources runner))"
ok "broker/ includes nothing of fcgi/ and ctl/" "$(grep -nE '#include "(fcgi|runner|ctl|tests|bench)/' $(sources broker))"
ok "the broker reads no JSON" "$(grep -nE 'json-c|common/jx\.h|json_object' $(sources broker))"
ok "libfcgi stays behind fcgi/req" "$(grep -nE '#include <fcgi' $(sources fcgi broker runner common ctl) |
	except fcgi/req_fcgi.h)"

# cfg.c: the configuration's name and its ${NAME}. main.c: how the worker was started. exec_def.c: what tools inherit.
# daemon_start.c, module_apart.c: a broker or runner, or the process of a module, inherits all.
ok "the environment is read in few places" "$(grep -nE '\bgetenv *\(|\benviron\b' $(sources fcgi broker runner common ctl) |
	except common/cfg.c fcgi/main.c fcgi/exec_def.c fcgi/daemon_start.c fcgi/module_apart.c)"
ok "memory comes from common/mem.h" "$(grep -nE '\b(malloc|calloc|realloc|strdup|strndup|asprintf) *\(' \
	$(sources fcgi broker runner common ctl) | except common/mem.c common/mem.h)"
ok "every C file ends its includes with common/banned.h" "$(for file in $(sources fcgi broker runner common ctl); do
	case $file in *.c) grep -q '#include "common/banned.h"' "$file" || echo "$file" ;; esac
done)"
ok "every C file begins its includes with config.h" "$(for file in $(sources fcgi broker runner common ctl); do
	case $file in *.c) [ "$(grep -m 1 '^#include' "$file")" = '#include "config.h"' ] || echo "$file" ;; esac
done)"
ok "every header says first what it is for" "$(for file in $(sources fcgi broker runner common ctl); do
	case $file in *.h) head -n 1 "$file" | grep -q "^/\* $file - " || echo "$file" ;; esac
done)"
ok "every header has a guard of its name, tables aside" "$(for file in $(sources fcgi broker runner common ctl); do
	case $file in *_tbl.h) continue ;; *.h) ;; *) continue ;; esac
	grep -q '^#ifndef MCP_[A-Z0-9_]*_H$' "$file" || echo "$file"
done)"
ok "a TODO carries an issue's number" "$(grep -nE '\b(TODO|FIXME)\b' $(sources fcgi broker runner common ctl tests bench) |
	grep -vE '(TODO|FIXME)\(#?[0-9]+\)')"
ok "no blank at the end of a line" "$(grep -nE '[ 	]$' $(sources fcgi broker runner common ctl))"
ok "README installs what the build needs" "$(for name in $(sed -n 's/^build="\(.*\)"$/\1/p' tests/packages); do
	[ "$name" = libc6-dev ] || grep -q "apt install .*\b$name\b" README.md || echo "$name" # gcc brings that
done)"

# One run of the compiler for all headers: each in a file of its own.
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
flags=$(pkg-config --cflags json-c libzmq libuv sqlite3 fcgi libpcre2-8 libcrypto libcurl 2>/dev/null)
for file in $(sources fcgi broker runner common ctl); do
	case $file in
	*_tbl.h | *.c) continue ;;
	esac
	printf '#include "config.h"\n#include "%s"\n' "$file" >"$scratch/$(echo "$file" | tr / _).c"
done
ok "each header compiles on its own" "$(${CC:-cc} -fsyntax-only -std=gnu11 -D_GNU_SOURCE -DBINDIR='""' -DLIBEXECDIR='""' \
	-DSYSCONFDIR='""' -I"$build" -I. $flags "$scratch"/*.c 2>&1 | grep -E 'error|fatal')"

echo "1..$n"
