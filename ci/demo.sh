#!/usr/bin/env bash
# The main job, seen whole: a BSD server on this library, with real clients.
#
# Builds the library, installs it into a temporary directory, compiles
# examples/httpd.c from there with pkg-config alone, starts it on the loopback
# interface, fetches pages, puts it under load, changes a page under it, and
# stops it. Then examples/supervise.c keeps services running, and
# examples/follow.c follows a log through its rotation. What is started and
# written is gone at the end; the exit status says whether all was well.
#
#   DURATION=5        seconds of load
#   CONNECTIONS=200   clients at once
#   HTTPD=program     drive this program instead of building any
set -u
cd "$(dirname "$0")/.." || exit 1
DURATION=${DURATION:-5} CONNECTIONS=${CONNECTIONS:-200}
IDLE=3

if [ -n "${HTTPD:-}" ]; then
	ci/need.sh curl || exit 1
else
	ci/need.sh cargo cc make pkg-config curl || exit 1
fi

tmp=$(mktemp -d) || exit 1
server='' other=''
cleanup() {
	[ -n "$server" ] && kill -KILL "$server" 2>/dev/null
	# With SIGTERM it takes along what it has started.
	[ -n "$other" ] && kill -TERM "$other" 2>/dev/null && wait "$other"
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

step() { printf '\n== %s\n' "$*"; }
fail() {
	printf 'demo: FAILED: %s\n' "$*" >&2
	[ -s "$tmp/err" ] && sed 's/^/  said: /' "$tmp/err" >&2
	exit 1
}
ok() { printf '  %s\n' "$*"; }

# until_true SECONDS WHAT COMMAND...: the command must come true.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "$what"
		sleep 0.05
	done
}

# start ARGUMENT...: runs the server and learns its port.
start() {
	# What an earlier server said must not be taken for this one's words.
	: >"$tmp/out"
	"$HTTPD" -p 0 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	server=$!
	until_true 20 "the server did not start" grep -q '^listening' "$tmp/out"
	port=$(sed -n 's/^listening on .* port //p' "$tmp/out")
	url=http://127.0.0.1:$port
	ok "$(head -n 1 "$tmp/out")"
}

# stop: by SIGTERM, which the server ignores but for its queue.
gone() { ! kill -0 "$server" 2>/dev/null; }
stop() {
	local status
	kill -TERM "$server" || fail "the server had ended by itself"
	until_true 20 "the server did not stop" gone
	wait "$server"
	status=$?
	server=
	[ $status -eq 0 ] || fail "the server ended with status $status"
	totals=$(grep '^stopped: ' "$tmp/out") || fail "no totals were printed"
	ok "$totals"
	[ ! -s "$tmp/err" ] || fail "the server complained"
}
# total NAME...: one number of the line that stop() printed.
total() { sed -n "s/.* \([0-9]*\) $*.*/\1/p" <<<"$totals"; }

descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
no_more_than() { [ "$(descriptors)" -le "$1" ]; }

get() { curl --silent --show-error --max-time 60 "$@"; }
status_of() { get --output /dev/null --write-out '%{http_code}' "$@"; }
expect_status() {
	local want=$1 got
	shift
	got=$(status_of "$@") || fail "curl $*"
	[ "$got" = "$want" ] || fail "$* answered $got, not $want"
}

# load SECONDS CONNECTIONS URL: must not meet a single error.
load() {
	ulimit -Sn "$(ulimit -Hn)" 2>/dev/null
	wrk -t2 -c"$2" -d"$1s" --timeout 20s "$3" >"$tmp/wrk" 2>&1 ||
		fail "wrk: $(cat "$tmp/wrk")"
	if grep -E 'Socket errors|Non-2xx' "$tmp/wrk"; then
		fail "errors under load"
	fi
	requests=$(sed -n 's/^ *\([0-9]*\) requests in.*/\1/p' "$tmp/wrk")
	[ "${requests:-0}" -gt 0 ] || fail "wrk made no request"
	ok "$2 connections, $(sed -n 's/^ *\(.* requests in .*\)/\1/p' "$tmp/wrk")"
	ok "$(grep 'Requests/sec' "$tmp/wrk" | tr -s ' ')"
}

