#!/bin/sh
# Each fuzz target takes its corpus (tests/fuzz/corpus/NAME) without a fault.
#
#   fuzz.sh                 replay the corpora
#   fuzz.sh --run SECONDS   fuzz each target that was built with
#                           --enable-fuzzers, so long; findings stay in
#                           tests/fuzz/found of the build directory
#
# With AFL++ (Debian's afl++): configure CC=afl-clang-fast --enable-fuzzers, then
# "make fuzzers", which has ASan and UBSan in it, too; afl-clang-fast links its
# own driver of LLVMFuzzerTestOneInput(), in persistent mode, for
# -fsanitize=fuzzer:
#
#   afl-fuzz -i SOURCE/tests/fuzz/corpus/NAME -o found -- tests/fuzz/fuzz_NAME
set -u

corpus=$LUMNID_SOURCE/tests/fuzz/corpus
failed=0

if [ "${1:-}" = --run ]; then
	seconds=$2
	found=$LUMNID_BUILD/tests/fuzz/found
	mkdir -p "$found"
	for target in "$LUMNID_BUILD"/tests/fuzz/fuzz_*; do
		[ -f "$target" ] && [ -x "$target" ] || continue
		name=${target##*/fuzz_}
		work=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-fuzz.XXXXXX")
		dict=$LUMNID_SOURCE/tests/fuzz/$name.dict
		set -- -max_total_time="$seconds" -artifact_prefix="$found/$name-" \
		    -print_final_stats=1 -max_len=65536
		[ -f "$dict" ] && set -- "$@" -dict="$dict"
		if "$target" "$@" "$work" "$corpus/$name" \
		    >"$found/$name.log" 2>&1; then
			echo "ok fuzz $name"
		else
			tail -40 "$found/$name.log"
			echo "FAIL fuzz $name"
			failed=1
		fi
		rm -rf "$work"
	done
	exit $failed
fi

for target in "$LUMNID_BUILD"/tests/fuzz/replay_*; do
	[ -f "$target" ] && [ -x "$target" ] || continue
	name=${target##*/replay_}
	if out=$("$target" "$corpus/$name" 2>&1); then
		echo "ok corpus $name: $out"
	else
		echo "$out"
		echo "FAIL corpus $name"
		failed=1
	fi
done
exit $failed
