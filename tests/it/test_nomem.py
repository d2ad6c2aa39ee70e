#!/usr/bin/python3
"""An allocation fails: one of lumnid's own, or of any library in it, at the
start, under a load over every input, in a reload, in an answer to lumnictl, at
the stop. tests/support/nomem.c chooses which.

Whatever it is: the process goes on, or says that it is out of memory and ends
by abort(), and neither hangs nor spins. The next process finds all that was
acknowledged, delivers each event once, and the books balance. Where a library
goes on with the NULL and dies of it, that holds, too; it is told in the last
line, and a failure with LUMNID_NOMEM_STRICT=1.

LUMNID_NOMEM_ROUNDS=n tries so many, LUMNID_NOMEM_SEED=n others; LUMNID_NOMEM=n
tries the n-th allocation alone.
"""

import contextlib
import gzip
import http.client
import json
import os
import random
import signal

import lumnid_it
from lumnid_it import (KEY, SANITIZED, SLOW, Failure, Skip, pack, program,
                       wait_for)
from test_forward import chunk, record

ROUNDS = int(os.environ.get("LUMNID_NOMEM_ROUNDS", "36"))
SEED = int(os.environ.get("LUMNID_NOMEM_SEED", "1"))
ONE = os.environ.get("LUMNID_NOMEM")
STRICT = os.environ.get("LUMNID_NOMEM_STRICT") == "1"
CONF = {"listen": {"http": "127.0.0.1:0"}, "runs": {"idle": "500ms"},
        "redact": {"keys": ["password"], "patterns": ["all"]},
        "log": {"level": "info"}}
ABORTED = -signal.SIGABRT
# What lumnid's end, or its want of memory, does to a client.
GONE = (OSError, http.client.HTTPException, lumnid_it.msgpack.UnpackException,
        ValueError)


class Load:
    """A little over every input; what was acknowledged is kept in mind."""

    def __init__(self, t):
        self.t = t
        self.n = 0
        self.sent = {}
        self.may_lack = set()

    def events(self, run, k=3):
        """k events that may come, for now."""
        events = []
        for _ in range(k):
            self.sent.setdefault(run, []).append(self.n)
            self.may_lack.add((run, self.n))
            events.append({"n": self.n, "type": "step",
                           "password": "x", "text": "y" * (self.n % 700)})
            self.n += 1
        return events

    def safe(self, run, events):
        self.may_lack -= {(run, e["n"]) for e in events}

    def stream(self, i):
        with contextlib.closing(self.t.stream()) as s:
            for k in range(6):
                run = f"stream{i}-{k % 3}"
                events = self.events(run)
                answer = s.ask({"runId": run, "events": events, "ack": k,
                                "end": k > 3})
                if answer is None:
                    return
                if answer == {"ack": k}:
                    self.safe(run, events)
            s.ask({"change": {"kind": "code", "ref": f"git:{i}"}, "ack": 1})

    def forward(self, i):
        with contextlib.closing(self.t.stream()) as s:
            run = f"forward{i}"
            events = self.events(run, 2)
            body = b"".join(pack([0, record(run, e["n"])]) for e in events)
            s.send(["tag", gzip.compress(body),
                    {"compressed": "gzip", "chunk": chunk(i)}])
            if s.answer() == {"ack": chunk(i)}:
                self.safe(run, events)

    def datagrams(self, i):
        self.t.dgram().send({"runId": f"dgram{i}",
                             "events": self.events(f"dgram{i}")})
        port = self.t.daemon._udp()
        if port:
            d = lumnid_it.Datagram(port[0])
            d.send({"runId": f"udp{i}", "events": self.events(f"udp{i}")})
            d.close()

    def http(self, i):
        port = self.t.daemon.http_port_if_any()
        if port is None:
            return
        con = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * SLOW)
        with contextlib.closing(con):
            for k, pack_up in enumerate((None, gzip.compress,
                                         lumnid_it.zstd)):
                run = f"http{i}-{k}"
                events = self.events(run)
                body = json.dumps({"runId": run, "events": events}).encode()
                headers = {"content-type": "application/json"}
                if pack_up:
                    body = pack_up(body)
                    headers["content-encoding"] = ("gzip", "zstd")[k - 1]
                con.request("POST", "/v1/ingest/events", body, headers)
                answer = con.getresponse()
                answer.read()
                if answer.status == 202:
                    self.safe(run, events)
            for path in ("/metrics", "/status", "/readyz"):
                con.request("GET", path)
                con.getresponse().read()

    def control(self, _i):
        for argv in (["status"], ["runs"], ["flush", "--wait", "1s"],
                     ["spool", "ls"], ["dead", "list"]):
            if self.t.daemon.alive():
                self.t.lumnictl("--socket", self.t.stream_path, *argv)

    def reload(self, _i):
        self.t.daemon.signal(signal.SIGHUP)

    def turn(self, i):
        """All of it, as far as lumnid lives."""
        for what in (self.stream, self.forward, self.datagrams, self.http,
                     self.reload, self.control, self.stream):
            if not self.t.daemon.alive():
                break
            with contextlib.suppress(*GONE):
                what(i)


