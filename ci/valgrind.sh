#!/bin/sh
# valgrind.sh [FILTER]: the C tests under valgrind; no error, no leak.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo cc make pkg-config valgrind
# Many cases wait more than they work. The release library, for it is the one
# that programs get, and the other takes twice as long.
KQUEUE_VALGRIND=1 cargo test --release --test c_suite -- \
	--test-threads="$((3 * $(nproc)))" "$@"
