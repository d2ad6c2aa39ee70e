#!/usr/bin/python3
"""A random walk with the real programs: agents send, the upstream has good
and bad times, connections break before and after a batch was taken, lumnid
is stopped, killed and reloaded, the upstream restarted. At the end every
event was delivered once, in order, or is a dead letter with its reason, and
the books balance.

LUMNID_WALK_SECONDS=n walks for longer, LUMNID_WALK_SEED=n another way.
tests/unit/test_walk.c walks through hours of virtual time.
"""

import os
import random
import signal
import time

import lumnid_it
from lumnid_it import KEY, wait_for

SECONDS = float(os.environ.get("LUMNID_WALK_SECONDS", "14"))
SEED = int(os.environ.get("LUMNID_WALK_SEED", "1"))
RUNS = 8

# What holds at all times: these events are never taken, and the answer to
# the same batch is the same.
ALWAYS = ("marker=POISON status=422 body={\"error\":\"poison\"}\n"
          "marker=PARTLY partial=400\n")
MOODS = {
    "good": ALWAYS,
    # A fault before the batch is looked at, and one after it was taken.
    "shaky": "when=random:0.15 reset=before\nwhen=random:0.1 status=503\n"
             "when=random:0.05 status=429 retry_after=1\n" + ALWAYS +
             "when=random:0.15 reset=after\nwhen=random:0.1 cut=after\n"
             "when=random:0.05 stall=after\nwhen=random:0.2 close=1\n",
    "broken": "status=502\n",
    "gone": "reset=before\n",
    "moved": "status=308 location=http://127.0.0.1:1/\n",
    "nowhere": "route=events status=404\n" + ALWAYS,
    "wrong key": "key=another\n",
    "no zstd": "encoding=zstd status=415\n" + ALWAYS,
    # A batch that was taken is not refused later: lumnid(8) promises each
    # event once for such an upstream only.
    "small": "taken=0 decoded_over=1200 status=413\n" + ALWAYS,
    "limited": "when=random:0.6 status=429\n" + ALWAYS,
}


class Walk:
    def __init__(self, t):
        self.t = t
        self.rng = random.Random(SEED)
        self.up = t.upstream(dedupe=True, script=ALWAYS)
        self.key_path = os.path.join(t.dir, "key")
        with open(self.key_path, "w", encoding="ascii",
                  opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(KEY + "\n")
        self.conf = {"listen": {"http": "127.0.0.1:0"},
                     "upstream": {"timeout": "1s",
                                  "api_key_file": self.key_path},
                     "runs": {"idle": "1s", "max_events": 20},
                     "log": {"level": "info"}}
        t.lumnid(env={"LUMNI_API_KEY": ""}, **self.conf)
        self.stream = t.stream()
        self.sent = {f"r{i}": [] for i in range(RUNS)}
        self.poison = set()
        self.n = 0
        self.ack = self.lives = 0
        self.did = {}
        self.bad = False

    def send(self):
        """One message; its answer is waited for, so that nothing is lost."""
        run = f"r{self.rng.randrange(RUNS)}"
        events = []
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            text = self.rng.choices(("fine", "POISON", "PARTLY"),
                                    (60, 1, 1))[0]
            events.append({"n": self.n, "text": text + "x" *
                           self.rng.randrange(200)})
            self.sent[run].append(self.n)
            if text != "fine":
                self.poison.add((run, self.n))
            self.n += 1
        self.ack += 1
        message = {"runId": run, "events": events, "ack": self.ack}
        if self.rng.random() < 0.1:
            message["end"] = True
        self.t.equal(self.stream.ask(message), {"ack": self.ack}, "answer")

    def again(self):
        # A proxy that nothing goes through: each second time libcurl does
        # all of a request, not only its connection.
        self.lives += 1
        env = {"http_proxy": "http://127.0.0.1:1", "no_proxy": "*"}
        self.t.lumnid(env={"LUMNI_API_KEY": "",
                           **(env if self.lives % 2 else {})})
        self.stream = self.t.stream()

    def script(self, mood):
        text = MOODS[mood]
        if "key=" not in text:
            text = f"key={KEY}\n" + text
        self.up.script(f"seed={self.rng.randrange(1000)}\n" + text)

    def step(self):
        t, rng = self.t, self.rng
        what = rng.choices(("mood", "kill", "stop", "reload", "key",
                            "upstream"), (10, 2, 1, 3, 1, 1))[0]
        if what == "mood":
            # Between bad times there are better ones.
            what = rng.choice(("good", "shaky", "shaky") if self.bad else
                              sorted(MOODS))
            self.bad = what not in ("good", "shaky")
            self.script(what)
        elif what == "kill":
            t.daemon.kill()
            self.again()
        elif what == "stop":
            t.daemon.stop(30)
            self.again()
        elif what == "reload":
            self.conf["runs"] = {"idle": "1s",
                                 "max_events": rng.choice((5, 20, 100))}
            self.conf["upstream"].update(
                connections=rng.choice((1, 4, 16)),
                compression=rng.choice(("zstd", "zstd", "none")))
            t.configure(**self.conf)
            t.daemon.signal(signal.SIGHUP)
        elif what == "key":
            os.utime(self.key_path)
        else:
            self.up.stop()
            self.send()
            self.up = t.upstream(dedupe=True, script=ALWAYS)
        self.did[what] = self.did.get(what, 0) + 1

    def walk(self):
        self.script("shaky")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.step()
            pause = time.monotonic() + self.rng.random() * 0.8
            while time.monotonic() < pause:
                self.send()
                time.sleep(0.01)

    def arrive(self):
        t = self.t
        # As an operator does who is told so, by a reload at the end.
        self.script("good")
        t.daemon.signal(signal.SIGHUP)
        gone = len(self.poison)
        t.check_books(accepted=self.n, delivered=self.n - gone, dead=gone,
                      pending=0, seconds=120)
        t.daemon.stop()
        t.check_runs(self.sent, may_lack=self.poison)
        requests = self.up.requests()
        t.true(not any("violation" in x for x in requests), "a violation")
        print(f"# {self.n} events, {len(self.poison)} of them refused, "
              f"{len(requests)} requests, "
              f"{sum(x['duplicate'] for x in requests)} of a batch that was "
              f"taken before; {self.did}")
        buried = []
        for letter in t.dead_letters():
            t.true(letter["status"] in (202, 422), f"the reason: {letter}")
            t.true(letter["answer"], f"the answer: {letter}")
            buried += [(letter["runId"], e["event"]["n"])
                       for e in letter["events"]]
        t.equal(sorted(buried), sorted(self.poison), "dead letters")


def test_walk(t):
    w = Walk(t)
    w.walk()
    w.arrive()


if __name__ == "__main__":
    lumnid_it.main(limit=200 + SECONDS)
