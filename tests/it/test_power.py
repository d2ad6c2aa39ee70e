#!/usr/bin/python3
"""Power loss: lumnid in a machine of its own, on an ext4 disk of its own,
under load with acks; the machine is killed at random moments, with whatever
its page cache held, and booted again. What was acknowledged arrives, once, in
order, unaltered, and the books balance.

The upstream is outside and loses nothing. LUMNID_POWER_CYCLES=n and
LUMNID_POWER_SEED=n run it for longer, and otherwise ("make soak").
"""

import collections
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import time

import lumnid_it
import uml
from lumnid_it import Failure, Upstream, wait_for

CYCLES = int(os.environ.get("LUMNID_POWER_CYCLES", "3"))
SEED = int(os.environ.get("LUMNID_POWER_SEED", "1"))
PORT = 8843
DATA = "/run/data"
SOCKET = "/run/lumnid.sock"
RUNS = 24
WINDOW = 24             # messages without an answer, of each client
CLIENTS = 3


def text(run, n):
    """What event n of a run says; nobody else says that."""
    return f"{run}/{n} " + "x" * (n * 7919 % 900)


# --- inside -------------------------------------------------------------------

class Client:
    """Sends events of its own runs; says "A run n" of each that is safe."""

    def __init__(self, number, cycle, rng):
        self.stream = lumnid_it.Stream(SOCKET)
        self.rng = rng
        self.runs = [f"r{i}" for i in range(number, RUNS, CLIENTS)]
        # Numbers grow over the whole life of a run.
        self.next = {run: cycle * 1000000 for run in self.runs}
        self.due = {}
        self.count = itertools.count()

    def turn(self):
        while len(self.due) < WINDOW:
            run = self.rng.choice(self.runs)
            first = self.next[run]
            n = self.rng.choice((1, 1, 1, 2, 5))
            self.next[run] += n
            ack = next(self.count)
            self.due[ack] = (run, first, n)
            message = {"runId": run, "ack": ack, "events": [
                {"n": k, "text": text(run, k)}
                for k in range(first, first + n)]}
            if self.rng.random() < 0.05:
                message["end"] = True
            self.stream.send(message)
        safe = []
        for answer in self.stream.poll_answers():
            if "error" in answer:
                sys.exit(f"an error: {answer}")
            run, first, n = self.due.pop(answer["ack"])
            safe += [f"A {run} {k}\n" for k in range(first, first + n)]
        if safe:
            os.write(1, "".join(safe).encode())


def listens():
    try:
        lumnid_it.Stream(SOCKET).close()
        socket.create_connection(("127.0.0.1", 8842)).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def guest():
    """Start lumnid; load it until the power goes, or let it come to rest."""
    conf, what, cycle = sys.argv[1:]
    os.mkdir(DATA)
    subprocess.run(["mount", "/dev/ubda", DATA], check=True)
    daemon = subprocess.Popen([lumnid_it.program("lumnid"), "-c", conf],
                              stdin=subprocess.DEVNULL)
    try:
        wait_for("lumnid to listen", listens, 60)
        if what == "load":
            rng = random.Random(SEED * 1000 + int(cycle))
            clients = [Client(i, int(cycle), rng) for i in range(CLIENTS)]
            while True:
                for c in clients:
                    c.turn()
        wait_for("nothing to be pending", lambda: status()["events"][
            "pending"] == 0, 90, step=0.2)
        print("books", json.dumps(status()["events"]), flush=True)
        daemon.terminate()
        return daemon.wait()
    finally:
        if daemon.poll() is None:
            daemon.kill()


def status():
    import http.client          # slow to load in there
    con = http.client.HTTPConnection("127.0.0.1", 8842, timeout=60)
    con.request("GET", "/status")
    return json.loads(con.getresponse().read())


# --- outside ------------------------------------------------------------------