if [ -z "${HTTPD:-}" ]; then
	step "build and install into a temporary directory"
	make --no-print-directory install PROFILE=release \
		PREFIX="$tmp/stage" >"$tmp/build" 2>&1 ||
		{ cat "$tmp/build"; fail "make install"; }
	(cd "$tmp/stage" && find . ! -type d | sort | sed 's/^/  /')

	step "compile the examples"
	export PKG_CONFIG_PATH=$tmp/stage/lib/pkgconfig
	flags=$(pkg-config --cflags --libs libkqueue) || fail "pkg-config"
	for example in httpd supervise follow; do
		# shellcheck disable=SC2086 # the flags are several words
		cc -O2 -Wall -Wextra -Werror -o "$tmp/$example" \
			examples/$example.c $flags || fail "cc"
		ok "cc examples/$example.c \$(pkg-config --cflags --libs libkqueue)"
	done
	export LD_LIBRARY_PATH=$tmp/stage/lib
	HTTPD=$tmp/httpd SUPERVISE=$tmp/supervise FOLLOW=$tmp/follow
fi

root=$tmp/root
mkdir -p "$root/sub dir"
printf '<!DOCTYPE html>\n<title>demo</title>\n<p>It works.\n' >"$root/index.html"
head -c 33554432 /dev/urandom >"$root/large.bin"
head -c 262144 /dev/urandom >"$root/medium.bin"
: >"$root/empty.txt"
echo below >"$root/sub dir/a.txt"
echo secret >"$root/.hidden"
echo outside >"$tmp/outside.txt"

step "start"
start -d "$root" -t $IDLE

