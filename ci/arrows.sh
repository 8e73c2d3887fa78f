#!/bin/sh
# arrows.sh [DIR]: imports of DIR/src point one way, and the walls stand.
# arrows.sh --self-test: every rule below is broken once, in a temporary copy,
# and must be noticed.
#
#   - Modules have layers; a file may name modules of lower layers (larger
#     numbers) and, in its own folder, of its own layer. Comments and string
#     literals do not count; every path in the code does, not just `use` lines.
#   - A path that climbs to the crate root by `super` is refused: it would hide
#     from this check. So is `extern crate`.
#   - Only src/capi/ and src/sys/ hold unsafe code. Every other file but the
#     crate root, where it would bind those two as well, says
#     #![forbid(unsafe_code)] first after its //! lines.
#   - Only src/sys/mod.rs asks which operating system this is.
set -eu

layers='capi=0 registry=1 queue=2 filter=3 knote=4 sys=5 clock=6 event=7 errno=7 sync=7'

# The awk program reads one file and prints a line for each violation.
# shellcheck disable=SC2016 # $0 and the like are awk's
check_file='
function complain(what) { print file ": " what; bad = 1 }

# Comments, strings and character literals become blanks.
function blank(text,    out, c, rest, depth, hashes, end, n) {
	out = ""
	while (text != "") {
		c = substr(text, 1, 1)
		if (substr(text, 1, 2) == "//") {
			n = index(text, "\n")
			text = n ? substr(text, n) : ""
		} else if (substr(text, 1, 2) == "/*") {
			depth = 0
			do {
				if (substr(text, 1, 2) == "/*") {
					depth++; text = substr(text, 3)
				} else if (substr(text, 1, 2) == "*/") {
					depth--; text = substr(text, 3)
				} else
					text = substr(text, 2)
			} while (depth > 0 && text != "")
			out = out " "
		} else if (match(text, /^b?c?r#*"/)) {
			hashes = substr(text, 1, RLENGTH)
			gsub(/[^#]/, "", hashes)
			text = substr(text, RLENGTH + 1)
			end = index(text, "\"" hashes)
			text = end ? substr(text, end + 1 + length(hashes)) : ""
			out = out "\"\""
		} else if (c == "\"") {
			text = substr(text, 2)
			while (text != "" && substr(text, 1, 1) != "\"")
				text = substr(text, substr(text, 1, 1) == "\\" ? 3 : 2)
			text = substr(text, 2)
			out = out "\"\""
		} else if (match(text, /^\047(\\[^u]|[^\\\047])\047/) ||
		    match(text, /^\047\\(x[0-9a-fA-F][0-9a-fA-F]|u[{][0-9a-fA-F_]*[}])\047/)) {
			text = substr(text, RLENGTH + 1)
			out = out "0"
		} else if (match(text, /^[A-Za-z_][A-Za-z0-9_]*/)) {
			out = out substr(text, 1, RLENGTH)
			text = substr(text, RLENGTH + 1)
		} else {
			out = out c
			text = substr(text, 2)
		}
	}
	return out
}

# name is the first module of a path from the crate root.
function named(name) {
	if (name == "" || name == "self")
		return
	if (!(name in layer)) {
		# Macros and items of the root itself are no modules of ours.
		complain("names crate::" name ", which has no layer")
		return
	}
	if (room == "" || name == room)
		return
	if (layer[name] > layer[room])
		return
	if (layer[name] == layer[room] && !infolder && !(name in folder))
		return
	complain(room " (layer " layer[room] ") names " name \
	    " (layer " layer[name] ")")
}

# tree is what follows "crate::": a name, or a group of trees.
function tree(text,    c, depth, word) {
	if (match(text, /^[A-Za-z_][A-Za-z0-9_]*/)) {
		named(substr(text, 1, RLENGTH))
		return
	}
	if (substr(text, 1, 1) == "*")
		complain("imports the whole crate root")
	if (substr(text, 1, 1) != "{")
		return
	depth = 0
	do {
		c = substr(text, 1, 1)
		if (c == "{") {
			depth++; text = substr(text, 2); word = 1
		} else if (c == "}") {
			depth--; text = substr(text, 2)
		} else if (c == ",") {
			text = substr(text, 2); word = 1
		} else if (match(text, /^[A-Za-z_][A-Za-z0-9_]*/)) {
			if (depth == 1 && word)
				named(substr(text, 1, RLENGTH))
			word = 0
			text = substr(text, RLENGTH + 1)
		} else {
			if (c == "*" && depth == 1 && word)
				complain("imports the whole crate root")
			text = substr(text, 2)
		}
	} while (depth > 0 && text != "")
}

BEGIN {
	n = split(layers, list, " ")
	for (i = 1; i <= n; i++) {
		split(list[i], pair, "=")
		layer[pair[1]] = pair[2]
	}
	n = split(folders, list, " ")
	for (i = 1; i <= n; i++)
		folder[list[i]] = 1

	# src/a/b.rs is module a::b, two deep; src/a/mod.rs is a, one deep.
	path = file
	sub(/\.rs$/, "", path)
	sub(/^src\//, "", path)
	sub(/\/mod$/, "", path)
	infolder = file ~ /^src\/.*\//
	deep = split(path, part, "/")
	room = part[1]
	if (file == "src/lib.rs") {
		room = ""
		deep = 0
	} else if (!(room in layer)) {
		complain("module " room " has no layer: give it one in ci/arrows.sh")
		room = ""
	}
	wall = file ~ /^src\/(capi|sys)\//
}

{
	whole = whole $0 "\n"
	if (!first && $0 !~ /^\/\/!/ && $0 !~ /^[ \t]*$/)
		first = $0
}

END {
	if (!wall && file != "src/lib.rs" && first != "#![forbid(unsafe_code)]")
		complain("does not start with #![forbid(unsafe_code)]")
	code = blank(whole)
	gsub(/[ \t\n]*::[ \t\n]*/, "::", code)

	# One pass over the words; braces tell how deep inline modules go.
	braces = inline = 0
	previous = ""
	text = code
	while (text != "") {
		c = substr(text, 1, 1)
		if (match(text, /^(\$?crate)::/)) {
			text = substr(text, RLENGTH + 1)
			tree(text)
			previous = ""
		} else if (match(text, /^(self::)?super(::super)*/) &&
		    substr(text, RLENGTH + 1, 1) !~ /[A-Za-z0-9_]/) {
			ups = substr(text, 1, RLENGTH)
			ups = gsub(/super/, "", ups)
			if (ups > inline && ups - inline >= deep &&
			    file != "src/lib.rs")
				complain("climbs to the crate root by super: say crate::")
			text = substr(text, RLENGTH + 1)
			previous = ""
		} else if (match(text, /^[A-Za-z_][A-Za-z0-9_]*/)) {
			word = substr(text, 1, RLENGTH)
			text = substr(text, RLENGTH + 1)
			if (word == "unsafe" && !wall)
				complain("has unsafe code")
			if ((word == "target_os" || word == "target_family" ||
			    ((word == "unix" || word == "windows") &&
			    text !~ /^::/ && previous != "::")) &&
			    file != "src/sys/mod.rs")
				if (word ~ /^target/ || code ~ "(cfg|cfg!|cfg_attr|all|any|not)[ \t\n]*[(][ \t\n]*" word "[ \t\n]*[,)]")
					complain("asks for the operating system (" word ")")
			if (previous == "extern" && word == "crate")
				complain("has extern crate")
			pending = previous == "mod"
			previous = word
		} else {
			if (c == "{") {
				braces++
				if (pending)
					opened[++inline] = braces
			} else if (c == "}") {
				if (inline && opened[inline] == braces)
					inline--
				braces--
			}
			if (c !~ /[ \t\n]/) {
				pending = 0
				previous = substr(text, 1, 2) == "::" ? "::" : c
			}
			text = substr(text, 1, 2) == "::" ? substr(text, 3) : substr(text, 2)
		}
	}
	if (file ~ /^src\/sys\//)
		for (name in layer)
			if (layer[name] < layer["sys"] &&
			    code ~ "(^|[^A-Za-z0-9_])" name "::")
				complain("sys names " name)
	exit bad
}
'

check_tree() (
	cd "$1"
	status=0
	# The modules that are folders, or files within one.
	folders=$(find src -mindepth 1 -maxdepth 1 -type d -exec basename {} \; |
	    tr '\n' ' ')
	find src -name '*.rs' | LC_ALL=C sort >"$list"
	[ -s "$list" ] || { echo "no sources in $1/src"; exit 1; }
	while read -r file; do
		awk -v file="$file" -v layers="$layers" \
		    -v folders="$folders" "$check_file" "$file" || status=1
	done <"$list"
	exit $status
)

self_test() {
	good=$tmp/good
	mkdir -p "$good/src/capi" "$good/src/queue" "$good/src/knote" \
	    "$good/src/filter" "$good/src/sys/linux"
	forbid='#![forbid(unsafe_code)]'
	for module in registry event errno clock sync queue/mod \
	    queue/apply knote/mod filter/mod; do
		printf '//! Docs.\n\n%s\n' "$forbid" >"$good/src/$module.rs"
	done
	# None of this is a violation, though some of it looks like one.
	cat >"$good/src/lib.rs" <<'RUST'
//! The map.
#![warn(unsafe_op_in_unsafe_fn)]
mod capi;
RUST
	cat >"$good/src/capi/mod.rs" <<'RUST'
//! The edge.
use crate::{registry, event::{Kevent, capi}, errno::*};
unsafe fn f() {}
RUST
	cat >>"$good/src/queue/apply.rs" <<'RUST'
use super::Queue;
use crate::knote::{Knote, capi};
use crate::{
    errno::Errno, // not crate::capi
    filter::{self, registry},
};
/* unsafe /* crate::capi */ crate::registry */
const S: &str = "unsafe crate::capi \" target_os";
const R: &str = r#"unsafe " crate::capi"#;
const C: [char; 3] = ['"', '\'', '\u{22}'];
fn life<'a>(x: &'a u8) -> &'a u8 { x }
mod tests {
    use super::*;
    use super::super::Queue;
    fn t() { let windows = 1; let _ = x.windows(windows); }
}
RUST
	printf 'use crate::knote::Knote;\n' >>"$good/src/filter/mod.rs"
	printf 'use crate::event::Kevent;\n' >>"$good/src/clock.rs"
	cat >>"$good/src/event.rs" <<'RUST'
#[cfg(test)]
mod tests { use super::Kevent; }
RUST
	cat >"$good/src/sys/mod.rs" <<'RUST'
//! The contract.
#[cfg(target_os = "linux")]
mod linux;
use crate::clock;
RUST
	cat >"$good/src/sys/linux/mod.rs" <<'RUST'
//! A kernel.
use super::Token; // queue::Queue
fn f() { unsafe { g() } }
RUST
	check_tree "$good" || { echo "self-test: refuses a good tree"; exit 1; }

	count=0
	# violation FILE LINE: appending LINE to FILE must be refused.
	violation() {
		rm -rf "$tmp/bad"
		cp -R "$good" "$tmp/bad"
		printf '%b\n' "$2" >>"$tmp/bad/src/$1"
		if check_tree "$tmp/bad" >"$tmp/said"; then
			echo "self-test: not noticed in src/$1: $2"
			exit 1
		fi
		grep -q "^src/$1: " "$tmp/said" || {
			echo "self-test: noticed in the wrong place: $2"
			cat "$tmp/said"
			exit 1
		}
		count=$((count + 1))
	}
	violation queue/mod.rs 'use crate::registry;'
	violation queue/mod.rs 'use crate::{errno, registry::Registry};'
	violation queue/mod.rs 'use crate::{\n    errno::{A, B},\n    capi,\n};'
	violation queue/mod.rs 'fn f() { crate::capi::g() }'
	violation queue/mod.rs 'fn f() { crate :: capi :: g() }'
	# shellcheck disable=SC2016 # the dollar is Rust's
	violation queue/mod.rs 'macro_rules! m { () => { $crate::capi::g() } }'
	violation queue/mod.rs 'use crate::*;'
	violation queue/mod.rs 'use crate::{errno, *};'
	violation queue/mod.rs 'use crate::stranger;'
	violation queue/mod.rs 'use super::registry;'
	violation queue/apply.rs 'use super::super::capi;'
	violation queue/apply.rs 'mod t { use super::super::super::capi; }'
	violation queue/apply.rs 'mod t { }\nuse super::super::capi;'
	violation queue/apply.rs 'extern crate kqueue;'
	violation knote/mod.rs 'use crate::filter::Filter;'
	violation filter/mod.rs 'use crate::queue::Queue;'
	violation sys/mod.rs 'use crate::filter;'
	violation sys/linux/mod.rs 'use super::super::queue::Queue;'
	violation sys/linux/mod.rs 'fn f(_: knote::Knote) {}'
	violation sys/linux/mod.rs '#[cfg(target_os = "linux")] fn f() {}'
	violation clock.rs 'use crate::sys::now;'
	violation event.rs 'use crate::queue;'
	violation registry.rs 'use crate::capi;'
	violation queue/mod.rs 'fn f() { unsafe { g() } }'
	violation registry.rs 'unsafe impl Send for X {}'
	violation lib.rs 'unsafe fn f() {}'
	violation registry.rs '#[cfg(target_os = "linux")] fn f() {}'
	violation clock.rs '#[cfg(unix)] fn f() {}'
	violation clock.rs 'fn f() { if cfg!(windows) {} }'
	violation capi/mod.rs '#[cfg(all(windows, test))] fn f() {}'
	violation stranger.rs "$forbid"
	violation filter/user.rs '//! No wall.\nfn f() {}'
	violation filter/user.rs "//! Too late.\nuse crate::errno;\n$forbid"
	echo "arrows: self-test: all $count violations noticed"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
list=$tmp/files
if [ "${1:-}" = --self-test ]; then
	self_test
else
	check_tree "${1:-$(dirname "$0")/..}"
	echo "arrows: $(wc -l <"$list") files, all arrows point one way"
fi
