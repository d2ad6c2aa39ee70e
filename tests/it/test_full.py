#!/usr/bin/python3
"""Disks that are full and disks that fail: tmpfs and ext4 without room, without
inodes, the limits of journal and spool, the floor of free space, and read and
write errors. lumnid says so, loses nothing that it acknowledged, goes on
delivering and deleting, and takes events again by itself."""

import os
import re
import shutil
import signal
import subprocess
import time

import lumnid_it
from lumnid_it import Failure, Skip, wait_for

HTTP = {"http": "127.0.0.1:0"}
# The smallest limits, and segments of 64 KiB.
SMALL = {"events": {"max_message": "64KiB"}, "log": {"level": "info"},
         "listen": HTTP, "runs": {"idle": "300ms", "max_bytes": "64KiB"}}


def mount(t, what, options, source="none"):
    """Mount below t.dir; it goes with the test. Returns where."""
    if os.geteuid() != 0:
        raise Skip("mount needs root")
    where = os.path.join(t.dir, "mnt")
    os.mkdir(where)
    done = t.run("mount", "-t", what, "-o", options, source, where)
    if done.returncode != 0:
        raise Skip("no mount: " + done.stderr.strip())
    t.files.callback(subprocess.run, ["umount", "-l", where], check=False)
    return where


def ext4(t, size, *options):
    image = os.path.join(t.dir, "image")
    with open(image, "wb") as f:
        f.truncate(size)
    mkfs = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin")
    if mkfs is None:
        raise Skip("mkfs.ext4 is not installed")
    t.equal(t.run(mkfs, "-q", "-m", "0", *options, image).returncode, 0,
            "mkfs")
    return mount(t, "ext4", "loop", image)


