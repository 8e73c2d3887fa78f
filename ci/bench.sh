#!/bin/sh
# Builds the release library and the benchmark, and prints its table; then what
# close() costs through the preload library.
#
#	ci/bench.sh [option ...] [case ...]	as benches/README.md tells
#
# From the environment, and so from make's command line:
#	OTHER	another library with this ABI, by path, for the last column
#	LIB	a library to measure instead of building ours
#	ARGS	more options and cases
set -eu

absolute() {
	case $1 in
	'' | /*) printf '%s\n' "$1" ;;
	*) printf '%s/%s\n' "$PWD" "$1" ;;
	esac
}
other=$(absolute "${OTHER-}")
lib=$(absolute "${LIB-}")
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

# A case pattern in ARGS is for the benchmark, not for the shell.
set -f
# shellcheck disable=SC2086
set -- ${ARGS-} "$@"
preload=

case " $* " in
# Neither of these measures a library.
*' -b '* | *' -L '*) ;;
*)
	if [ -z "$lib" ]; then
		cargo build --release
		lib=$target/release/libkqueue.so
		preload=$target/release/libkqueue_preload.so
	fi
	set -- -l "$lib" ${other:+-o "$other"} "$@"
	;;
esac

mkdir -p "$target/bench"
set +f
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -o "$target/bench/bench" \
	benches/*.c -ldl -lpthread
[ -n "$preload" ] || exec "$target/bench/bench" "$@"

status=0
"$target/bench/bench" "$@" || status=$?
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra \
	-o "$target/bench/close" benches/preload/close.c -ldl
case $preload in
/*) ;;
*) preload=$PWD/$preload ;;
esac
LD_PRELOAD=$preload "$target/bench/close" "$lib" || status=$?
exit $status
