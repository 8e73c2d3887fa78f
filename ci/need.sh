#!/bin/sh
# need.sh TOOL...: ends with 1 and one line that names what is missing and how
# Debian and Ubuntu install it.
missing='' packages='' rust=''
# Debian keeps logrotate where only root looks.
PATH=$PATH:/usr/sbin
add() {
	missing="$missing $1"
	case " $packages " in
	*" $2 "*) ;;
	*) packages="$packages $2" ;;
	esac
}
for tool in "$@"; do
	command -v "$tool" >/dev/null 2>&1 && continue
	case $tool in
	cc | c++ | make | nm | readelf | ar) add "$tool" build-essential ;;
	cargo | rustc | rustfmt | cargo-clippy) rust="$rust $tool" ;;
	*) add "$tool" "$tool" ;;
	esac
done
[ -z "$missing$rust" ] && exit 0
line="missing:$missing$rust;"
[ -n "$packages" ] && line="$line apt-get install$packages;"
[ -n "$rust" ] && line="$line Rust 1.88 or newer from https://rustup.rs;"
echo "${line%;}" >&2
exit 1
