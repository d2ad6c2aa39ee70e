#!/usr/bin/python3
"""The whole road: 100,000 events of 50 connections, in 256 runs at a time,
by each way in. Every event that was accepted arrives exactly once, in order
within its run, in a body of exactly the promised form."""

import lumnid_it

EVENTS = 100000
LOAD = ("--events", EVENTS, "--connections", 50)


def test_stream(t):
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    report = t.loadgen("--stream", t.stream_path, *LOAD, "--seed", 1)
    up.wait_sums(events=EVENTS)
    t.daemon.stop()
    t.check_load(EVENTS)
    t.equal(len({run for run, _ in t.each_part()}), report["runs"], "runs")
    # The end of each run was said, so nothing waited to be idle.
    reasons = {x["reason"] for x in t.taken()}
    t.equal(reasons, {"end"}, "reasons")


def test_stream_acked(t):
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    report = t.loadgen("--stream", t.stream_path, *LOAD, "--seed", 2,
                       "--ack", "each", "--window", 2000)
    t.equal((report["acks"], report["errors"]), (EVENTS, 0))
    up.wait_sums(events=EVENTS)
    t.daemon.stop()
    t.check_load(EVENTS)


def test_dgram(t):
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    t.loadgen("--dgram", t.dgram_path, *LOAD, "--seed", 3)
    up.wait_sums(events=EVENTS)
    t.daemon.stop()
    t.check_load(EVENTS)


def test_udp(t):
    """What the kernel dropped is known to it, and nothing else is absent."""
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    report = t.loadgen("--udp", t.daemon.udp_port(), *LOAD, "--seed", 4,
                       "--rate", 25000)
    t.equal(report["dropped"], 0, "refused by the socket")
    drops = t.daemon.udp_drops()
    up.wait_sums(events=EVENTS - drops)
    t.daemon.stop()
    t.check_load(EVENTS, drops)
    t.true(drops < EVENTS // 2 or lumnid_it.SANITIZED,
           f"{drops} datagrams dropped")


if __name__ == "__main__":
    lumnid_it.main()