class Load:
    """One client that asks for acks, and what became of each message."""

    def __init__(self, t):
        self.t = t
        self.stream = t.stream()
        self.n = 0
        self.sent = {}          # what was acknowledged
        self.refused = {}       # code -> how often

    def one(self, run=None, size=2000, end=True):
        run = run or f"run{self.n % 7}"
        answer = self.stream.ask({
            "runId": run, "ack": self.n, "end": end, "events": [
                {"n": self.n, "text": os.urandom(size // 2).hex()}]})
        if "error" in answer:
            code = answer["code"]
            self.refused[code] = self.refused.get(code, 0) + 1
        else:
            code = None
            self.sent.setdefault(run, []).append(self.n)
        self.n += 1
        return code

    def burst(self, n, run, size=2000):
        """So many messages at once, all of which are to be taken."""
        messages = []
        for _ in range(n):
            to = run(self.n)
            messages.append({"runId": to, "ack": self.n, "end": True,
                             "events": [{"n": self.n, "text":
                                         os.urandom(size // 2).hex()}]})
            self.sent.setdefault(to, []).append(self.n)
            self.n += 1
        self.stream.send(*messages)
        for m in messages:
            self.t.equal(self.stream.answer(), {"ack": m["ack"]}, "answer")

    def until_refused(self, most=20000, **kw):
        for _ in range(most):
            code = self.one(**kw)
            if code:
                return code
        raise Failure(f"{most} messages were all taken\n" + self.t.logs())

    def until_all_full(self):
        """Pipelined, each message a run of its own, until one is refused."""
        while True:
            window = range(self.n, self.n + 20)
            self.n += 20
            self.stream.send(*({
                "runId": f"run{n}", "ack": n, "end": True, "events": [
                    {"n": n, "text": os.urandom(1000).hex()}]}
                for n in window))
            # A refusal overtakes the acks that wait for the disk.
            codes = {}
            for _ in window:
                answer = self.stream.answer()
                codes[answer["ack"]] = answer.get("code")
            for n in window:
                if codes[n] is None:
                    self.sent[f"run{n}"] = [n]
            if codes[window[-1]]:
                return codes[window[-1]]

    def until_taken(self, seconds=20):
        wait_for("a message to be taken again", lambda: self.one() is None,
                 seconds, step=0.05, context=self.t.logs)

    def total(self):
        return sum(map(len, self.sent.values()))


def says(t, state):
    """All that tells of the storage's state agrees."""
    d = t.daemon
    wait_for(f"storage {state}", lambda: d.status()["storage"]["state"] ==
             state, context=t.logs)
    code, ready = d.get("/readyz")
    t.equal(code, 200 if state == "ok" else 503, ready)
    ok = re.search(r"^lumnid_storage_ok (\d)$", d.get("/metrics")[1], re.M)
    t.equal(ok.group(1), "1" if state == "ok" else "0", "lumnid_storage_ok")
    t.equal(d.get("/healthz")[0], 200, "/healthz: it lives")


def all_comes(t, load, **books):
    """Nothing waits any more: what was acknowledged has come."""
    t.check_runs(load.sent, seconds=30)
    status = t.check_books(30, pending=0, **books)
    t.equal(status["events"]["accepted"], load.total() +
            status["events"]["dropped"]["oldest"] -
            sum(books.values()), "accepted")
    t.equal(status["events"]["delivered"], load.total(), "delivered")
    t.check_retries()


def fills_up(t, where, block):
    """A disk without room: block() takes what is left of it."""
    up = t.upstream(dedupe=True)
    up.stop()
    t.lumnid(storage={"dir": os.path.join(where, "data"),
                      "free_min": "1MiB"}, **SMALL)
    load = Load(t)
    for _ in range(40):
        t.equal(load.one(), None, "refused with room on the disk")
    says(t, "ok")
    unblock = block(where)
    t.equal(load.until_refused(), "full", "code")
    says(t, "full")
    # What asks for no ack waits in the socket, what comes by HTTP is told.
    before = load.total()
    t.upstream(dedupe=True)
    # Delivering needs no room, and so it is with deleting.
    t.check_runs(load.sent, seconds=30)
    t.check_books(30, pending=0, delivered=before)
    says(t, "full")
    t.equal(load.one(), "full", "code, with nothing waiting")
    unblock()
    load.until_taken()
    says(t, "ok")
    t.daemon.wait_line(r"\bstorage_ok\b")
    all_comes(t, load)
    t.daemon.stop()
    return load


def ballast(where):
    """Take all the room that is left."""
    path = os.path.join(where, "ballast")
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                f.write(bytes(512))
        except OSError:
            pass
    return lambda: os.unlink(path)


def inodes(where):
    """Take all the inodes that are left."""
    names = []
    try:
        while True:
            path = os.path.join(where, f"inode{len(names)}")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            names.append(path)
    except OSError:
        pass
    return lambda: [os.unlink(x) for x in names]


def test_tmpfs_is_full(t):
    fills_up(t, mount(t, "tmpfs", "size=12m"), ballast)


def test_ext4_is_full(t):
    fills_up(t, ext4(t, 32 << 20), ballast)


def test_inodes_are_out(t):
    """The next segment cannot be made."""
    where = mount(t, "tmpfs", "size=64m,nr_inodes=64")
    SMALL_INODES = dict(SMALL, storage={"journal_max": "1MiB"})
    up = t.upstream(dedupe=True)
    up.stop()
    t.lumnid(**lumnid_it.merge(SMALL_INODES, {"storage": {
        "dir": os.path.join(where, "data"), "free_min": "1MiB"}}))
    load = Load(t)
    t.equal(load.one(), None, "refused with room on the disk")
    unblock = inodes(where)
    t.equal(load.until_refused(), "full", "code")
    says(t, "full")
    unblock()
    load.until_taken()
    t.upstream(dedupe=True)
    all_comes(t, load)
    says(t, "ok")


def test_journal_max_and_spool_max(t):
    """refuse: runs that find no room in the spool wait in the journal, until
    that is full, too."""
    up = t.upstream(dedupe=True)
    up.stop()
    conf = lumnid_it.merge(SMALL, {"storage": {
        "journal_max": "1MiB", "spool_max": "1MiB"}})
    t.lumnid(**conf)
    load = Load(t)
    # Each run is one batch.
    t.equal(load.until_all_full(), "full", "code")
    says(t, "full")
    status = t.daemon.status()["storage"]
    segment = 64 << 10
    t.true(status["spool_bytes"] <= (1 << 20) + segment, f"spool: {status}")
    t.true(status["journal_bytes"] <= (1 << 20) + segment, f"{status}")
    t.daemon.kill()             # and over a restart
    t.lumnid(**conf)
    load.stream = t.stream()
    t.equal(load.until_all_full(), "full", "code")
    t.upstream(dedupe=True)
    load.until_taken(40)
    all_comes(t, load)
    says(t, "ok")


def test_drop_oldest(t):
    """What is given up is the oldest, and counted; all newer comes."""
    up = t.upstream(dedupe=True)
    up.stop()
    t.lumnid(**lumnid_it.merge(SMALL, {"storage": {
        "journal_max": "2MiB", "spool_max": "1MiB",
        "when_full": "drop_oldest"}}))
    load = Load(t)
    for _ in range(50):
        load.burst(40, lambda n: f"run{n % 7}")
    says(t, "ok")
    wait_for("drops", lambda: t.daemon.status()["events"]["dropped"][
        "oldest"])
    t.upstream(dedupe=True)
    status = t.check_books(30, pending=0)
    dropped = status["events"]["dropped"]["oldest"]
    t.equal(status["events"]["accepted"], load.total(), "accepted")
    got = sorted(n for line in t.each_taken()
                 for n in (e["n"] for e in line["body"]["events"]))
    t.equal(len(got) + dropped, load.total(), "came and dropped")
    t.true(0 < dropped < load.total(), f"{dropped} dropped")
    # The oldest: but for those that were sealed out of turn, one cut.
    t.true(got[-1] == load.n - 1, f"the newest has not come: {got[-1]}")
    t.true(got[0] > dropped - 20, f"{dropped} dropped, yet {got[0]} came")


def policy(n):
    """A record of some 20 KiB that does not compress."""
    return {"policy": {"n": n, "at": "2026-11-26T12:00:00Z",
                       "text": os.urandom(10 << 10).hex()}, "ack": n}


def policies(t):
    return [x["body"]["n"] for x in t.each_taken()
            if x["route"] == "policies"]


def test_records_refused(t):
    """Changes and policies have the room that storage.spool_max names, and
    take none from runs; what the inbox has stays there."""
    t.upstream(dedupe=True).stop()
    box = os.path.join(t.dir, "inbox")
    os.mkdir(box)
    conf = lumnid_it.merge(SMALL, {"storage": {"spool_max": "1MiB"},
                                   "listen": {"inbox": box}})
    t.lumnid(**conf)
    s = t.stream()
    taken = []
    for n in range(300):
        answer = s.ask(policy(n))
        if answer == {"ack": n}:
            taken.append(n)
            continue
        t.equal((answer["code"], answer["ack"]), ("full", n), "refusal")
        t.true("changes and policies" in answer["error"], answer["error"])
        break
    t.true(30 < len(taken) < 130, f"{len(taken)} taken")
    t.daemon.wait_line("spool_full.*spool=records.*are refused")
    t.equal(s.ask({"runId": "r", "events": [{"n": 0}], "ack": 1}), {"ack": 1},
            "a run meanwhile")
    done = t.lumnictl("change", "-k", "code", "-r", "git:1", "--spool-dir",
                      box, env={"LUMNID_CONFIG": t.conf,
                                "LUMNI_API_KEY": lumnid_it.KEY})
    t.equal(done.returncode, 0, done.stderr)
    t.true("left the change" in done.stdout, done.stdout)
    used = sum(os.path.getsize(os.path.join(t.dir, "data/spool/records", x))
               for x in os.listdir(os.path.join(t.dir, "data/spool/records")))
    t.true(used <= (1 << 20) + (128 << 10), f"{used} bytes of records")
    t.daemon.kill()             # and over a restart
    t.lumnid(**conf)
    s = t.stream()
    t.equal(s.ask(policy(999))["code"], "full", "after a restart")
    t.upstream(dedupe=True)
    t.check_books(60, records=True, accepted=len(taken) + 1,
                  delivered=len(taken) + 1)
    t.equal(policies(t), taken, "policies")
    t.equal(s.ask(policy(1000)), {"ack": 1000}, "with room again")
    t.check_books(20, pending=0)


def test_records_drop_oldest(t):
    """Of changes and policies, too, what is given up is the oldest."""
    t.upstream(dedupe=True).stop()
    t.lumnid(**lumnid_it.merge(SMALL, {"storage": {
        "spool_max": "1MiB", "when_full": "drop_oldest"}}))
    s = t.stream()
    for n in range(200):
        t.equal(s.ask(policy(n)), {"ack": n}, "answer")
    t.upstream(dedupe=True)
    status = t.check_books(60, records=True, pending=0)["records"]
    dropped = status["dropped"]["oldest"]
    t.equal((status["accepted"], status["delivered"] + dropped), (200, 200),
            f"{status}: accepted, delivered and dropped")
    t.true(50 < dropped < 190, f"{dropped} dropped")
    t.equal(policies(t), list(range(dropped, 200)), "policies")


def test_pressure(t):
    """One run that stays open does not keep the journal from going round."""
    t.upstream(dedupe=True)
    conf = lumnid_it.merge(SMALL, {"storage": {"journal_max": "1MiB"},
                                   "runs": {"idle": "1h", "max_age": "2h"}})
    t.lumnid(**conf)
    load = Load(t)
    t.equal(load.one(run="long", end=False), None, "refused")
    for _ in range(150):        # three times the journal
        load.burst(10, lambda n: f"run{n}")
    says(t, "ok")
    sealed = wait_for("the long run", lambda: [
        x for x in t.each_taken() if x["body"]["runId"] == "long"],
        context=t.logs)
    t.equal([x["reason"] for x in sealed], ["pressure"], "reason")
    t.equal(load.one(run="long"), None, "refused")
    all_comes(t, load)


def test_free_floor(t):
    """Below storage.free_min nothing is taken, though the disk has room."""
    where = mount(t, "tmpfs", "size=16m")
    t.upstream(dedupe=True)
    t.lumnid(storage={"dir": os.path.join(where, "data"),
                      "free_min": "8MiB"}, **SMALL)
    load = Load(t)
    t.equal(load.one(), None, "refused")
    path = os.path.join(where, "ballast")
    with open(path, "wb") as f:
        f.write(bytes(10 << 20))
    wait_for("the floor to be seen", lambda: load.one() == "full",
             context=t.logs)
    t.true("free_min" in t.daemon.status()["storage"]["why"], "why")
    says(t, "full")
    os.unlink(path)
    load.until_taken()
    all_comes(t, load)


class Faults:
    """Errors of system calls of a living process, by strace."""

    def __init__(self, t, *inject):
        if shutil.which("strace") is None:
            raise Skip("strace is not installed")
        argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-p",
                str(t.daemon.pid)]
        for rule in inject:
            argv += ["-e", "inject=" + rule]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE)
        t.files.callback(self.end)

        def traced():
            if self.proc.poll() is not None:
                raise Skip("strace: " + self.proc.stderr.read().decode())
            for task in os.listdir(f"/proc/{t.daemon.pid}/task"):
                path = f"/proc/{t.daemon.pid}/task/{task}/status"
                with open(path, encoding="ascii") as f:
                    if "TracerPid:\t0\n" in f.read():
                        return False
            return True
        wait_for("strace", traced)

    def end(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGINT)
            self.proc.wait()
        self.proc.stderr.close()


def fails(t, *inject):
    """While the disk fails nothing is acknowledged that is not safe, nothing
    ends, and all says so; and it is over when it is over."""
    t.upstream(dedupe=True)
    t.lumnid(**SMALL)
    load = Load(t)
    for _ in range(20):
        t.equal(load.one(), None, "refused")
    faults = Faults(t, *inject)
    t.equal(load.until_refused(200), "degraded", "code")
    says(t, "degraded")
    for _ in range(10):
        load.one()
        time.sleep(0.05)        # as agents do
    faults.end()
    load.until_taken()
    says(t, "ok")
    t.daemon.wait_line(r"\bstorage_degraded\b")
    t.daemon.wait_line(r"\bstorage_ok\b")
    # What was told to have failed may have been kept all the same.
    t.check_runs_some(load)
    t.daemon.kill()
    t.lumnid()
    t.check_runs_some(load)
    t.check_books(30, pending=0)


def check_runs_some(t, load):
    """What was acknowledged has come; what got an error may have."""
    everything = {}
    for n in range(load.n):
        everything.setdefault(f"run{n % 7}", []).append(n)
    lack = {(run, n) for run, v in everything.items() for n in v
            if n not in load.sent.get(run, [])}
    t.check_runs(everything, may_lack=lack, seconds=30)


lumnid_it.Case.check_runs_some = check_runs_some


def test_writes_fail(t):
    fails(t, "pwritev:error=EIO")


def test_syncs_fail(t):
    fails(t, "fdatasync,fsync:error=EIO")


def test_reads_fail(t):
    """A run that cannot be read back now is sealed when it can be."""
    t.upstream(dedupe=True)
    t.lumnid(**lumnid_it.merge(SMALL, {"runs": {"idle": "1h"}}))
    load = Load(t)
    for _ in range(60):
        t.equal(load.one(end=False), None, "refused")
    faults = Faults(t, "pread64:error=EIO")
    for i in range(7):
        load.stream.send({"runId": f"run{i}", "events": [], "end": True})
    time.sleep(1)               # it tries, and fails, and goes on
    t.true(t.daemon.alive(), "it has ended")
    t.equal(t.daemon.get("/healthz")[0], 200, "/healthz")
    faults.end()
    all_comes(t, load)


if __name__ == "__main__":
    lumnid_it.main()
