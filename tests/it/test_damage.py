#!/usr/bin/python3
"""Damage on the disk, of every kind, in journal and spool: lumnid starts all
the same, delivers what can be saved, in order and unaltered, sets the rest
aside with a reason, counts it, and the books balance. `lumnid --check-spool`
says beforehand what it will be, and changes nothing."""

import hashlib
import os
import re
import shutil
import subprocess

import lumnid_it
from lumnid_it import program, wait_for

CLEAN, REPAIR, DAMAGED = 0, 3, 4
RUNS, EVENTS = 12, 60
CONF = {"storage": {"journal_max": "1MiB", "spool_max": "1MiB"},
        "events": {"max_message": "64KiB"}, "log": {"level": "info"}}


def text(run, n):
    """What an event says; altered bytes would say something else."""
    return "".join(hashlib.sha256(f"{run}/{n}/{i}".encode()).hexdigest()
                   for i in range(12))


def segments(data, log):
    where = os.path.join(data, log)
    return sorted(os.path.join(where, n) for n in os.listdir(where)
                  if n.endswith(".seg"))


def tree(top):
    """Every file below: its bytes, size and time of change."""
    found = {}
    for base, dirs, names in os.walk(top):
        for name in names + dirs:
            path = os.path.join(base, name)
            st = os.lstat(path)
            data = b""
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    data = f.read()
            found[path] = (st.st_size, st.st_mtime_ns, st.st_ino,
                           hashlib.sha256(data).hexdigest())
    return found


def check_spool(t, data):
    """Its exit status and text; that it has changed nothing."""
    before = tree(data)
    done = subprocess.run([program("lumnid"), "--check-spool", data],
                          capture_output=True, text=True, check=False)
    t.equal(tree(data), before, "files after --check-spool")
    t.equal(done.stderr, "", "what it complained of")
    return done.returncode, done.stdout


def counted(path):
    """Is there a COUNT (5) behind the last EVENT (2) of a journal's segment?"""
    with open(path, "rb") as f:
        data = f.read()
    at, types = 64, []
    while at + 16 < len(data) and data[at + 4] in range(1, 6):
        types.append(data[at + 4])
        at += (16 + int.from_bytes(data[at:at + 4], "little") + 7) & ~7
    return 5 in types and types[::-1].index(5) < types[::-1].index(2)


def prepare(t):
    """A directory with several segments of open events and of batches that
    wait, as a SIGKILL leaves it."""
    t.upstream().stop()
    t.lumnid(runs={"idle": "1h", "max_age": "2h", "max_bytes": "256KiB"},
             **CONF)
    s = t.stream()
    sent = {}
    for n in range(EVENTS):
        for i in range(RUNS):
            run = f"r{i}"
            sent.setdefault(run, []).append(n)
            message = {"runId": run, "events": [{"n": n,
                                                 "text": text(run, n)}]}
            # Half of the runs wait in the spool, in several parts.
            if i % 2 and n % 10 == 9:
                message["end"] = True
            if i == RUNS - 1:
                t.equal(s.ask(dict(message, ack=n)), {"ack": n}, "answer")
            else:
                s.send(message)
    wait_for("the batches", lambda: len(segments(
        os.path.join(t.dir, "data"), "spool")) >= 2, context=t.logs)
    # Within a second the journal is told how many events there are.
    newest = segments(os.path.join(t.dir, "data"), "journal")[-1]
    wait_for("the count of the events", lambda: counted(newest),
             context=t.logs)
    t.daemon.kill()
    pristine = os.path.join(t.dir, "pristine")
    shutil.copytree(os.path.join(t.dir, "data"), pristine)
    t.true(len(segments(pristine, "journal")) >= 3, "a journal of 3 segments")
    return sent, pristine


