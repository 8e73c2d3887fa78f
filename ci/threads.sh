#!/bin/bash
# threads.sh [FILE]: the C tests of several threads under ThreadSanitizer.
#
# The library is built as an archive, with the sanitizer that comes with rustc
# (a stable one is told to allow it), and the C files with clang's; both speak
# to rustc's runtime. The standard library is not instrumented, for its source
# need not be there. What the library uses of it among threads is OnceLock: its
# reading half is compiled into the library and seen, its writing half is not,
# so at worst there is a report too many. Everything generic (Vec, slices,
# parking_lot's mutex over our lock) is compiled with the library and seen.
#
# A report fails the case. ci/threads.supp has what is right as it is, with the
# reason. Left out are the files without threads, and those whose point is what
# a handler or a dying process does, where the sanitizer stands in between.
set -eu -o pipefail
cd "$(dirname "$0")/.."
ci/need.sh cargo clang
files=${1:-threads kevent queue limits signal signal_blocked user timer read vnode fs}

host=$(rustc -vV | sed -n 's/^host: //p')
sysroot=$(rustc --print sysroot)
runtime=$(ls "$sysroot/lib/rustlib/$host/lib/"librustc*_rt.tsan.a 2>/dev/null) || {
	echo "threads: this rustc has no ThreadSanitizer: nothing was run" >&2
	exit 1
}
target=${CARGO_TARGET_DIR:-target}/threads
RUSTC_BOOTSTRAP=1 \
RUSTFLAGS="${RUSTFLAGS-} -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
	cargo rustc --quiet --lib --crate-type staticlib --target "$host" \
	--target-dir "$target"

out=$target/programs
rm -rf "$out"
mkdir -p "$out"
for file in $files; do
	clang -std=c11 -D_GNU_SOURCE -g -O1 -pthread -fsanitize=thread \
	    -fno-sanitize-link-runtime -Iinclude "tests/c/$file.c" -o "$out/$file" \
	    "$target/$host/debug/libkqueue.a" \
	    -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive \
	    -Wl,--export-dynamic -lutil -lrt -lpthread -lm -ldl
	"$out/$file" --list | sed "s/^/$file /"
done >"$out/cases"

# A child that a process of several threads forked goes on, unchecked.
export TSAN_OPTIONS="die_after_fork=0 exitcode=66 suppressions=$PWD/ci/threads.supp"
export KQUEUE_THREADS=1 out
# shellcheck disable=SC2016 # the inner shell's
xargs -P "$((2 * $(nproc)))" -L 1 sh -c '
	log=$out/$0-$1.log
	timeout -s KILL 120 "$out/$0" "$1" >"$log" 2>&1 </dev/null
	status=$?
	case $status in
	0) echo passed ;;
	77) echo "skipped $0::$1: $(sed -n "s/^skipped: //p" "$log")" ;;
	*)
		echo "failed $0::$1: exit status $status"
		head -n 60 "$log" >&2
		;;
	esac' <"$out/cases" >"$out/results"
grep -v '^passed' "$out/results" || :
count() { grep -c "^$1" "$out/results" || :; }
echo "$(count passed) passed, $(count failed) failed, $(count skipped) skipped"
[ "$(count failed)" = 0 ] && [ "$(count passed)" != 0 ]
