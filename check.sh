#!/bin/sh
# Installs what the tests need, builds with sanitizers in a scratch directory, runs all tests.
# The last line says: N passed, N failed, N skipped.
#
#   ./check.sh          all of that
#   ./check.sh --deps   only installs: Debian packages, and the npm packages of tests/clients
set -eu
cd "$(dirname "$0")"
source=$PWD

case "${1-}" in
'' | --deps) ;;
*)
	echo "usage: ./check.sh [--deps]" >&2
	exit 2
	;;
esac

if command -v dpkg-query >/dev/null; then
	tests/packages build test
fi
npm=0
tests/clients/install.sh || npm=$?
[ "${1-}" != --deps ] || exit "$npm"
[ "$npm" -eq 0 ] || echo "check.sh: without the npm packages their tests count as skipped" >&2

scratch=$(mktemp -d "${TMPDIR:-/tmp}/mcp-check.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# run NAME COMMAND...: its output is of interest only when it fails.
run() {
	name=$1
	shift
	echo "check.sh: $name" >&2
	"$@" >"$scratch/log" 2>&1 || {
		tail -n 200 "$scratch/log"
		echo "check.sh: $name failed"
		echo "0 passed, 1 failed, 0 skipped"
		exit 1
	}
}

# A copy of the sources: a tree that was configured in place cannot be built elsewhere, and this one stays as it is.
mkdir "$scratch/src" "$scratch/build"
tar -cf - --exclude=./.git --exclude=node_modules --exclude=./config.status --exclude=./config.h --exclude=./Makefile \
	--exclude=.deps --exclude='*.o' --exclude='*.a' . | tar -xf - -C "$scratch/src"
[ ! -d tests/clients/node_modules ] || ln -s "$source/tests/clients/node_modules" "$scratch/src/tests/clients/node_modules"
# Data of others that some tests read stands beside the sources, or those tests are skipped.
[ ! -d ../shared ] || ln -s "$(cd ../shared && pwd)" "$scratch/shared"
# tests/lint/dist.sh compares what is kept in git with what "make dist" packs.
[ ! -e .git ] || { git -C "$scratch/src" init -q && git -C "$scratch/src" add -A; } ||
	echo "check.sh: without git it is not compared with what is packed" >&2
# As root tests/serve becomes www-data, which has to get here; nothing in here is secret.
chmod -R go+rX "$scratch"

jobs=$(nproc 2>/dev/null || echo 2)
cd "$scratch/src"
run autogen.sh ./autogen.sh
cd "$scratch/build"
run configure ../src/configure --enable-sanitize --enable-werror CFLAGS="${CFLAGS--g -O1}"
run make make -j"$jobs"
run "building the tests" make -j"$jobs" check TESTS=
# One after the other: some measure what a client sees.
echo "check.sh: make check" >&2
make -k check >"$scratch/log" 2>&1 || true
grep -E '^(FAIL|ERROR|XPASS):' "$scratch/log" || true

# Each .trs file is what automake understood of one test program's TAP.
find . -name '*.trs' >"$scratch/results"
[ -s "$scratch/results" ] || tail -n 100 "$scratch/log"
# shellcheck disable=SC2046 # the names have no blanks
"$scratch/src/tests/results" $(cat "$scratch/results")
