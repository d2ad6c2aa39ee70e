#!/usr/bin/python3
"""SIGKILL at random moments under load: what was acknowledged arrives, once
and in order; what was not may or may not."""

import random

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


if __name__ == "__main__":
    lumnid_it.main()
