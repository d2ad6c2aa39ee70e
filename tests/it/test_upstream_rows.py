#!/usr/bin/python3
"""The table of answers, row by row: what is tried again, what is held, and
that nothing is lost either way."""

import email.utils
import os
import time

import lumnid_it
from lumnid_it import KEY


def send_runs(t, n=3):
    """n complete runs of two events; what check_runs() wants to know."""
    s = t.stream()
    sent = {}
    for i in range(n):
        sent[f"r{i}"] = [0, 1]
        s.send({"runId": f"r{i}", "n": 0},
               {"runId": f"r{i}", "n": 1, "type": "run_end"})
    return sent


def rows(t, scripts, check, n=3, **conf):
    """Play each script to a lumnid of its own, all at the same time."""
    worlds = {}
    for name, script in scripts.items():
        c = t.sub(name)
        up = c.upstream(dedupe=True, script=script)
        c.lumnid(**conf)
        worlds[name] = (c, up, send_runs(c, n))
    for name, (c, up, sent) in worlds.items():
        check(name, c, up)
    for c, up, sent in worlds.values():
        up.wait_sums(events=sum(map(len, sent.values())), seconds=90)
        c.daemon.stop()
        c.check_runs(sent)
        c.check_retries()


RETRIED = [408, 425, 429, 500, 502, 503, 504, 599]


def test_retried_statuses(t):
    """Asked again with the same bytes under the same key, until taken."""
    def check(name, c, up):
        up.wait_sums(requests=3)
        t.true(any(x["status"] == int(name) for x in up.requests()), name)
    rows(t, {str(x): f"when=next:2 status={x} body={{\"error\":\"x\"}}"
             for x in RETRIED}, check)


def test_no_answer(t):
    def check(_name, _c, _up):
        pass
    rows(t, {
        "reset before": "when=next:2 reset=before",
        "reset after": "when=next:2 reset=after",
        "cut before": "when=next:2 cut=before",
        "cut after": "when=next:2 cut=after",
        "stall before": "when=next:2 stall=before",
        "stall after": "when=next:2 stall=after",
        "close": "close=1",
    }, check, upstream={"timeout": "1s"})


def test_upstream_not_there_at_first(t):
    up = t.upstream()
    up.stop()
    t.lumnid()
    sent = send_runs(t, 20)
    t.daemon.wait_line("upstream_down")
    up = t.upstream()
    up.wait_sums(events=40)
    t.daemon.stop()
    t.check_runs(sent)


def test_retry_after(t):
    """Seconds and a date: no request comes before its time."""
    def spread(c):
        times = [x["time"] for x in lumnid_it.read_lines(c.out)]
        return times[1] - times[0]

    def check(name, c, up):
        up.wait_sums(requests=2)
        least = 2.0 if name == "seconds" else 1.0
        t.true(spread(c) >= least, f"{name}: {spread(c)} s")
    date = email.utils.formatdate(time.time() + 3, usegmt=True)
    rows(t, {
        "seconds": "when=next:1 status=503 retry_after=2",
        "date": "when=next:1 status=429 retry_after="
                + date.replace(" ", "_"),
    }, check)


HELD = [401, 403, 404, 405, 301, 302, 307, 308]


def test_held_statuses(t):
    """Everything is kept; one request at a time asks whether it is over."""
    def check(name, c, up):
        c.daemon.wait_line("upstream_hold")
        up.wait_sums(requests=1)
        t.equal({x["taken"] for x in up.requests()}, {False}, name)
        # What was under way already, then one probe at a time: far fewer
        # requests than the 30 batches that wait.
        t.true(up.stats()["requests"] <= 10, f"{name}: {up.stats()}")
        up.script("")
    rows(t, {str(x): f"status={x} location=http://127.0.0.1:1/"
             for x in HELD}, check, n=30)


def test_redirects_are_not_followed(t):
    other = t.sub("elsewhere")
    away = other.upstream()
    up = t.upstream(script=f"status=307 location={away.url}/v1/ingest/events")
    t.lumnid()
    send_runs(t, 1)
    t.daemon.wait_line("upstream_hold")
    t.equal(away.stats()["requests"], 0)
    t.true(up.stats()["requests"] >= 1, "asked")
    up.script("")
    up.wait_sums(events=2)


def test_corrected_key_file(t):
    """A wrong key holds everything; a corrected file is noticed by itself,
    within seconds."""
    path = os.path.join(t.dir, "key")

    def write(key):
        with open(path + ".new", "w", encoding="ascii",
                  opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(key + "\n")
        os.rename(path + ".new", path)
    write("wrong")
    up = t.upstream()
    t.lumnid(env={"LUMNI_API_KEY": ""},
             upstream={"api_key_file": path})
    sent = send_runs(t, 10)
    t.daemon.wait_line("upstream_hold")
    write(KEY)
    start = time.monotonic()
    up.wait_sums(events=20)
    t.true(time.monotonic() - start < 8 * lumnid_it.SLOW, "within seconds")
    t.daemon.stop()
    t.check_runs(sent)
    t.true(any(x["status"] == 401 for x in up.requests()), "held first")
    with open(t.conf, encoding="utf-8") as f:
        t.true(KEY not in f.read() and KEY not in t.daemon.log(10000),
               "the key is nowhere to be read")


def test_order_within_a_run_survives_failures(t):
    """Many parts of few runs, while a third of all requests fails."""
    up = t.upstream(dedupe=True, script="seed=2\n"
                    "when=random:0.1 status=503 retry_after=0\n"
                    "when=random:0.1 reset=after\n"
                    "when=random:0.1 reset=before\n")
    t.lumnid(runs={"max_events": 3}, log={"level": "info"})
    s = t.stream()
    sent = {f"r{i}": list(range(60)) for i in range(4)}
    for n in range(60):
        for run in sent:
            s.send({"runId": run, "n": n})
    up.wait_sums(requests=20)
    up.script("")
    up.wait_sums(events=240, seconds=90)
    t.daemon.stop()
    t.check_runs(sent)
    t.check_retries()


def test_what_is_refused_is_not_dropped(t):
    """While one batch is refused, the others go on, and it is kept."""
    up = t.upstream(dedupe=True, script="marker=POISON status=503")
    t.lumnid()
    s = t.stream()
    s.send({"runId": "bad", "n": "POISON", "type": "run_end"})
    sent = send_runs(t, 20)
    up.wait_sums(events=40)
    up.script("")
    up.wait_sums(events=41)
    t.daemon.stop()
    sent["bad"] = ["POISON"]
    t.check_runs(sent)


if __name__ == "__main__":
    lumnid_it.main()