def poke(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def flip(data, log):
    path = segments(data, log)[0]
    at = os.path.getsize(path) // 2
    with open(path, "rb") as f:
        f.seek(at)
        byte = f.read(1)[0]
    poke(path, at, bytes([byte ^ 0x10]))


def zero_newest(data, log):
    """In the last segment, behind the half of its records."""
    path = segments(data, log)[-1]
    poke(path, os.path.getsize(path) // 2, bytes(4096))


def flip_header(data, log):
    poke(segments(data, log)[0], 20, b"\xff\xff")


def zero_block(data, log):
    poke(segments(data, log)[0], 8192, bytes(4096))


def zero_file(data, log):
    path = segments(data, log)[0]
    poke(path, 0, bytes(os.path.getsize(path)))


def garbage_tail(data, log):
    with open(segments(data, log)[-1], "ab") as f:
        f.write(b"\x5a" * 777)


def cut_newest(data, log):
    """Half of a record at the end: as a crash would leave it, if it were of
    one that was not promised."""
    path = segments(data, log)[-1]
    with open(path, "ab") as f:
        f.write(open(path, "rb").read()[64:100])


def cut_oldest(data, log):
    path = segments(data, log)[0]
    os.truncate(path, os.path.getsize(path) // 2 + 3)


def swap(data, log):
    a, b = segments(data, log)[:2]
    os.rename(a, a + ".x")
    os.rename(b, a)
    os.rename(a + ".x", b)


def remove(data, log):
    os.unlink(segments(data, log)[0])


def empty_newest(data, log):
    last = segments(data, log)[-1]
    name = f"{int(os.path.basename(last)[:10]) + 1:010d}.seg"
    open(os.path.join(os.path.dirname(last), name), "wb").close()


def empty_oldest(data, log):
    os.truncate(segments(data, log)[0], 0)


def foreign(data, log):
    with open(os.path.join(data, log, "README"), "w", encoding="ascii") as f:
        f.write("not ours\n")


def foreign_segment(data, log):
    """Random bytes under a name of ours, newer than all."""
    with open(os.path.join(data, log, "0000004711.seg"), "wb") as f:
        f.write(os.urandom(5000))


def other_log(data, log):
    """A segment of the other log."""
    other = "spool" if log == "journal" else "journal"
    shutil.copy(segments(data, other)[0],
                os.path.join(data, log, "0000000900.seg"))


# kind -> exit status of --check-spool, may events be lost by it? None: the
# oldest segment of a journal is deleted in any case, sooner or later, so it is
# damage if events are lost by it.
KINDS = {
    flip: (DAMAGED, True), zero_newest: (DAMAGED, True), flip_header: (REPAIR, False),
    zero_block: (DAMAGED, True), zero_file: (DAMAGED, True),
    garbage_tail: (REPAIR, False), cut_newest: (REPAIR, False),
    cut_oldest: (DAMAGED, True), swap: (REPAIR, False),
    remove: (None, True), empty_newest: (REPAIR, False),
    empty_oldest: (None, True), foreign: (REPAIR, False),
    foreign_segment: (DAMAGED, False), other_log: (DAMAGED, False),
}


def deliver(t, name, sent, lossy):
    """Start over what lies there, and let all come that can."""
    t.out = os.path.join(t.dir, name + ".jsonl")
    up = t.upstream(dedupe=True)
    # The journal's open runs end by time now.
    t.lumnid(runs={"idle": "100ms", "max_bytes": "256KiB"},
             listen={"http": "127.0.0.1:0"}, **CONF)
    status = t.check_books(30, pending=0)
    books = status["events"]
    lost = books["dropped"]["damaged"]
    came = 0
    runs, parts = {}, {}
    for line in t.each_taken():
        run = line["body"]["runId"]
        # A part may be missing as a whole.
        t.true(line["part"] > parts.get(run, 0), f"{name}: parts of {run}")
        parts[run] = line["part"]
        runs.setdefault(run, []).extend(line["body"]["events"])
    for run, events in runs.items():
        got = [e["n"] for e in events]
        came += len(got)
        t.equal(got, sorted(set(got)), f"{name}: order of {run}")
        t.true(set(got) <= set(sent[run]), f"{name}: strange events: {got}")
        for e in events:
            t.equal(e["text"], text(run, e["n"]), f"{name}: {run}/{e['n']}")
    total = sum(map(len, sent.values()))
    t.equal(books["delivered"], came, f"{name}: delivered")
    if not lossy:
        t.equal((came, lost), (total, 0), f"{name}: came, lost")
    # What is neither delivered nor counted as lost would be a leak.
    t.equal(came + lost, total, f"{name}: {came} came, {lost} counted as "
            f"damaged: {books}; the sum of what was sent")
    t.daemon.stop()
    up.stop()
    return came


def each_kind(t, log):
    t.books_whole = False       # the directory is replaced again and again
    sent, pristine = prepare(t)
    data = os.path.join(t.dir, "data")
    t.equal(check_spool(t, pristine)[0], CLEAN, "a sound directory")
    for kind, (status, lossy) in KINDS.items():
        name = kind.__name__
        shutil.rmtree(data)
        shutil.copytree(pristine, data)
        hurt = segments(data, log)[-1 if kind is zero_newest else 0]
        kind(data, log)
        got, said = check_spool(t, data)
        if status is not None:
            t.equal(got, status, f"{name}: --check-spool: {said}")
        came = deliver(t, name, sent, lossy)
        lost = RUNS * EVENTS - came
        if status is None:
            t.equal(got == DAMAGED, lost > 0,
                    f"{name}: {lost} lost; --check-spool: {said}")
        told = re.search(r"(\d+) events are lost by it", said)
        t.equal(int(told.group(1)) if told else 0, lost,
                f"{name}: events that --check-spool says are lost: {said}")
        aside = os.path.join(data, "quarantine")
        names = os.listdir(aside) if os.path.isdir(aside) else []
        if kind not in (swap, remove, empty_newest, empty_oldest):
            t.true(any(n.startswith(("journal-", "spool-")) and
                       n + ".why" in names for n in names),
                   f"{name}: nothing in quarantine: {names}")
        got, said = check_spool(t, data)
        # A damaged stretch goes with its segment, which may wait for more.
        t.true(got == CLEAN or os.path.exists(hurt),
               f"{name}: --check-spool afterwards: {said}")
        print(f"# {log}: {name}: {came} of {RUNS * EVENTS} came")


def test_journal(t):
    each_kind(t, "journal")


def test_spool(t):
    each_kind(t, "spool")


def test_check_spool(t):
    """What it says of counts and ages; of a directory in use, of one that is
    none, of one that cannot be read."""
    sent, pristine = prepare(t)
    status, said = check_spool(t, pristine)
    t.equal(status, CLEAN, said)
    waiting = re.search(r"^  waiting +(\d+) batches, (\d+) events, \d+ bytes, "
                        r"oldest (\S+) ago$", said, re.M)
    opened = re.search(r"^  open +(\d+) runs, (\d+) events, oldest (\S+) ago$",
                       said, re.M)
    t.true(waiting and opened, said)
    total = sum(map(len, sent.values()))
    t.equal(int(waiting.group(2)) + int(opened.group(2)), total, said)
    t.equal(int(opened.group(1)), RUNS // 2, said)
    t.equal(int(opened.group(2)), total // 2, said)
    t.true(re.search(r"^result +clean$", said, re.M), said)

    # In use: the figures of the daemon.
    t.lumnid()
    done = t.run(program("lumnid"), "-c", t.conf, "--check-spool")
    t.true(done.returncode in (CLEAN, REPAIR), done.stdout)
    t.true("in use      by a running lumnid" in done.stdout, done.stdout)
    t.daemon.stop()
    t.true("in use" not in check_spool(t, os.path.join(t.dir, "data"))[1],
           "in use after the end")

    empty = os.path.join(t.dir, "empty")
    os.mkdir(empty)
    for where in (empty, os.path.join(t.dir, "absent"), t.conf):
        done = t.run(program("lumnid"), "--check-spool", where)
        t.equal(done.returncode, 1, f"{where}: {done.stdout}")
        t.true(where in done.stderr, done.stderr)
    done = t.run(program("lumnid"), "--check-spool", empty, "more")
    t.equal(done.returncode, 2, done.stderr)


if __name__ == "__main__":
    lumnid_it.main(300)