class Ledger:
    """What was said to be safe."""

    def __init__(self):
        self.runs = collections.defaultdict(list)
        self.total = 0

    def read(self, machine, after):
        """Take in what was printed since; returns where to go on."""
        with machine._news:
            lines = machine.lines[after:]
        for line in lines:
            word = (line or "").split(" ")
            # The last line may have been cut by the power.
            if word[0] == "A" and len(word) == 3:
                self.runs[word[1]].append(int(word[2]))
                self.total += 1
        return after + len(lines)


def machine(t, disk, conf, what, cycle):
    return uml.Machine(t, [sys.executable, os.path.abspath(__file__), conf,
                           what, str(cycle)], disks=[disk], net=True,
                       env={"LUMNI_API_KEY": lumnid_it.KEY,
                            "LUMNID_POWER_SEED": str(SEED)})


def load_and_kill(t, disk, conf, cycle, rng, ledger):
    """One boot, with load, to the moment when the power goes."""
    m = machine(t, disk, conf, "load", cycle)
    target = ledger.total + rng.randrange(1, 600)
    at = 0
    end = lumnid_it.deadline(60)
    while ledger.total < target:
        at = ledger.read(m, at)
        if not m.alive() or time.monotonic() > end:
            raise Failure("no acks come\n" + m.log(200))
        time.sleep(0.001)
    time.sleep(rng.random() * 0.3)      # at no moment in particular
    m.power_off()
    with m._news:       # a line that has no end was never finished
        m.lines = [x for x in m.lines if x is not None]
    ledger.read(m, at)
    t.equal([x for x in m.lines if "uml: exit status" in x], [], "the end")


def compare(t, ledger):
    """Each that was safe came, in order, once, as it was."""
    total = 0
    runs = t.runs()
    for run, events in runs.items():
        got = [e["n"] for e in events]
        total += len(got)
        t.equal(got, sorted(set(got)), f"order of run {run}")
        for e in events:
            t.equal(e["text"], text(run, e["n"]), f"{run}/{e['n']}")
        lost = set(ledger.runs[run]) - set(got)
        if lost:
            raise Failure(f"run {run}: acknowledged and lost: "
                          f"{sorted(lost)[:20]}\n" + t.logs())
    t.equal(sorted(set(ledger.runs) - set(runs)), [], "runs lost as a whole")
    return total


def cycles(t, storage):
    rng = random.Random(SEED)
    up = Upstream(t, t.out, dedupe=True, host="127.0.0.1", port=PORT,
                  extra=["--host", "0.0.0.0"])
    disk = uml.disk(t, "192M")
    conf = t.configure(
        upstream={"url": f"http://{uml.HOST_IP}:{PORT}"},
        listen={"unix": {"path": SOCKET}, "dgram": {"path": "/run/dgram"},
                "http": "127.0.0.1:8842"},
        runs={"idle": "1s", "max_events": 100},
        storage=dict(storage, dir=DATA + "/lumnid"), log={"level": "info"})
    ledger = Ledger()
    for cycle in range(CYCLES):
        load_and_kill(t, disk, conf, cycle, rng, ledger)
    m = machine(t, disk, conf, "rest", CYCLES)
    match, _ = m.wait_line(r"^books (.*)", 120)
    books = json.loads(match.group(1))
    m.finish()
    came = compare(t, ledger)
    # The sum against what was said to be safe, and what came.
    t.equal(books["delivered"], came, f"delivered, of {books}")
    t.equal(books["accepted"], came + books["dead"] +
            sum(books["dropped"].values()), f"accepted, of {books}")
    t.equal((books["dead"], sum(books["dropped"].values())), (0, 0), "losses")
    t.true(ledger.total <= came, "more acks than events")
    print(f"# {CYCLES} losses of power: {ledger.total} acknowledged, {came} "
          f"came in {up.stats()['requests']} requests")


def test_power_is_lost_under_load(t):
    cycles(t, {})


if __name__ == "__main__":
    uml.main(guest, limit=120 + 60 * CYCLES)
