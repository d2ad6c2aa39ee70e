#!/bin/sh
# The man pages say nothing that mandoc(1) would object to, and lumnictl(1) has
# every command and every option of lumnictl.
#
#   man.sh [PAGE...]   look at these; without any, at all of $LUMNID_SOURCE/doc,
#                      and, on a planted fault, at the check itself.
set -u

# Our own pages are not installed here, nor need all of the system's be.
lint() {
	for page in "$@"; do
		mandoc -T lint "$page"
	done 2>&1 | grep -vE 'referenced manual not found|outdated mandoc.db'
}

if ! command -v mandoc >/dev/null; then
	echo "skip man: mandoc is not installed"
	exit 77
fi
if [ $# -gt 0 ]; then
	found=$(lint "$@")
	[ -z "$found" ] && exit 0
	echo "$found"
	exit 1
fi

failed=0
found=$(lint "$LUMNID_SOURCE"/doc/*.[1-9])
if [ -n "$found" ]; then
	echo "$found"
	echo "FAIL man: the pages"
	failed=1
else
	echo "ok man: the pages"
fi

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

printf '.Dd November 23, 2026\n.Dt X 1\n.Os\n.Sh NAME\n.Nm x\n.Nd y\n.Bogus\n' \
    >"$dir/x.1"
if [ -n "$(lint "$dir/x.1")" ]; then
	echo "ok man: a planted fault"
else
	echo "FAIL man: a planted fault is not seen"
	failed=1
fi

# What --help says, the page has.
ctl=$LUMNID_BUILD/lumnictl
page=$LUMNID_SOURCE/doc/lumnictl.1
mandoc -T utf8 "$page" | col -b >"$dir/text" 2>/dev/null ||
    mandoc -T ascii "$page" | sed 's/.\x08//g' >"$dir/text"
"$ctl" --help | sed -nE 's/^  ([a-z-]+) +.*/\1/p' >"$dir/commands"
test -s "$dir/commands" || { echo "FAIL man: no commands"; failed=1; }
while read -r command; do
	grep -q "^   *lumnictl $command\$" "$dir/text" || {
		echo "FAIL man: lumnictl(1) has no section \"lumnictl $command\""
		failed=1
	}
	for option in $("$ctl" "$command" --help |
	    grep -oE -- '--[a-z-]+' | sort -u); do
		grep -q -- "$option" "$dir/text" || {
			echo "FAIL man: $command $option is not in lumnictl(1)"
			failed=1
		}
	done
done <"$dir/commands"
[ $failed = 1 ] || echo "ok man: lumnictl(1) is whole"
exit $failed
