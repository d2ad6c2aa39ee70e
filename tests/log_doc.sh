#!/bin/sh
# The event names of log lines in the source and those in lumnid(8) are the
# same.
set -eu
LC_ALL=C
export LC_ALL

page=$LUMNID_SOURCE/doc/lumnid.8
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-log.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# A name is a literal in the first argument, which may be "a ? b : c".
find "$LUMNID_SOURCE/src" -name '*.c' -exec cat {} + | tr '\n\t' '  ' |
	grep -oE 'log_(error|warn|info|debug)\([^,]*,' |
	grep -oE '"[a-z0-9_]+"' | tr -d '"' | sort -u > "$tmp/source"
awk '/^\.S[hs] / { inside = $2 == "LOG" }
	inside && /^\.It Cm / {
		for (i = 3; i <= NF; i++)
			if ($i != ",")
				print $i
	}' "$page" | sort > "$tmp/page"

test -s "$tmp/source" || {
	echo "no log lines found in $LUMNID_SOURCE/src"
	exit 1
}
status=0
diff "$tmp/source" "$tmp/page" > "$tmp/diff" || status=1
sed -nE "s|^< |not in $page: |p; s|^> |not in the source, or twice: |p" \
	"$tmp/diff"
exit $status
