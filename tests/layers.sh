#!/bin/sh
# The layers: a file may include headers of its own layer and of those below
# it, and only loop and lumnid.c may name libevent or libcurl.
#
#   layers.sh [DIR]   check DIR/src (default: $LUMNID_SOURCE); then, where no
#                     DIR is given, prove on a copy that each kind of
#                     violation is found.
set -u

# The layers that each may include, itself among them.
allowed() {
	case $1 in
	base) echo base ;;
	codec) echo base codec ;;
	store) echo base store ;;
	core) echo base codec store core ;;
	loop) echo base codec core loop ;;
	ctl) echo base codec store core ctl ;;
	top) echo base codec core loop ctl ;;
	*) echo ;;
	esac
}

# check_file FILE LAYER: print what is wrong with FILE.
check_file() {
	may=" $(allowed "$2") "
	grep -nE '^[[:space:]]*#[[:space:]]*include' "$1" |
	while IFS= read -r line; do
		at=$1:${line%%:*}
		name=$(printf '%s\n' "$line" | sed -E 's/.*[<"]([^>"]*)[>"].*/\1/')
		case $name in
		event2/*|event.h|curl/*)
			case $1 in
			*/src/loop/*|*/src/lumnid.c) ;;
			*/src/ctl/ctl_http.c)
				case $name in
				curl/*) ;;
				*) echo "$at: $name belongs to loop alone" ;;
				esac ;;
			*) echo "$at: $name belongs to loop alone" ;;
			esac
			continue ;;
		esac
		case $line in
		*\"*) ;;
		*) continue ;;
		esac
		case $name in
		config.h) continue ;;
		*..*|/*)
			echo "$at: $name: an include names its layer"
			continue ;;
		esac
		case $may in
		*" ${name%%/*} "*) ;;
		*) echo "$at: $2 may not include $name" ;;
		esac
	done
}

check_tree() {
	for dir in "$1"/src/*/; do
		layer=$(basename "$dir")
		[ -n "$(allowed "$layer")" ] || echo "$dir: an unknown layer"
		for f in "$dir"*.c "$dir"*.h; do
			[ -e "$f" ] && check_file "$f" "$layer"
		done
	done
	for f in "$1"/src/*.c "$1"/src/*.h; do
		[ -e "$f" ] && check_file "$f" top
	done
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
