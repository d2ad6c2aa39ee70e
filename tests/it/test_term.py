#!/usr/bin/python3
"""SIGTERM, an end that loses nothing and sends nothing twice: what the
sockets held is read, what was open stays open for the next start."""

import http.client
import random
import signal

import lumnid_it
from clients import Crowd
from lumnid_it import wait_for


def test_ten_terms_with_the_upstream_away_and_back(t):
    """The upstream honours keys, over its restarts too: when it goes away
    between taking a batch and answering, the batch comes again under its key,
    and only so."""
    rng = random.Random(11)
    up = t.upstream(dedupe=True)
    t.lumnid(log={"level": "info"}, runs={"idle": "300ms"})
    crowd = Crowd(t, seed=11)
    for i in range(10):
        target = crowd.acked() + rng.randrange(1, 1000)
        wait_for(f"acks in round {i}", lambda: crowd.acked() >= target,
                 step=0.0005, context=t.logs)
        if i % 3 == 1:
            up.stop()
        t.daemon.stop()
        t.lumnid()
        if i % 3 == 2:
            up = t.upstream(dedupe=True)
    crowd.finish()
    if not up.alive():
        up = t.upstream(dedupe=True)
    refused = sum(len(c.refused) for c in crowd.clients)
    t.check_runs(crowd.sent(), may_lack=crowd.may_lack(), seconds=90)
    t.daemon.stop()
    t.check_runs(crowd.sent(), may_lack=crowd.may_lack())
    print(f"# {crowd.acked()} acknowledged, {refused} refused at the end, "
          f"{len(crowd.may_lack())} without an ack")


def test_reads_what_the_sockets_hold(t):
    """Events that were written before the signal are kept, asked for acks or
    not, by each way in."""
    up = t.upstream()
    t.lumnid(log={"level": "info"}, runs={"idle": "1h", "max_age": "2h"})
    sent = {}
    streams = [t.stream() for _ in range(10)]
    dgram, udp = t.dgram(), t.udp()
    t.daemon.signal(signal.SIGSTOP)
    for i, s in enumerate([*streams, dgram, udp]):
        # What fits the kernel's queues: a datagram socket's holds ten.
        count = 50 if i < 10 else 8
        sent[f"r{i}"] = list(range(count))
        for n in range(count):
            s.send({"runId": f"r{i}", "n": n})
    t.daemon.signal(signal.SIGTERM)
    t.daemon.signal(signal.SIGCONT)
    t.equal(t.daemon.wait(), 0, "exit status")
    t.equal(up.stats()["requests"], 0, "open runs stay open")
    # The next start seals them, as they are idle by its measure.
    t.lumnid(log={"level": "info"}, runs={"idle": "100ms"})
    up.wait_sums(events=sum(map(len, sent.values())))
    t.daemon.stop()
    t.check_runs(sent)
    t.equal({x["part"] for x in t.taken()}, {1}, "parts")


def test_restart_does_not_split_runs(t):
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    for n in range(5):
        s = t.stream()
        t.equal(s.ask({"runId": "r", "events": [{"n": n}], "ack": n,
                       "end": n == 4}), {"ack": n})
        if n < 4:
            t.daemon.stop()
            t.lumnid(log={"level": "info"}, runs={"idle": "1h",
                                                  "max_age": "2h"})
    up.wait_sums(events=5)
    t.equal([x["part"] for x in t.taken()], [1])
    t.check_runs({"r": [0, 1, 2, 3, 4]})


def test_waits_for_requests_in_flight(t):
    """An answer that takes a second is waited for: the batch is not sent
    again after the restart."""
    up = t.upstream(script="when=next:1 delay=1000")
    t.lumnid(log={"level": "info"})
    t.stream().send({"runId": "r", "n": 0, "type": "run_end"})
    up.wait_sums(requests=1)
    t.daemon.stop()
    t.lumnid()
    t.stream().send({"runId": "s", "n": 0, "type": "run_end"})
    up.wait_sums(requests=2)
    t.daemon.stop()
    t.check_runs({"r": [0], "s": [0]})


def test_gives_up_requests_after_five_seconds(t):
    """An upstream that never answers does not hold up the end; the batch is
    sent again, with the same bytes under the same key."""
    up = t.upstream(script="when=next:1 stall=before", dedupe=True)
    t.lumnid(log={"level": "info"}, upstream={"timeout": "60s"})
    t.stream().send({"runId": "r", "n": 0, "type": "run_end"})
    up.wait_sums(requests=1)
    t.daemon.stop(seconds=9 / lumnid_it.SLOW)
    t.lumnid()
    up.wait_sums(events=1)
    t.check_runs({"r": [0]})
    t.equal(len({x["id"] for x in up.requests()}), 1, "ids")


def test_a_second_sigterm(t):
    up = t.upstream(script="when=next:1 stall=before", dedupe=True)
    t.lumnid(log={"level": "info"}, upstream={"timeout": "60s"})
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [{"n": 0}], "end": True,
                   "ack": 1}), {"ack": 1})
    up.wait_sums(requests=1)
    t.daemon.signal(signal.SIGTERM)
    t.daemon.wait_line("stopping")
    t.daemon.signal(signal.SIGTERM)
    t.equal(t.daemon.wait(4 / lumnid_it.SLOW), 0, "exit status")
    t.lumnid()
    up.wait_sums(events=1)
    t.check_runs({"r": [0]})


def test_sigterm_again_and_again(t):
    """One that came after the loop had ended, while files were closed, met
    the default action: the end was by signal, not exit status 0."""
    t.upstream()
    t.lumnid(log={"level": "info"})
    t.daemon.signal(signal.SIGTERM)
    t.daemon.wait_line("stopping")
    while t.daemon.alive():
        t.daemon.signal(signal.SIGTERM)
    t.equal(t.daemon.wait(), 0, "exit status")


def test_head_has_no_body(t):
    """A body after HEAD was taken for the next answer on the connection."""
    t.upstream()
    t.lumnid(log={"level": "info"}, listen={"http": "127.0.0.1:0"})
    port = wait_for("the HTTP listener", t.daemon.http_port)
    con = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for method in "HEAD", "GET", "HEAD", "GET":
        con.request(method, "/healthz")
        answer = con.getresponse()
        body = answer.read()
        t.equal(answer.status, 200, "status")
        t.equal(body == b"", method == "HEAD", "an empty body")
    con.close()


if __name__ == "__main__":
    lumnid_it.main()
