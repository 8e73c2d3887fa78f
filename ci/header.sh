#!/bin/sh
# header.sh: writes include/sys/event.h anew from the sources.
# header.sh --check: writes nothing; fails if it is not what they make.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo

header=include/sys/event.h
case ${1-} in
'' | --check) ;;
*)
	echo "usage: ci/header.sh [--check]" >&2
	exit 2
	;;
esac

# The build script leaves the header in a directory that only cargo can name;
# it does so in a message of each build, also of one with nothing to do. Among
# those of the packages we depend on, ours is the one that comes from a path.
messages=$(cargo build --package kqueue --message-format=json-render-diagnostics)
out=$(printf '%s\n' "$messages" |
	grep '"reason":"build-script-executed"' |
	grep '"package_id":"path+file:' |
	sed -n 's/.*"out_dir":"\([^"]*\)".*/\1/p')
made=$out/event.h
[ -s "$made" ] || {
	echo "header.sh: cargo build names no directory with event.h: '$out'" >&2
	exit 1
}

if cmp -s "$made" "$header"; then
	echo "header: $header is what its sources make"
elif [ "${1-}" = --check ]; then
	diff -u "$header" "$made" >&2 || :
	echo "header: $header has drifted; run make header and commit it" >&2
	exit 1
else
	cp "$made" "$header"
	echo "header: $header written"
fi