step "fetch pages"
for page in /index.html: /:index.html /large.bin: /medium.bin: /empty.txt: \
	"/sub%20dir/a.txt:sub dir/a.txt"; do
	path=${page%%:*} file=${page#*:}
	get --fail --output "$tmp/got" "$url$path" || fail "GET $path"
	cmp "$tmp/got" "$root/${file:-${path#/}}" || fail "$path differs"
	ok "GET $path: $(stat -c %s "$tmp/got") bytes, as in the file"
done
length=$(get --head "$url/large.bin" | tr -d '\r' |
	sed -n 's/^Content-Length: //p')
[ "$length" = 33554432 ] || fail "HEAD gave length '$length'"
ok "HEAD /large.bin: $length bytes announced, none sent"
expect_status 404 "$url/nothing"
expect_status 403 --path-as-is "$url/../outside.txt"
expect_status 403 --path-as-is "$url/%2e%2e/outside.txt"
expect_status 403 "$url/.hidden"
expect_status 404 --path-as-is "$url//$tmp/outside.txt"
expect_status 501 --data x "$url/"
ok "refused: a missing page, ways out of the directory, POST"
got=$(get --output /dev/null --output /dev/null --output /dev/null \
	--write-out '%{num_connects} ' "$url/" "$url/large.bin" "$url/")
[ "$got" = "1 0 0 " ] || fail "keep-alive: connections made: $got"
ok "three pages over one connection"

# Five requests in one write, then FIN: all are answered, in order.
exec 3<>"/dev/tcp/127.0.0.1/$port" || fail "connect"
for path in / /sub%20dir/a.txt /nothing /empty.txt; do
	printf 'GET %s HTTP/1.1\r\nHost: demo\r\n\r\n' "$path"
done >"$tmp/pipeline"
printf 'GET /medium.bin HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n' \
	>>"$tmp/pipeline"
cat "$tmp/pipeline" >&3
timeout 20 cat <&3 >"$tmp/answers" || fail "the pipeline was not answered"
exec 3>&-
got=$(grep -a '^HTTP/1.1 ' "$tmp/answers" | cut -d ' ' -f 2 | tr '\n' ' ')
[ "$got" = "200 200 404 200 200 " ] || fail "pipeline: $got"
tail -c 262144 "$tmp/answers" | cmp - "$root/medium.bin" ||
	fail "the last page of the pipeline differs"
ok "five requests in one piece, five answers in order"

# A reader that is slower than the server: responses must wait for room.
get --fail --limit-rate 16M --output "$tmp/got" "$url/large.bin" &
slow=$!
get --fail --output "$tmp/quick" "$url/" || fail "a slow client is in the way"
wait $slow || fail "the slow client"
cmp "$tmp/got" "$root/large.bin" || fail "the slow client got other bytes"
ok "a slow client and a quick one, side by side"

# A client that says nothing is hung up on, but not before its time.
exec 3<>"/dev/tcp/127.0.0.1/$port" || fail "connect"
began=$(date +%s%N)
timeout 20 cat <&3 >"$tmp/answers" || fail "a silent client stayed"
waited=$((($(date +%s%N) - began) / 1000000))
exec 3>&-
[ ! -s "$tmp/answers" ] || fail "a silent client was told something"
# Our clock starts after the server's, which is why a little less will do.
[ $waited -ge $((IDLE * 1000 - 100)) ] || fail "hung up after $waited ms"
ok "a silent client was hung up on after $waited ms (limit ${IDLE}000)"

step "load"
if command -v wrk >/dev/null 2>&1; then
	# The first load leaves what the library keeps for good in place.
	load 1 "$CONNECTIONS" "$url/"
	until_true 20 "clients stayed" no_more_than 40
	before=$(descriptors)
	load "$DURATION" "$CONNECTIONS" "$url/"
	served=$requests
	load 2 50 "$url/medium.bin"
	until_true 20 "descriptors leaked: $before before" \
		no_more_than "$before"
	ok "descriptors: $before before, $(descriptors) after"
else
	served=0
	ok "skipped: wrk is not installed (apt-get install wrk)"
fi

step "stop"
stop
[ "$(total requests)" -ge "$served" ] || fail "requests were not counted"
[ "$(total silent clients)" -eq 1 ] || fail "silent clients were miscounted"

step "the same with 40 descriptors, and the built-in pages"
hard=$(ulimit -Sn)
ulimit -Sn 40
start
ulimit -Sn "$hard"
get --fail --output "$tmp/got" "$url/large" || fail "GET /large"
for ((i = 0; i < 131072; i++)); do printf '%063d\n' $i; done |
	cmp - "$tmp/got" || fail "/large differs"
ok "GET /large: $(stat -c %s "$tmp/got") bytes, as built"
files=()
for ((i = 0; i < 60; i++)); do
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || fail "connect"
	files+=("$fd")
done
paused() { [ "$(descriptors)" -ge 40 ]; }
until_true 20 "the clients do not use up the descriptors" paused
ticks() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }
began=$(ticks)
sleep 1
spent=$(($(ticks) - began))
[ $spent -lt 30 ] || fail "spins without descriptors: $spent ticks in 1 s"
for fd in "${files[@]}"; do
	exec {fd}>&-
done
expect_status 200 "$url/"
ok "60 clients at once: all waited for, none spun for"
if command -v wrk >/dev/null 2>&1; then
	load 1 20 "$url/large"
fi
get --fail --limit-rate 8M --output "$tmp/last" "$url/large" &
slow=$!
until_true 20 "the last client got nothing" test -s "$tmp/last"
stop
wait $slow || fail "the last client was cut off"
cmp "$tmp/last" "$tmp/got" || fail "the last client got other bytes"
ok "a response under way at the stop was finished"
[ "$(total partial writes)" -gt 0 ] || fail "no write was ever partial"
[ "$(total pauses)" -gt 0 ] || fail "it never ran out of descriptors"

