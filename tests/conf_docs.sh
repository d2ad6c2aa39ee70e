#!/bin/sh
# conf/lumnid.yaml and the list of keys in doc/lumnid.yaml.5 are made from the
# key table in src/core/conf_table.c, and are what it says today.
#
#   conf_docs.sh            compare
#   conf_docs.sh --write    write them anew (make conf-docs)
set -eu
LC_ALL=C
export LC_ALL

confdoc=$LUMNID_BUILD/tests/support/confdoc
example=$LUMNID_SOURCE/conf/lumnid.yaml
page=$LUMNID_SOURCE/doc/lumnid.yaml.5
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-docs.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

"$confdoc" example > "$tmp/lumnid.yaml"
"$confdoc" mdoc > "$tmp/keys"
# The page, with the list between its two marks replaced.
awk -v keys="$tmp/keys" '
	/^\.\\" end of the keys/ { inside = 0 }
	!inside { print }
	/^\.\\" the keys, made by/ {
		inside = 1
		while ((getline line < keys) > 0)
			print line
	}' "$page" > "$tmp/lumnid.yaml.5"

if [ "${1:-}" = --write ]; then
	cat "$tmp/lumnid.yaml" > "$example"
	cat "$tmp/lumnid.yaml.5" > "$page"
	exit 0
fi

status=0
diff -u "$example" "$tmp/lumnid.yaml" || status=1
diff -u "$page" "$tmp/lumnid.yaml.5" || status=1
grep -q '^\.It Ic runs\.idle$' "$tmp/lumnid.yaml.5" || {
	echo "$page: its marks are gone"
	status=1
}
[ $status = 0 ] || echo "\"make conf-docs\" writes them anew"
exit $status
