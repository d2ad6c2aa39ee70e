#!/bin/sh
# The manner of the sources, where a program can tell: tabs, 100 columns, the
# function's name in column 0, functions of 100 lines at the utmost, guarded
# headers. (.clang-format has the rest, for editors; it cannot line up
# prototypes as the headers do, so it judges nothing here.)
#
#   style.sh [FILE...]  check these; without any, all of $LUMNID_SOURCE, and
#                       then, on planted faults, the check itself.
set -u

check() {
	awk '
	function fault(text) { print FILENAME ":" FNR ": " text }
	FNR == 1 {
		start = 0
	}
	{
		line = $0; columns = 0
		for (i = 1; i <= length(line); i++)
			columns += substr(line, i, 1) == "\t" ? \
			    8 - columns % 8 : 1
		if (columns > 100)
			fault(columns " columns")
	}
	/[ \t]$/ { fault("white space at the end") }
	/^        / { fault("indented with spaces") }
	/\r/ { fault("a carriage return") }
	/^typedef struct/ { fault("a typedef hides a struct") }
	FILENAME ~ /\.c$/ && /^(static |extern )?[a-z_][a-zA-Z0-9_ \*]* \**[a-z_0-9]+\([^;]*\)$/ &&
	    !/^[a-zA-Z_0-9]+\(/ && !/__attribute__/ { fault("the return type has no line of its own") }
	/^\{/ { start = FNR }
	/^\}/ && start {
		if (FNR - start > 100)
			fault("a function of " FNR - start " lines")
		start = 0
	}
	' "$@"
	for f in "$@"; do
		case $f in
		*.h)
			grep -q '^#ifndef LUMNI' "$f" ||
			    echo "$f:1: no guard" ;;
		esac
	done
}

if [ $# -gt 0 ]; then
	found=$(check "$@")
	[ -z "$found" ] && exit 0
	echo "$found"
	exit 1
fi

source=${LUMNID_SOURCE:-$(dirname "$0")/..}
failed=0
# shellcheck disable=SC2046 # no source has a blank in its name
found=$(cd "$source" && check $(find src tests clients -name '*.[ch]' \
    2>/dev/null))
if [ -n "$found" ]; then
	echo "$found"
	echo "FAIL style: the sources"
	failed=1
else
	echo "ok style: the sources"
fi

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

# plant NAME TEXT: the check must find something in a file of this text.
plant() {
	printf '%b' "$2" >"$dir/a.c"
	if [ -n "$(check "$dir/a.c")" ]; then
		echo "ok style: $1"
	else
		echo "FAIL style: $1"
		failed=1
	fi
}
plant "spaces" 'int\nf(void)\n{\n        return 0;\n}\n'
plant "trailing blank" 'int a; \n'
plant "wide" "/* $(printf '%0100d' 0) */\n"
plant "wide by tabs" "\t\t\t\t\t\t\t\t\t\t\t\tint a;\n\tint bcdef;\n"
plant "return type" 'static int f(void)\n{\n}\n'
plant "typedef" 'typedef struct x x;\n'
plant "long function" "int\nf(void)\n{\n$(yes '\tf();\n' | head -101 |
    tr -d '\n')}\n"
exit $failed
