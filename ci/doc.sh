#!/bin/sh
# doc.sh: the documentation builds without a warning, that of private items too.
set -eu
cd "$(dirname "$0")/.."
ci/need.sh cargo
export RUSTDOCFLAGS="${RUSTDOCFLAGS-} -D warnings"
cargo doc --no-deps
cargo doc --no-deps --document-private-items
