#!/usr/bin/python3
"""A clock that jumps does no harm: the wall clock by months in either
direction (libfaketime), the monotonic clock between two starts (a time
namespace)."""

import email.utils
import glob
import os
import time

import lumnid_it
from lumnid_it import Skip, wait_for

BOOKS = {"http": "127.0.0.1:0"}


def faketime():
    for pattern in ("/usr/lib/*/faketime/libfaketimeMT.so.1",
                    "/usr/lib*/faketime/libfaketimeMT.so.1"):
        for path in glob.glob(pattern):
            return path
    raise Skip("libfaketime is not installed")


class Clock:
    """What lumnid's wall clock says beside the real one; its monotonic clock
    stays true, as a kernel's does."""

    def __init__(self, t):
        self.path = os.path.join(t.dir, "faketime")
        self.set("+0d")
        self.env = {"LUMNI_API_KEY": lumnid_it.KEY,
                    "LD_PRELOAD": faketime(), "NO_FAKE_STAT": "1",
                    "FAKETIME_TIMESTAMP_FILE": self.path,
                    "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                    "DONT_FAKE_MONOTONIC": "1"}

    def set(self, text):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(text + "\n")
        os.rename(self.path + ".new", self.path)


def letters(t):
    return sorted(os.listdir(os.path.join(t.dir, "data", "dead")))


def send(t, first, n, text="fine"):
    s = t.stream()
    for i in range(first, first + n):
        t.equal(s.ask({"runId": f"r{i}", "ack": i, "end": True, "events": [
            {"n": i, "text": text}]}), {"ack": i}, "answer")


def test_wall_clock(t):
    """Letters and batches that wait are not old by a leap; nobody waits
    longer for it, nor comes earlier than Retry-After says."""
    clock = Clock(t)
    up = t.upstream(dedupe=True, script="marker=POISON status=422")
    t.lumnid(env=clock.env, listen=BOOKS, runs={"idle": "2s"}, storage={
        "dead_max_age": "30d", "max_age": "20d"})
    send(t, 0, 2, "POISON")
    t.check_books(dead=2, pending=0, accepted=2)
    was = letters(t)
    up.script("status=503\nmarker=POISON status=422")
    send(t, 2, 3)
    t.daemon.wait_line("upstream_down")
    for n, leap in enumerate(("+60d", "-400d", "+3000d", "+0d")):
        clock.set(leap)
        send(t, 10 + n, 1)
        # An open run is sealed in its time, by the monotonic clock.
        s = t.stream()
        s.ask({"runId": f"open{n}", "ack": 1, "events": [{"n": n}]})
        wait_for("the open run's end", lambda: t.daemon.status()[
            "open"]["runs"] == 0, seconds=10)
        t.check_books(accepted=7 + 2 * n, dead=2, pending=5 + 2 * n,
                      delivered=0)
    t.equal(letters(t), was, "letters")
    clock.set("+60d")
    begun = time.monotonic()
    asked = time.time()
    date = email.utils.formatdate(time.time() + 60 * 86400 + 3, usegmt=True)
    up.script("when=next:1 status=503 retry_after=" + date.replace(" ", "_"))
    at = len(up.requests())
    up.wait_sums(requests=at + 1)
    # Its date is by the clock of now.
    wait_for("the answer to be read", lambda: t.daemon.status()[
        "upstream"]["in_flight"] == 0)
    clock.set("-60d")
    up.wait_sums(events=11)
    t.true(time.monotonic() - begun < 30 * lumnid_it.SLOW, "in time")
    # The answer's date has whole seconds.
    came = next(x["time"] for x in up.requests()[at:] if x["taken"])
    t.true(came - asked >= 1.9, f"came after {came - asked} s")
    t.check_books(accepted=13, dead=2, pending=0, delivered=11)
    t.equal(letters(t), was, "letters")


def test_monotonic_clock(t):
    """It begins anew with each boot: a start with a smaller one finds what
    waits, and the books."""
    probe = t.run("unshare", "-T", "--monotonic", "5", "true")
    if probe.returncode != 0:
        raise Skip("no time namespaces: " + probe.stderr.strip())
    up = t.upstream(dedupe=True, script="status=503")
    sent = 0
    for offset in ("50000000", "1000", "90000000"):
        t.lumnid(listen=BOOKS, prefix=[
            "unshare", "-T", "--monotonic", offset])
        send(t, sent, 3)
        sent += 3
        t.check_books(accepted=sent, pending=sent, delivered=0, dead=0)
        t.daemon.kill()
    up.script("")
    t.lumnid(listen=BOOKS)
    up.wait_sums(events=sent)
    t.check_books(accepted=sent, delivered=sent, pending=0, dead=0)
    t.daemon.stop()
    t.check_runs({f"r{i}": [i] for i in range(sent)})


if __name__ == "__main__":
    lumnid_it.main()
