#!/bin/sh
# fmt.sh: every Rust file is as rustfmt writes it.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo rustfmt
cargo fmt --all --check
