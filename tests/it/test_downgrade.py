"""An older lumnid that is put back finds files of a newer one: it says so and
does not start, and touches nothing; the newer one goes on with them."""

import ctypes
import hashlib
import os
import struct

import lumnid_it
from lumnid_it import Failure, Skip

LOGS = ("journal", "spool/records", "spool")


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


def test_files_of_a_newer_one(t):
    up = t.upstream()
    up.kill()
    d = t.lumnid(runs={"idle": "60s"})
    s = t.stream()
    sent = {"open": [1], "waits": [1, 2]}
    for message in ({"runId": "open", "events": [{"type": "a", "n": 1}]},
                    {"runId": "waits", "end": True,
                     "events": [{"type": "a", "n": n} for n in (1, 2)]},
                    {"change": {"what": "a deploy"}}):
        t.equal(s.ask(dict(message, ack=1)), {"ack": 1}, "answer")
    d.stop()

    data = os.path.join(t.dir, "data")
    for log in LOGS:
        names = sorted(x for x in os.listdir(os.path.join(data, log))
                       if x.endswith(".seg"))
        t.true(names, f"{log} has no segment")
        path = os.path.join(data, log, names[-1])
        set_version(path, 2)
        before = files(data)
        old = t.lumnid(wait=False)
        t.true(old.wait() != 0, f"{log}: it started")
        old.wait_line(f"{path} was written by a newer lumnid.*format 2")
        t.equal(files(data), before, f"{log}: files")
        set_version(path, 1)

    t.upstream()
    t.lumnid()
    s = t.stream()
    t.equal(s.ask({"runId": "open", "end": True, "ack": 1,
                   "events": [{"type": "a", "n": 2}]}), {"ack": 1}, "answer")
    sent["open"].append(2)
    t.check_runs(sent, seconds=20)
    t.check_retries()


if __name__ == "__main__":
    lumnid_it.main()
