#!/bin/sh
# clippy.sh: no warning, from the compiler or clippy, in any target.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo cargo-clippy
cargo clippy --all-targets -- -D warnings
