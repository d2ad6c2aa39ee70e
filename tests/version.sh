#!/bin/sh
# The version stands in configure.ac. What is installed without configure, by
# pip, npm or a compiler alone, repeats it; here it is held to it.
#
#   version.sh    $LUMNID_SOURCE, and then the check itself, on a copy with
#                 another version
set -u

source=${LUMNID_SOURCE:-$(dirname "$0")/..}

# said DIR FILE EXPRESSION: what sed finds, once in the file
said() {
	sed -n "s/$3/\\1/p" "$1/$2"
}

check() {
	want=$(said "$1" configure.ac '^AC_INIT(\[lumnid\],\[\([^]]*\)\].*')
	[ -n "$want" ] || echo "configure.ac: no version"
	while read -r file expression; do
		got=$(said "$1" "$file" "$expression")
		[ "$got" = "$want" ] ||
		    echo "$file: version \"$got\", configure.ac has $want"
	done <<-'END'
	Makefile.am ^solib_PROGRAMS = .*liblumni\.so\.\(.*\)
	clients/c/lumni.h ^#define LUMNI_VERSION[^"]*"\([^"]*\)"
	clients/node/package.json ^  "version": "\([^"]*\)",
	clients/python/lumni/_client.py ^VERSION = "\([^"]*\)"
	clients/python/pyproject.toml ^version = "\([^"]*\)"
	END
}

failed=0
found=$(check "$source")
if [ -n "$found" ]; then
	echo "$found"
	echo "FAIL version: the sources"
	failed=1
else
	echo "ok version: the sources"
fi

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/clients/c" "$tmp/clients/node" "$tmp/clients/python/lumni"
for f in Makefile.am clients/c/lumni.h clients/node/package.json \
    clients/python/lumni/_client.py clients/python/pyproject.toml; do
	cp "$source/$f" "$tmp/$f"
done
sed 's/^AC_INIT(\[lumnid\],\[[^]]*\]/AC_INIT([lumnid],[9.8.7]/' \
    "$source/configure.ac" >"$tmp/configure.ac"
if [ "$(check "$tmp" | grep -c 'configure.ac has 9.8.7')" -eq 5 ]; then
	echo "ok version: five others"
else
	echo "FAIL version: five others"
	failed=1
fi
exit $failed
