#!/usr/bin/python3
"""Broken networks: the upstream lives in a network namespace of its own,
behind a link that loses, refuses, swallows or throttles.

The test itself runs in a private namespace, so that whatever it does to
interfaces and filters ends with it.
"""

import os
import shutil
import subprocess
import sys
import time

import lumnid_it
from lumnid_it import SLOW, Process, Upstream, wait_for

ENTERED = "LUMNID_TEST_NETNS"
# What may be broken, and what the test speaks through.
DATA, CONTROL = "10.88.1.", "10.88.2."
PORT = 8844
# GET /status tells the books.
BOOKS = {"http": "127.0.0.1:0"}


def run(t, *argv, stdin=None):
    done = t.run(*argv, stdin=stdin)
    t.equal(done.returncode, 0, f"{argv}: {done.stdout}{done.stderr}")


class Far(Process):
    """The other namespace, as long as its process lives."""

    def __init__(self, t):
        super().__init__(t, ["unshare", "-n", "sleep", "100000"], "namespace")
        ours = os.readlink("/proc/self/ns/net")
        wait_for("the namespace", lambda: os.path.realpath(
            f"/proc/{self.pid}/ns/net") and
            os.readlink(f"/proc/{self.pid}/ns/net") != ours)
        self.prefix = ("nsenter", "-t", str(self.pid), "-n")
        for name, net in (("data", DATA), ("ctrl", CONTROL)):
            # It goes with the far end, but not at once.
            t.files.callback(t.run, "ip", "link", "del", name)
            run(t, "ip", "link", "add", name, "type", "veth", "peer", "name",
                name + "1", "netns", str(self.pid))
            run(t, "ip", "addr", "add", net + "1/30", "dev", name)
            run(t, "ip", "link", "set", name, "up")
            run(t, *self.prefix, "ip", "addr", "add", net + "2/30", "dev",
                name + "1")
            run(t, *self.prefix, "ip", "link", "set", name + "1", "up")

    def filter(self, incoming="", outgoing=""):
        """Replace what the far end does to packets of the data link."""
        run(self.case, *self.prefix, "nft", "-f", "-", stdin=f"""
flush ruleset
table inet broken {{
	chain incoming {{
		type filter hook input priority 0;
		{'iifname "data1" ' + incoming if incoming else ""}
	}}
	chain outgoing {{
		type filter hook output priority 0;
		{'oifname "data1" ' + outgoing if outgoing else ""}
	}}
}}
""")

    def stop(self, seconds=20):
        self.kill()


class World:
    """lumnid here, the upstream there; runs of which events are sent now
    and then, so that each run has many parts."""

    def __init__(self, t):
        self.t = t
        self.far = Far(t)
        self.up = Upstream(t, t.out, dedupe=True, prefix=self.far.prefix,
                           host=CONTROL + "2", port=PORT,
                           extra=["--host", "0.0.0.0"])
        t.lumnid(listen=BOOKS, runs={"max_events": 10}, upstream={
            "url": f"http://{DATA}2:{PORT}", "timeout": "2s"})
        self.stream = t.stream()
        self.sent = {f"r{i}": [] for i in range(8)}
        self.n = 0

    def send(self, n):
        """n more events for each run, without waiting for an answer."""
        for _ in range(n):
            for run, events in self.sent.items():
                self.stream.send({"runId": run, "n": self.n,
                                  "filler": os.urandom(100).hex()})
                events.append(self.n)
            self.n += 1

    def send_for(self, seconds):
        """Send for so long. That all is taken at once, whatever the network
        does, the acks show."""
        end = time.monotonic() + seconds
        slowest = 0
        while time.monotonic() < end:
            self.send(5)
            begun = time.monotonic()
            run = "r0"
            answer = self.stream.ask({"runId": run, "ack": self.n,
                                      "events": [{"n": self.n}]})
            self.t.equal(answer, {"ack": self.n}, "answer")
            self.sent[run].append(self.n)
            self.n += 1
            slowest = max(slowest, time.monotonic() - begun)
            time.sleep(0.1)     # as agents do, not as fast as it can
        self.t.true(slowest < 3 * SLOW, f"an ack took {slowest:.1f} s")

    def total(self):
        return sum(map(len, self.sent.values()))

    def whole(self):
        self.far.filter()

    def recovers(self):
        """The link is whole again: all comes, and then the next comes as if
        nothing had been."""
        self.whole()
        self.up.wait_sums(events=self.total(), seconds=60)
        self.send(50)
        begun = time.monotonic()
        self.up.wait_sums(events=self.total(), seconds=60)
        took = time.monotonic() - begun
        self.t.true(took < 5 * SLOW, f"400 events took {took:.1f} s")
        n = self.total()
        self.t.check_books(accepted=n, delivered=n, pending=0, dead=0)
        self.t.daemon.stop()
        self.t.check_runs(self.sent)


def test_whole_link(t):
    """The measure of the others."""
    w = World(t)
    w.send_for(1)
    w.recovers()


def test_loss(t):
    """A fifth of all packets is lost, either way."""
    w = World(t)
    w.far.filter("numgen random mod 100 < 20 drop",
                 "numgen random mod 100 < 20 drop")
    w.send_for(5)
    w.recovers()


def test_reset(t):
    """A firewall that resets each connection, old or new."""
    w = World(t)
    w.send_for(1)
    w.far.filter(f"tcp dport {PORT} reject with tcp reset")
    w.send_for(3)
    t.daemon.wait_line("upstream_down")
    w.recovers()


def test_some_resets(t):
    """It resets one packet in twenty, in the middle of requests."""
    w = World(t)
    w.far.filter(f"tcp dport {PORT} numgen random mod 100 < 5 "
                 "reject with tcp reset")
    while not t.daemon.said("upstream_down"):
        w.send_for(1)
    w.recovers()


def test_black_hole(t):
    """No packet comes through, and none comes back."""
    w = World(t)
    w.send_for(1)
    w.far.filter("drop", "drop")
    w.send_for(5)
    t.daemon.wait_line("upstream_down")
    t.true(w.up.stats()["events"] < w.total(), "it was cut off")
    w.recovers()


def test_lost_answers(t):
    """Requests arrive, answers do not: nothing is counted twice."""
    w = World(t)
    w.send_for(1)
    w.far.filter(outgoing="meta length > 60 drop")  # acks pass, answers not
    w.send_for(3)
    t.true(w.up.stats()["events"] > t.daemon.status()["events"]["delivered"],
           "some were taken, and nobody here knows")
    w.recovers()
    t.true(w.up.stats()["duplicates"] > 0, "they came again")


def test_rate_limit(t):
    """A link as slow as a modem: what does not fit is dropped."""
    w = World(t)
    w.far.filter("limit rate over 20 kbytes/second burst 4 kbytes drop")
    w.send_for(5)
    w.recovers()


def enter():
    """Run this file in a network namespace of its own, or say why not."""
    if os.environ.get(ENTERED):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return None
    for name in ("unshare", "nsenter", "ip", "nft"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    probe = subprocess.run(
        ["unshare", "-n", "sh", "-ec", "ip link set lo up; "
         "ip link add probe type veth peer name probe1; "
         "nft 'add table inet probe'"],
        capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return "no network namespaces: " + \
            (probe.stderr.strip().split("\n")[-1] or "not root")
    os.environ[ENTERED] = "1"
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    return None


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    reason = enter()
    if reason:
        print(f"skip test_netns: {reason}")
        sys.exit(77)
    lumnid_it.main()
