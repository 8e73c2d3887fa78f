#!/bin/sh
# loom.sh [FILTER]: models of the lock-free parts, run by loom in every order
# that threads and memory allow; see tests/loom/src/main.rs.
set -eu
cd "$(dirname "$0")/../tests/loom"
../../ci/need.sh cargo rustfmt cc
cargo fmt --check
# A report with all its frames is longer than what it says.
RUST_BACKTRACE=0 cargo run --quiet -- "$@"
