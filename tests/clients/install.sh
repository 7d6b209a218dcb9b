#!/bin/sh
# Installs what package-lock.json names into node_modules beside it, unless it is there already: here, or in DIRECTORY.
#   tests/clients/install.sh [DIRECTORY]
set -eu
cd "${1:-$(dirname "$0")}"

command -v npm >/dev/null || {
	echo "install.sh: npm is missing (Debian: apt install nodejs npm)" >&2
	exit 1
}
# npm keeps its own copy of the lock file; the stamp is the one that was asked for.
cmp -s package-lock.json node_modules/.installed && exit 0
npm ci --no-fund --no-audit --ignore-scripts --loglevel=error
cp package-lock.json node_modules/.installed
