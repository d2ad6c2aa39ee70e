#!/bin/sh
# The layers: a file may include headers of its own layer and of those below
# it, and only loop and lumnid.c may name libevent or libcurl.
#
#   layers.sh [DIR]   check DIR/src (default: $LUMNID_SOURCE); then, where no
#                     DIR is given, prove on a copy that each kind of
#                     violation is found.
set -u

# check_files LAYER FILE...: print what is wrong with files of a layer.
check_files() {
	layer=$1
	shift
	awk -v layer="$layer" '
	BEGIN {
		may["base"] = "base"
		may["codec"] = "base codec"
		may["store"] = "base codec store"
		may["core"] = "base codec store core"
		may["loop"] = "base codec core loop"
		may["ctl"] = "base codec store core ctl"
		may["top"] = "base codec core loop ctl"
		if (!(layer in may)) {
			print ARGV[1] ": " layer " is an unknown layer"
			exit
		}
		n = split(may[layer], list, " ")
		for (i = 1; i <= n; i++)
			allowed[list[i]] = 1
	}
	function bad(what) {
		print FILENAME ":" FNR ": " what
	}
	/^[ \t]*#[ \t]*include/ {
		if (!match($0, /[<"][^>"]*[>"]/))
			next
		name = substr($0, RSTART + 1, RLENGTH - 2)
		quoted = substr($0, RSTART, 1) == "\""
		if (name ~ /^event2\// || name == "event.h" ||
		    name ~ /^curl\//) {
			if (FILENAME !~ /\/src\/(loop\/|lumnid\.c$)/ &&
			    (FILENAME !~ /\/src\/ctl\/ctl_http\.c$/ ||
			    name !~ /^curl\//))
				bad(name " belongs to loop alone")
		} else if (!quoted || name == "config.h") {
			next
		} else if (name ~ /\.\./ || name ~ /^\// || name !~ /\//) {
			bad(name ": an include names its layer")
		} else {
			sub(/\/.*/, "", name)
			if (!(name in allowed))
				bad(layer " may not include " name)
		}
	}' "$@"
}

# check_layer LAYER PATTERN...: of those that are there.
check_layer() {
	layer=$1
	shift
	for f in "$@"; do
		[ -e "$f" ] && set -- "$@" "$f"
		shift
	done
	[ $# -eq 0 ] || check_files "$layer" "$@"
}

check_tree() {
	for dir in "$1"/src/*/; do
		check_layer "$(basename "$dir")" "$dir"*.c "$dir"*.h
	done
	check_layer top "$1"/src/*.c "$1"/src/*.h
}

if [ $# -gt 0 ]; then
	found=$(check_tree "$1")
	[ -z "$found" ] && exit 0
	echo "$found"
	exit 1
fi

source=${LUMNID_SOURCE:-$(dirname "$0")/..}
failed=0
found=$(check_tree "$source")
if [ -n "$found" ]; then
	echo "$found"
	echo "FAIL layers: the tree"
	failed=1
else
	echo "ok layers: the tree"
fi

copy=$(mktemp -d) || exit 1
trap 'rm -rf "$copy"' EXIT
trap 'exit 1' HUP INT TERM

# plant NAME FILE LINE: with LINE in FILE the check must fail, and name it.
plant() {
	rm -rf "$copy/src"
	mkdir -p "$copy/src/base" "$copy/src/codec" "$copy/src/store" \
	    "$copy/src/core" "$copy/src/loop"
	printf '#include <stdio.h>\n#include "base/why.h"\n' |
	tee "$copy/src/base/a.c" "$copy/src/codec/a.c" "$copy/src/core/a.h" \
	    "$copy/src/loop/a.c" >"$copy/src/lumnid.c"
	printf '%s\n' "$3" >>"$copy/src/$2"
	found=$(check_tree "$copy")
	case $4:$found in
	bad:*"$2:3: "*|good:) echo "ok layers: $1" ;;
	*)
		echo "found: $found"
		echo "FAIL layers: $1"
		failed=1 ;;
	esac
}

plant "base includes core" base/a.c '#include "core/engine.h"' bad
plant "codec includes store" codec/a.c '# include "store/seg.h"' bad
plant "core includes loop" core/a.h '	#include "loop/loop.h"' bad
plant "loop includes store" loop/a.c '#include "store/seg.h"' bad
plant "core includes libevent" core/a.h '#include <event2/event.h>' bad
plant "core includes libcurl" core/a.h '#include <curl/curl.h>' bad
plant "a header without its layer" codec/a.c '#include "frame.h"' bad
plant "a way around" codec/a.c '#include "../core/conf.h"' bad
plant "core stands on store" core/a.h '#include "store/seg.h"' good
plant "loop has libevent" loop/a.c '#include <event2/event.h>' good
plant "lumnid.c has libcurl" lumnid.c '#include <curl/curl.h>' good
plant "lumnid.c stands on loop" lumnid.c '#include "loop/loop.h"' good
exit $failed
