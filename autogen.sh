#!/bin/sh
# Makes ./configure from configure.ac. Needed once after a checkout from git; a release tarball has it already.
set -e
cd "$(dirname "$0")"
command -v autoreconf >/dev/null || {
	echo "autogen.sh: autoreconf is missing (Debian: apt install autoconf automake)" >&2
	exit 1
}
exec autoreconf --force --install --warnings=all
