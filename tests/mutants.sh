#!/bin/sh
# Does the crash model bite? Takes one sync, one order of steps, or one check
# away at a time, and expects that a unit test of the store or the engine fails.
# Run by "make mutants", which builds what is needed and sets LUMNID_BUILD,
# LUMNID_SOURCE, MUTANT_CC (a compiler with flags) and MUTANT_LIBS.
#
#   mutants.sh [NAME]	all, or one
#   mutants.sh --fit	only: does each still fit its source? ("make check")
#
# Prints a table: mutant, and the program that found it, or SURVIVED. Exit
# status 1 if one survived, or if a mutation no longer fits its source.
set -u

cd "$LUMNID_BUILD" || exit 1
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lumnid-mutants.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# name @ file @ perl that changes the source @ what it takes away
mutants() {
	cat <<'END'
tail-sync@store/seglog_sync.c@s/sync_add\(set, l->t\.fd, false\);//@fdatasync of the segment that is appended to
rolled-sync@store/seglog_sync.c@s/sync_add\(set, p->fd, false\);//@fdatasync of a segment that was rolled
dir-sync@store/seglog_sync.c@s/sync_add\(set, l->dirfd, true\);//@fsync of a log's directory
open-sync@store/seglog_sync.c@s/while \(seglog_unsynced\(l\) && r == 0\)/while (0)/@sync at opening of batches without a mark
open-pends@store/seglog_open.c@s/open_pends\(l, h\.unsynced_from\);//@sync of what the last process left unsynced
open-dir@store/seglog_open.c@s/l->dir_gen = 1;//@fsync of the directory that the last process left
suspect@store/seglog_sync.c@s/l->t\.suspect = true;/;/@writing anew after a failed fdatasync
failed-sync@store/seglog_sync.c@s/if \(ok\) \{\n\t\tl->dir_synced/if (1) {\n\t\tl->dir_synced/@a failed round makes nothing durable
letter-sync@store/dead.c@s/set->what\[set->n\]\.fd = d->fds\[i\];\n\t\tset->what\[set->n\+\+\]\.is_dir = false;/;/@fdatasync of a dead letter
letter-dir@store/dead.c@s/set->what\[set->n\+\+\]\.is_dir = true;/;/@fsync of the directory of dead letters
torn-tail@store/seglog_read.c@s/l->t\.cut = true;//@cutting of a torn tail
rollback-cut@store/seglog.c@s/(l->t\.written = mark\.off;.*?)l->t\.cut = true;/$1/s@cutting of what was rolled back
ack-order@core/engine_sync.c@s/engine_acks_pop\(e, &e->acks, journal_durable\(e->journal\), EVENT_OK/engine_acks_pop(e, &e->acks, journal_appended(e->journal), EVENT_OK/@an ack waits for the journal
record-ack@core/engine_sync.c@s/&e->record_acks, spool_durable\(e->records\)/&e->record_acks, spool_seq(e->records)/@an ack of a record waits for the spool
seal-order@core/engine_sync.c@s/engine_seal_durable\(e, spool_durable\(e->spool\), now\)/engine_seal_durable(e, spool_seq(e->spool), now)/@a seal mark follows a durable batch
release-order@core/engine_seal.c@s/engine_marks_push\(e, s->events\[i\]\.place\.segno\)/journal_release(e->journal, s->events[i].place)/@events go after their durable mark
send-order@core/sender_window.c@s/uint64_t durable = spool_durable\(w->spool\);/uint64_t durable = spool_seq(w->spool);/@a batch is sent once it is durable
journal-trim-state@store/journal.c@s/ \|\| !journal_state_durable\(j, durable\)//@a segment goes after a durable state
journal-trim-dir@store/journal.c@s/ \|\| seglog_removals_pending\(j->log\)//@one deletion after another's directory sync
spool-trim-ckpt@store/spool.c@s/ \|\| sp->born > durable//@a segment goes after a durable checkpoint
spool-trim-mark@store/spool.c@s/return sg->marked <= durable;/return true;/@a segment goes after durable marks
spool-trim-owed@store/spool.c@s/ \|\| sg->owed_seq > may_delete//@a segment goes after the journal's marks
hole@store/spool_open.c@s/if \(seq < o->hole\)\n\t\to->hole = seq;//@what lies behind a lost batch is taken back
aside-sync@store/aside.c@s/int r = sys->fsync\(fd\);/int r = 0;/@fsync of what is set aside for a newer lumnid
aside-twice@core/engine_aside.c@s/if \(had != NULL\)/if (0)/@what was taken over before a crash is not again
aside-count@core/engine_aside.c@s/engine_count\(e, BOOKS_ACCEPTED, s->ref.events, now\);//@what is taken over counts as accepted
END
}

programs="test_crash_store test_crash_engine test_crash_aside test_seglog test_spool
test_journal test_engine test_sender"

# link PROGRAM OBJECT: with the mutated object before the libraries
link() {
	extra=
	case $1 in
	test_crash_store) extra="tests/unit/crashfs.o" ;;
	test_crash_aside|test_crash_engine)
		extra="tests/unit/crashfs.o tests/unit/world.o" ;;
	test_engine|test_sender) extra="tests/unit/world.o" ;;
	esac
	# shellcheck disable=SC2086 # lists of words
	$MUTANT_CC -o "$tmp/$1" "tests/unit/$1.o" $extra "$2" $MUTANT_LIBS
}

found_by() {
	for p in $programs; do
		link "$p" "$1" >"$tmp/log" 2>&1 || continue	# not in it
		if ! CK_FORK=yes timeout 300 "$tmp/$p" >"$tmp/log" 2>&1; then
			grep -qa '^[0-9]*%: Checks' "$tmp/log" || continue
			sed -nE 's/^.*:[FE]:[^:]*:([a-z0-9_]+):.*/\1/p' \
			    "$tmp/log" | head -1 | sed "s/^/$p /"
			return 0
		fi
	done
	return 1
}

fit=false
[ "${1-}" != --fit ] || { fit=true; shift; }
status=0
mutants >"$tmp/list"
while IFS=@ read -r name file change what; do
	[ $# -eq 0 ] || [ "$1" = "$name" ] || continue
	if ! perl -0pe "$change" "$LUMNID_SOURCE/src/$file" >"$tmp/mutant.c" ||
	    cmp -s "$LUMNID_SOURCE/src/$file" "$tmp/mutant.c"; then
		echo "$name: does not fit $file any more"
		status=1
		continue
	fi
	! $fit || continue
	# shellcheck disable=SC2086
	if ! $MUTANT_CC -Wno-error -w -c -o "$tmp/mutant.o" "$tmp/mutant.c" \
	    2>"$tmp/log"; then
		echo "$name: does not compile"
		sed 's/^/	/' "$tmp/log" | head -5
		status=1
	elif by=$(found_by "$tmp/mutant.o"); then
		printf '%-20s %-48s %s\n' "$name" "$what" "$by"
	else
		printf '%-20s %-48s %s\n' "$name" "$what" SURVIVED
		status=1
	fi
done <"$tmp/list"
exit $status
