#!/bin/sh
# What "make dist" packs is what is kept in git, and what autotools make of it.
set -u
src=${abs_top_srcdir:?} build=${abs_top_builddir:?}

[ -e "$src/.git" ] && git -C "$src" ls-files --error-unmatch configure.ac >/dev/null 2>&1 || {
	echo "1..0 # SKIP not a clone of the repository"
	exit 0
}
scratch=$(mktemp -d) && trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
n=0
ok() { # ok STATUS NAME FILE: it says what is wrong
	n=$((n + 1))
	[ "$1" -eq 0 ] && echo "ok $n - $2" || echo "not ok $n - $2"
	[ "$1" -eq 0 ] || sed 's/^/# /' "$3"
}

env MAKEFLAGS= make -C "$build" distdir distdir="$scratch/dist" >"$scratch/said" 2>&1
ok $? "make distdir" "$scratch/said"
(cd "$scratch/dist" 2>/dev/null && find . -type f -o -type l) | sed 's|^\./||' | sort >"$scratch/packed"
# A file that was removed and not yet committed is no file any more; .gitignore is of no use without git.
(cd "$src" && git ls-files --cached --others --exclude-standard | while read -r file; do [ -e "$file" ] && echo "$file"; done) | grep -vx .gitignore |
	sort >"$scratch/kept"

comm -13 "$scratch/packed" "$scratch/kept" >"$scratch/missing"
[ ! -s "$scratch/missing" ]
ok $? "everything is packed" "$scratch/missing"
comm -23 "$scratch/packed" "$scratch/kept" |
	grep -Evx 'Makefile\.in|aclocal\.m4|build-aux/.*|config\.h\.in|configure' >"$scratch/strangers"
[ ! -s "$scratch/strangers" ]
ok $? "nothing else is" "$scratch/strangers"
echo "1..$n"
