#!/bin/sh
# Does each mutation of tests/mutants.sh still fit the source? To run them all
# takes long ("make mutants"); one that fits no more would prove nothing.
set -u

sh "$LUMNID_SOURCE/tests/mutants.sh" --fit || exit 1

# One that does not fit is found.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-fit.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/tests" && cp -R "$LUMNID_SOURCE/src" "$tmp/src"
sed 's/^hole@.*/hole@store\/seg.c@s{no such text}{}@nothing/' \
	"$LUMNID_SOURCE/tests/mutants.sh" >"$tmp/tests/mutants.sh"
if LUMNID_SOURCE=$tmp sh "$tmp/tests/mutants.sh" --fit >"$tmp/said"; then
	echo "a mutation that does not fit was not found"
	exit 1
fi
grep -q '^hole: does not fit store/seg.c any more' "$tmp/said"