def end(t, at):
    """It has ended by itself, or does so now."""
    d = t.daemon
    if d.alive():
        d.signal(signal.SIGTERM)
    status = d.wait(30)
    d._notify.close()
    said = d.log(400)
    if status == ABORTED:
        t.true("fatal: " in said, f"allocation {at}: it aborts without a "
               f"word: {said}")
    elif status not in (0, 1, 2) and (status > 0 or STRICT):
        raise Failure(f"allocation {at}: it ended with {status}\n{said}")
    return status


def nomem(t, at=0, times=1):
    """The environment in which a process's at-th allocation fails, and as
    many after it as make times; 0: none, they are counted."""
    if SANITIZED:
        raise Skip("the sanitizers have an allocator of their own")
    return {"LUMNI_API_KEY": KEY, "LUMNID_NOMEM_AT": str(at),
            "LUMNID_NOMEM_TIMES": str(times),
            "LUMNID_NOMEM_LOG": os.path.join(t.dir, "nomem"),
            "LD_PRELOAD": program("tests/support/nomem.so")}


def nomem_words(t):
    """What nomem.so wrote of the process that has ended, {word: n}; the count
    is not among it where a signal ended it. The file is gone after it."""
    log = os.path.join(t.dir, "nomem")
    try:
        with open(log, encoding="ascii") as f:
            words = dict(line.split() for line in f)
    except FileNotFoundError:
        return {}
    os.unlink(log)
    return {k: int(v) for k, v in words.items()}


def broken(t, load, i, at, times):
    """One process whose at-th allocation fails; how it ended."""
    t.lumnid(env=nomem(t, at, times), wait=False)
    wait_for("it to be ready, or to end", lambda: not t.daemon.alive() or
             t.daemon.notified("READY=1"), step=0.002, context=t.logs)
    load.turn(i)
    status = end(t, at)
    return status, nomem_words(t)


def test_each_allocation(t):
    rng = random.Random(SEED)
    t.upstream(dedupe=True)
    t.configure(**CONF)
    load = Load(t)
    status, words = broken(t, load, 0, 0, 1)
    t.equal(status, 0, "without a failure")
    # Where the start ends is not known: the half of them is for it.
    total = words["count"]
    begun = max(1, total // 4)
    ended = {}
    for i in range(1, 1 + (1 if ONE else ROUNDS)):
        at = int(ONE) if ONE else rng.randrange(
            *((1, begun) if i % 2 else (begun, total)))
        status, words = broken(t, load, i, at, rng.choice((1, 1, 1, 3, 20)))
        what = {0: "went on" if "failed" in words else "not reached",
                ABORTED: "abort", 1: "no start", 2: "no start"}.get(
                    status, f"signal {-status}")
        ended[what] = ended.get(what, 0) + 1
        # The next one, with memory, finds it all.
        t.lumnid()
        t.check_books(90, pending=0)
        t.check_books(90, records=True, pending=0)
        t.daemon.stop()
    t.check_runs(load.sent, may_lack=load.may_lack,
                 unordered={r for r in load.sent if "http" in r})
    print(f"# {total} allocations; of {ROUNDS} that failed: {ended}")
    t.true(ONE or ended.get("went on", 0) + ended.get("abort", 0) >
           ROUNDS / 2, f"{ended}")


def test_programs(t):
    """Those that run and end: lumnictl, and lumnid's checks."""
    rng = random.Random(SEED)
    t.upstream(dedupe=True)
    t.lumnid(**CONF)
    ctl = [program("lumnictl"), "--socket", t.stream_path]
    daemon = [program("lumnid"), "-c", t.conf]
    tried = 0
    for argv in ([*ctl, "status"], [*ctl, "status", "--json"],
                 [*ctl, "send", "--run", "r", "--type", "x", "n=1"],
                 [*ctl, "change", "-k", "code", "-r", "git:1"],
                 [*ctl, "runs"], [*ctl, "flush"], [*ctl, "dead", "list"],
                 [*daemon, "--check-config"], [*daemon, "--print-config"],
                 [*daemon, "--check-spool"]):
        t.run(*argv, env=nomem(t))
        total = nomem_words(t)["count"]
        for at in sorted(rng.sample(range(1, total + 1),
                                    min(total, ROUNDS // 2))):
            done = t.run(*argv, env=nomem(t, at))
            nomem_words(t)
            tried += 1
            t.true(done.returncode >= 0 or (done.returncode == ABORTED and
                   "fatal: " in done.stderr), f"{argv[2:]}, allocation "
                   f"{at} of {total}: {done.returncode} {done.stderr}")
    print(f"# {tried} tried")


if __name__ == "__main__":
    lumnid_it.main(limit=180 + 5 * ROUNDS)
