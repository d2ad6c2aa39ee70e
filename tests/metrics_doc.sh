#!/bin/sh
# The metrics in the source and those in lumnid-metrics(7) are the same.
set -eu
LC_ALL=C
export LC_ALL

page=$LUMNID_SOURCE/doc/lumnid-metrics.7
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-metrics.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

find "$LUMNID_SOURCE/src" -name '*.c' -exec \
	grep -ohE '"(lumnid|process)_[a-z0-9_]+"' {} + |
	tr -d '"' | sort -u > "$tmp/source"
sed -nE 's/^\.It Cm ((lumnid|process)_[a-z0-9_]+)$/\1/p' "$page" |
	sort > "$tmp/page"

test -s "$tmp/source" || {
	echo "no metrics found in $LUMNID_SOURCE/src"
	exit 1
}
status=0
diff "$tmp/source" "$tmp/page" > "$tmp/diff" || status=1
sed -nE "s|^< |not in $page: |p; s|^> |not in the source, or twice: |p" \
	"$tmp/diff"
exit $status
