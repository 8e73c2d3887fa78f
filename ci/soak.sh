#!/usr/bin/env bash
# Builds and installs the library aside, builds tests/soak against that, and
# runs it. What is written is gone at the end.
#
# From the environment, and so from make's command line:
#	MINUTES=2   how long
#	SEED=       of the random numbers; a new one each time by default
#	ROUND=      this round of it alone
#	PRELOAD=1   under libkqueue-preload.so, and bearing no limit that it mends
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo cc make pkg-config
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

make --no-print-directory install PROFILE=release PREFIX="$tmp/stage" \
	>"$tmp/build" 2>&1 || { cat "$tmp/build"; exit 1; }
export PKG_CONFIG_PATH=$tmp/stage/lib/pkgconfig
# shellcheck disable=SC2046 # the flags are several words
${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -pthread \
	-o "$tmp/soak" tests/soak/*.c $(pkg-config --cflags --libs libkqueue) \
	-Wl,-rpath,"$tmp/stage/lib"

set -- -m "${MINUTES:-2}"
[ -z "${SEED:-}" ] || set -- "$@" -s "$SEED"
[ -z "${ROUND:-}" ] || set -- "$@" -r "$ROUND" -n 1
run=()
if [ -n "${PRELOAD:-}" ]; then
	preload=$(pkg-config --variable=preload libkqueue)
	[ -e "$preload" ] || { echo "no preload library: '$preload'" >&2; exit 1; }
	set -- "$@" -x
	run=(env "LD_PRELOAD=$preload")
fi
TMPDIR=$tmp "${run[@]}" "$tmp/soak" "$@"
