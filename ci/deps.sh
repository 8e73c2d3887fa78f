#!/bin/sh
# deps.sh: installs what the jobs need and this machine lacks (Debian, Ubuntu).
# With everything in place it changes nothing, and need not be root.
set -eu
cd "$(dirname "$0")/.."

# Debian keeps logrotate where only root looks.
PATH=$PATH:/usr/sbin

# One command stands for each package.
packages=''
for pair in cc:build-essential c++:build-essential make:build-essential \
	nm:build-essential clang++:clang pkg-config:pkg-config curl:curl \
	wrk:wrk valgrind:valgrind logrotate:logrotate; do
	command -v "${pair%%:*}" >/dev/null 2>&1 && continue
	case " $packages " in
	*" ${pair#*:} "*) ;;
	*) packages="$packages ${pair#*:}" ;;
	esac
done
if [ -n "$packages" ]; then
	as_root=''
	[ "$(id -u)" = 0 ] || as_root=sudo
	export DEBIAN_FRONTEND=noninteractive
	$as_root apt-get update
	# shellcheck disable=SC2086 # several words
	$as_root apt-get install -y $packages
fi

ci/need.sh cargo
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