step "a page that changes under the server"
page=$tmp/page.html
echo "first" >"$page"
start -f "$page"
shows() { [ "$(get --fail "$url/")" = "$1" ]; }
shows first || fail "GET / does not give the page"
echo "written over" >"$page"
until_true 20 "the page was not read again" shows "written over"
ok "written in place: curl gets the new page"
echo "put in its place" >"$tmp/next"
mv "$tmp/next" "$page"
until_true 20 "the new file was not noticed" shows "put in its place"
ok "replaced by rename: curl gets the new file"
echo "written over again" >"$page"
until_true 20 "the new file is not watched" shows "written over again"
ok "and that one is watched in turn"
stop
[ "$(total reloads)" -ge 3 ] || fail "reloads were not counted"

# run PROGRAM ARGUMENT...: what the server was, for another program.
run() {
	: >"$tmp/err"
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	other=$!
}
# end_of WHAT: by SIGTERM, with 0.
end_of() {
	local status pid=$other
	kill -TERM "$pid" || fail "$1 had ended by itself"
	wait "$pid"
	status=$?
	other=
	[ $status -eq 0 ] || fail "$1 ended with status $status"
}
said() { [ "$(grep -c "$1" "$tmp/err")" -ge "$2" ]; }

if [ -n "${SUPERVISE:-}" ]; then
	step "services that are kept running"
	printf 'web exec sleep 1000\nflaps exit 3\n' >"$tmp/services"
	run "$SUPERVISE" -b 100 -m 400 "$tmp/services"
	until_true 20 "no service was started" said '^supervise: web\[.*started' 1
	pid=$(sed -n 's/^supervise: web\[\([0-9]*\)\]: started$/\1/p' "$tmp/err")
	kill -KILL "$pid"
	until_true 20 "it was not started again" \
		said '^supervise: web\[.*started' 2
	ok "$(grep "\[$pid\]: ended" "$tmp/err")"
	until_true 20 "no back-off" said 'flaps: starts again in 400 ms' 2
	ok "back-off:$(sed -n 's/.*flaps: starts again in \(.*\) ms/ \1/p' \
		"$tmp/err" | head -n 4 | tr -d '\n') ms"
	printf 'new exec sleep 1000\n' >"$tmp/services"
	kill -HUP "$other"
	until_true 20 "nothing new was started" \
		said '^supervise: new\[.*started' 1
	until_true 20 "web was not stopped" said 'web\[.*by signal 15' 1
	ok "SIGHUP: $(grep 'new\[' "$tmp/err")"
	end_of supervise
	grep -q 'but kevent() said' "$tmp/err" && fail "a status differs"
	ok "SIGTERM: $(tail -n 1 "$tmp/err")"

	step "a log through its rotation"
	echo 0 >"$tmp/log"
	run "$FOLLOW" -n 1 "$tmp/log"
	until_true 20 "nothing was printed" test -s "$tmp/out"
	exec 3>>"$tmp/log"
	for round in 1 2 3 4 5; do
		mv "$tmp/log" "$tmp/log.$round"
		for ((i = 0; i < 1000; i++)); do echo "$round old $i"; done >&3
		exec 3>>"$tmp/log"
		for ((i = 0; i < 1000; i++)); do echo "$round new $i"; done >&3
		until_true 20 "rotation $round was missed" \
			grep -q "^$round new 999\$" "$tmp/out"
	done
	exec 3>&-
	end_of follow
	cat "$tmp/log.1" "$tmp/log.2" "$tmp/log.3" "$tmp/log.4" "$tmp/log.5" \
		"$tmp/log" | cmp - "$tmp/out" || fail "lines are missing or twice"
	ok "five rotations, $(wc -l <"$tmp/out") lines, each once and in order"
else
	step "supervise and follow"
	ok "skipped: HTTPD says what to drive"
fi

printf '\ndemo: all is well\n'
