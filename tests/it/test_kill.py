#!/usr/bin/python3
"""SIGKILL at random moments under load: what was acknowledged arrives, once
and in order; what was not may or may not."""

import os
import random
import signal

import lumnid_it
from clients import Crowd
from lumnid_it import wait_for


def settle(t, crowd):
    """Every run is idle now: all that was kept is sealed, and comes."""
    t.check_runs(crowd.sent(), may_lack=crowd.may_lack(), seconds=90)
    t.daemon.stop()
    # What came since was no surprise either.
    t.check_runs(crowd.sent(), may_lack=crowd.may_lack())


def kills(t, rounds, seed, **conf):
    rng = random.Random(seed)
    t.upstream(dedupe=True)
    t.lumnid(log={"level": "info"}, **conf)
    crowd = Crowd(t, seed=seed)
    for i in range(rounds):
        target = crowd.acked() + rng.randrange(1, 1500)
        wait_for(f"acks in round {i}", lambda: crowd.acked() >= target,
                 step=0.0005, context=t.logs)
        t.daemon.kill()
        t.lumnid()
    target = crowd.acked() + 200
    wait_for("acks after the last kill", lambda: crowd.acked() >= target,
             context=t.logs)
    crowd.finish()
    t.equal([c.refused for c in crowd.clients if c.refused], [], "refusals")
    settle(t, crowd)
    print(f"# {crowd.acked()} acknowledged, {len(crowd.may_lack())} without "
          f"an answer, {len(t.taken())} batches")


def test_ten_kills(t):
    kills(t, 10, 1)


def test_kills_while_the_upstream_fails(t):
    """As above, with an upstream that answers badly half of the time."""
    rng = random.Random(3)
    up = t.upstream(dedupe=True, script="""
        seed=5
        when=random:0.15 reset=after
        when=random:0.15 reset=before
        when=random:0.15 status=503 retry_after=0
        """)
    t.lumnid(log={"level": "info"}, runs={"idle": "500ms"})
    crowd = Crowd(t, n=4, seed=3)
    for i in range(5):
        target = crowd.acked() + rng.randrange(1, 800)
        wait_for(f"acks in round {i}", lambda: crowd.acked() >= target,
                 step=0.0005, context=t.logs)
        t.daemon.kill()
        t.lumnid()
    crowd.finish()
    up.script("")
    settle(t, crowd)


def test_kill_with_backlog_and_upstream_away(t):
    """Nobody takes anything while lumnid is killed again and again; then all
    comes, in order."""
    up = t.upstream(dedupe=True)
    up.stop()
    t.lumnid(log={"level": "info"}, runs={"idle": "200ms"})
    crowd = Crowd(t, n=4, seed=7)
    for _ in range(3):
        target = crowd.acked() + 400
        wait_for("acks", lambda: crowd.acked() >= target, context=t.logs)
        t.daemon.kill()
        t.lumnid()
    crowd.finish()
    t.upstream(dedupe=True)
    settle(t, crowd)


ROUNDS = int(os.environ.get("LUMNID_ONCE_ROUNDS", "8"))
SEED = int(os.environ.get("LUMNID_ONCE_SEED", "11"))
FAULTS = ("", "when=random:0.3 reset=after", "when=random:0.3 reset=before",
          "when=random:0.4 status=503 retry_after=0",
          "when=random:0.3 status=429 retry_after=1",
          "when=random:0.2 status=500\nwhen=random:0.2 reset=after")


def test_once_whatever_happens(t):
    """Over kills, orderly restarts, other configurations, reloads, an upstream
    that resets after it has taken, fails, asks to wait or is away: each
    attempt of a batch has the same bytes under the same key (the upstream
    reports another as a violation), and with an upstream that honours the
    key each event arrives exactly once."""
    rng = random.Random(SEED)
    up = t.upstream(dedupe=True)
    t.lumnid(log={"level": "info"}, listen={"http": "127.0.0.1:0"})
    crowd = Crowd(t, n=4, seed=SEED)
    did = []
    for i in range(ROUNDS):
        target = crowd.acked() + rng.randrange(1, 400)
        wait_for(f"acks in round {i}", lambda: crowd.acked() >= target,
                 step=0.0005, context=t.logs)
        did.append(rng.choice(("kill", "kill", "stop", "reload", "away")))
        up.script(f"seed={rng.randrange(1000)}\n" + rng.choice(FAULTS))
        t.configure(
            log={"level": "info"}, listen={"http": "127.0.0.1:0"},
            runs={"idle": rng.choice(("200ms", "1s", "3s")),
                  "max_events": rng.choice((5, 100, 1000))},
            upstream={"compression": rng.choice(("zstd", "none")),
                      "level": rng.choice((1, 3, 9)),
                      "connections": rng.choice((1, 2, 8))},
            storage={"durability": rng.choice(("ack", "always"))})
        if did[-1] == "kill":
            t.daemon.kill()
            t.lumnid()
        elif did[-1] == "stop":
            t.daemon.stop()
            t.lumnid()
        elif did[-1] == "reload":
            t.daemon.signal(signal.SIGHUP)
        else:
            up.kill()
            t.daemon.kill()
            t.lumnid()
            up = t.upstream(dedupe=True)
    crowd.finish()
    t.equal([c.refused for c in crowd.clients if c.refused], [], "refusals")
    up.script("")
    t.check_runs(crowd.sent(), may_lack=crowd.may_lack(), seconds=90)
    status = t.check_books(90, pending=0)["events"]
    came = sum(map(len, t.runs().values()))
    t.equal((status["delivered"], status["accepted"]), (came, came),
            f"{status}: delivered, accepted")
    attempts = len([x for x in up.requests() if x["route"] == "events"])
    print(f"# {', '.join(did)}: {came} events in {len(t.taken())} batches and "
          f"{attempts} attempts")


if __name__ == "__main__":
    lumnid_it.main(limit=180 + 5 * ROUNDS)
