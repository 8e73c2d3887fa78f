#!/bin/sh
# valgrind.sh [FILTER]: the C tests under valgrind; no error, no leak.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo cc make pkg-config valgrind
# Many cases wait more than they work.
KQUEUE_VALGRIND=1 cargo test --test c_suite -- \
	--test-threads="$((3 * $(nproc)))" "$@"
