"""An older lumnid that is put back finds files of a newer one: it starts, sets
them aside as they are, says so, and begins anew; the newer one, when it is
back, delivers what waits in them, under the ids they had."""

import ctypes
import hashlib
import os
import re
import struct

import lumnid_it
from lumnid_it import Failure, Skip


def xxh3(data):
    try:
        lib = ctypes.CDLL("libxxhash.so.0")
    except OSError:
        raise Skip("libxxhash.so.0 cannot be loaded") from None
    lib.XXH3_64bits.restype = ctypes.c_uint64
    lib.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lib.XXH3_64bits(data, len(data))


def set_version(path, version):
    """Give a segment file another version, as src/store/seg.c draws it."""
    with open(path, "r+b") as f:
        head = f.read(64)
        if head[:8] != b"LMNIDSEG" or \
                struct.unpack("<Q", head[56:])[0] != xxh3(head[:56]):
            raise Failure(f"{path}: no header of a segment: {head!r}")
        head = head[:8] + struct.pack("<I", version) + head[12:56]
        f.seek(0)
        f.write(head + struct.pack("<Q", xxh3(head)))


def files(top):
    """Path -> the sum of what is in it."""
    found = {}
    for base, _, names in os.walk(top):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as f:
                found[path] = hashlib.sha256(f.read()).hexdigest()
    return found


def under(top):
    """The same by path below `top`; without what is no segment."""
    return {os.path.relpath(path, top): h for path, h in files(top).items()
            if path.endswith(".seg")}


def segments(data, log):
    where = os.path.join(data, log)
    return [os.path.join(where, x) for x in sorted(os.listdir(where))
            if x.endswith(".seg")]


def check_spool(t, status, pattern):
    done = t.run(lumnid_it.program("lumnid"), "--check-spool",
                 os.path.join(t.dir, "data"))
    t.equal(done.returncode, status, f"--check-spool: {done.stdout}")
    t.true(re.search(pattern, done.stdout), f"no {pattern}: {done.stdout}")


def prepare(t, n):
    """Open runs, batches that wait and a record, all acknowledged; events of
    the n-th time. Returns runId -> numbers."""
    s = t.stream()
    sent = {f"open{n}": [1, 2], f"waits{n}": [1, 2, 3]}
    for run, events in sent.items():
        for i in events:
            t.equal(s.ask({"runId": run, "ack": i, "end": run == f"waits{n}"
                           and i == 3, "events": [{"type": "a", "n": i}]}),
                    {"ack": i}, "answer")
    t.equal(s.ask({"change": {"what": f"deploy {n}"}, "ack": 9}), {"ack": 9},
            "answer")
    s.close()
    return sent


def each_log(t, log):
    """One segment of `log` is of a newer lumnid's format."""
    t.upstream().kill()
    conf = {"listen": {"http": "127.0.0.1:0"}}
    d = t.lumnid(runs={"idle": "60s"}, **conf)
    sent = prepare(t, 1)
    d.stop()
    data = os.path.join(t.dir, "data")
    path = segments(data, log)[-1]
    set_version(path, 2)
    before = under(data)
    name = os.path.relpath(path, data)
    check_spool(t, 3, rf"{name} was written by a newer lumnid.*format 2")

    # The older one: it begins anew and works.
    old = t.lumnid(**conf)
    old.wait_line(rf"newer_set_aside.*{name} was written by a newer.*newer-1")
    aside = os.path.join(data, "newer-1")
    t.equal(under(aside), before, "what was set aside")
    sent |= prepare(t, 2)
    status = t.check_books(accepted=5, pending=5)["storage"]["newer"]
    size = sum(os.path.getsize(os.path.join(aside, x)) for x in before)
    t.equal(status, {"directories": 1, "bytes": size}, "status")
    t.true(f"lumnid_newer_bytes {size}" in old.get("/metrics")[1], "metrics")
    code, text = old.get("/readyz")
    t.true('"newer"' in text and code == 200, f"readyz: {code} {text}")
    # The kill below may lose an answer.
    up = t.upstream(dedupe=True)
    up.wait_sums(records=1, events=5)
    old.stop()
    # Again: there it stays.
    old = t.lumnid()
    old.wait_line("newer_waits.*newer-1")
    old.stop()
    check_spool(t, 0, "newer-1: .* wait until it is installed again")
    t.equal(under(aside), before, "what was set aside, afterwards")

    # The newer one is back; while it takes over it is killed once.
    set_version(os.path.join(aside, name), 1)
    check_spool(t, 0, "newer-1: .* the next start delivers them")
    new = t.lumnid()
    new.kill()
    new = t.lumnid()
    lumnid_it.wait_for("newer-1 is taken over",
                       lambda: not os.path.exists(aside))
    t.check_books(accepted=10, delivered=10)
    t.equal(new.status()["storage"]["newer"],
            {"directories": 0, "bytes": 0}, "status")
    t.check_runs(sent, seconds=20)
    t.equal(sorted(x["body"]["what"] for x in t.taken()
                   if x["route"] == "changes"), ["deploy 1", "deploy 2"],
            "changes")
    t.equal(sorted(os.listdir(data)), ["dead", "journal", "spool"], "files")


def test_newer_journal(t):
    each_log(t, "journal")


def test_newer_spool(t):
    each_log(t, "spool")


def test_newer_records(t):
    each_log(t, "spool/records")


if __name__ == "__main__":
    lumnid_it.main()
