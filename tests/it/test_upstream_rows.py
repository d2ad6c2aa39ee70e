#!/usr/bin/python3
"""The table of answers, row by row: what is tried again, what is held, and
that nothing is lost either way."""

import email.utils
import json
import os
import signal
import time

import lumnid_it
from lumnid_it import KEY, wait_for

# GET /status tells the books.
BOOKS = {"http": "127.0.0.1:0"}


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
        c.lumnid(listen=BOOKS, **conf)
        worlds[name] = (c, up, send_runs(c, n))
    for name, (c, up, sent) in worlds.items():
        check(name, c, up)
    for c, up, sent in worlds.values():
        total = sum(map(len, sent.values()))
        up.wait_sums(events=total, seconds=90)
        c.check_books(accepted=total, delivered=total, pending=0, dead=0)
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
    due = int(time.time()) + 4

    def check(name, c, up):
        up.wait_sums(requests=2)
        first, second = [x["time"] for x in up.requests()[:2]]
        early = (first + 2 if name == "seconds" else due) - second
        t.true(early <= 0, f"{name}: {early} s early")
    date = email.utils.formatdate(due, usegmt=True)
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
    t.lumnid(env={"LUMNI_API_KEY": ""}, listen=BOOKS,
             upstream={"api_key_file": path})
    sent = send_runs(t, 10)
    t.daemon.wait_line("upstream_hold.*API key")
    code, body = t.daemon.get("/readyz")
    t.true(code == 503 and "API key" in body, f"readyz: {code} {body}")
    write(KEY)
    start = time.monotonic()
    up.wait_sums(events=20)
    t.true(time.monotonic() - start < 8 * lumnid_it.SLOW, "within seconds")
    t.daemon.wait_line("upstream_hold_over")
    t.equal(t.daemon.get("/readyz")[0], 200, "readyz")
    t.check_books(accepted=20, delivered=20, pending=0, dead=0)
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


def refused(t, status, **conf):
    """Runs around one whose event 3 is refused; the script is in force."""
    up = t.upstream(dedupe=True, script=f"marker=POISON status={status} "
                    f"body={{\"error\":\"no field n in event 3\"}}")
    t.lumnid(listen=BOOKS, **conf)
    s = t.stream()
    sent = {f"r{i}": list(range(8)) for i in range(3)}
    for n in range(8):
        for run in sent:
            s.send({"runId": run, "n": n,
                    "text": "POISON" if (run, n) == ("r1", 3) else "fine",
                    "type": "run_end" if n == 7 else "step"})
    up.wait_sums(events=23)
    return up, sent


def check_letter(t, status, answer="no field n in event 3"):
    """One dead letter with all that a person wants to know."""
    letters = t.dead_letters()
    t.equal(len(letters), 1, "letters")
    letter = letters[0]
    t.equal((letter["runId"], letter["kind"], letter["status"]),
            ("r1", "run", status), "the letter")
    t.true(answer in letter["answer"], f"the answer: {letter}")
    t.true(letter["attempts"] >= 1, "attempts")
    t.true(letter["at"].endswith("Z"), "a time")
    t.equal([(e["index"], e["event"]["n"], e["event"]["text"])
             for e in letter["events"]], [(3, 3, "POISON")], "the event")


def test_refused_event_is_found(t):
    """Whatever else is in its batch is delivered, in order; it alone is
    buried."""
    worlds = []
    for status in (400, 409, 410, 422, 418):
        c = t.sub(str(status))
        worlds.append((status, c, *refused(c, status)))
    for status, c, up, sent in worlds:
        c.check_books(accepted=24, delivered=23, dead=1, pending=0)
        c.daemon.stop()
        c.check_runs(sent, may_lack={("r1", 3)})
        check_letter(c, status)
        t.equal(up.stats()["violations"], 0)


def test_conflict_with_an_earlier_attempt(t):
    """The answer is lost, and the upstream says 409 while it is at work on
    the first attempt: all is waited for, nothing is cut, nothing comes
    twice."""
    up = t.upstream(dedupe=True, script="when=next:1 stall=after\n"
                    "when=next:3 status=409 body={\"error\":\"in progress\"}")
    t.lumnid(listen=BOOKS, upstream={"timeout": "1s", "connections": 1})
    s = t.stream()
    t.equal(s.ask({"runId": "r1", "ack": 1, "end": True, "events": [
        {"n": n} for n in range(8)]}), {"ack": 1}, "answer")
    up.wait_sums(requests=5, seconds=90)
    t.check_books(accepted=8, delivered=8, dead=0, pending=0, seconds=60)
    t.daemon.stop()
    t.check_runs({"r1": list(range(8))})
    t.equal([x["status"] for x in up.requests()], [0, 409, 409, 409, 202],
            "answers")
    t.equal(len({x["id"] for x in up.requests()}), 1, "ids")


def test_crash_while_a_piece_is_under_way(t):
    """A piece of a batch is taken, and lumnid is killed before the answer:
    the next process asks for that piece again, under its id."""
    up = t.upstream(dedupe=True, script="marker=POISON status=400\n"
                    "marker=SLOW delay=1500")
    t.lumnid(listen=BOOKS, upstream={"connections": 1})
    s = t.stream()
    t.equal(s.ask({"runId": "r1", "ack": 1, "end": True, "events": [
        {"n": n, "text": {1: "POISON", 5: "SLOW", 14: "POISON"}.get(n, "")}
        for n in range(16)]}), {"ack": 1}, "answer")
    # 0, 1 (refused), 2-3, then 4-7, which is slow.
    up.wait_sums(events=7)
    t.daemon.kill()
    t.lumnid()
    t.check_books(accepted=16, delivered=14, dead=2, pending=0, seconds=60)
    t.daemon.stop()
    t.check_runs({"r1": list(range(16))}, may_lack={("r1", 1), ("r1", 14)})
    t.true(up.stats()["duplicates"] >= 1, "the piece came again as it was")


def test_crash_while_bisecting(t):
    """What was delivered of a batch is not sent again after a crash."""
    up = t.upstream(script="delay=30\nmarker=POISON status=400")
    t.lumnid(listen=BOOKS, runs={"max_events": 64})
    s = t.stream()
    t.equal(s.ask({"runId": "r1", "ack": "all", "events": [
        {"n": n, "text": "POISON" if n in (17, 50) else "fine"}
        for n in range(64)]}), {"ack": "all"}, "answer")
    up.wait_sums(batches=2)
    for _ in range(3):
        t.daemon.kill()
        seen = up.stats()["requests"]
        t.lumnid()
        up.wait_sums(requests=seen + 2)
    t.check_books(accepted=64, delivered=62, dead=2, pending=0, seconds=60)
    t.daemon.stop()
    got = []
    for line in up.requests():
        if line["taken"]:
            got += [e["n"] for e in line["body"]["events"]]
    want = [n for n in range(64) if n not in (17, 50)]
    # A request that a kill cut off may come once more, with the same bytes.
    t.equal(list(dict.fromkeys(got)), want, "what came")
    ids = [x["id"] for x in up.requests() if x["taken"]]
    t.true(len(ids) - len(set(ids)) <= 3, f"came again: {ids}")
    t.equal(sorted(e["event"]["n"] for letter in t.dead_letters()
                   for e in letter["events"]), [17, 50], "letters")


def test_size_limit_is_learned(t):
    """A batch that is too large is cut in two until it fits; what is sealed
    later fits at once."""
    up = t.upstream(dedupe=True, script="decoded_over=20000 status=413")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    filler = "x" * 1000
    sent = {}

    def send(run, n):
        sent[run] = list(range(n))
        for i in range(n):
            s.send({"runId": run, "n": i, "filler": filler})
        s.send({"runId": run, "events": [], "end": True})
    send("first", 100)
    up.wait_sums(events=100)
    t.true(up.stats()["answers"][4] >= 1, "it was refused at first")
    t.daemon.wait_line("upstream_limit_learned")
    before = up.stats()["answers"][4]
    for i in range(5):
        send(f"later{i}", 40)
    up.wait_sums(events=300)
    t.equal(up.stats()["answers"][4], before, "413s after the first")
    t.check_books(accepted=300, delivered=300, pending=0, dead=0)
    t.daemon.stop()
    t.check_runs(sent)


def test_taken_then_too_large(t):
    """An upstream that takes a batch without an answer and later refuses it
    gets its events again, in pieces: none is lost, and the books hold."""
    up = t.upstream(dedupe=True, script="when=next:1 reset=after\n"
                    "decoded_over=500 status=413")
    t.books_whole = False
    t.lumnid(listen=BOOKS)
    s = t.stream()
    for n in range(8):
        s.send({"runId": "r1", "n": n, "filler": "x" * 100,
                "type": "run_end" if n == 7 else "step"})
    t.check_books(accepted=8, delivered=8, dead=0, pending=0)
    t.daemon.stop()
    whole, *pieces = t.taken()
    t.equal([e["n"] for e in whole["body"]["events"]], list(range(8)))
    t.equal([e["n"] for x in pieces for e in x["body"]["events"]],
            list(range(8)), "the pieces")
    for piece in pieces:
        t.true(piece["id"].startswith(whole["id"] + "."), piece["id"])


def test_one_event_too_large(t):
    """It goes to the dead letters, and its neighbours are delivered."""
    up = t.upstream(dedupe=True, script="decoded_over=20000 status=413")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    for n in range(8):
        s.send({"runId": "r1", "n": n, "filler": "x" * (30000 if n == 3
                                                        else 100),
                "type": "run_end" if n == 7 else "step"})
    up.wait_sums(events=7)
    t.check_books(accepted=8, delivered=7, dead=1, pending=0)
    t.daemon.stop()
    t.check_runs({"r1": list(range(8))}, may_lack={("r1", 3)})
    t.equal([(x["status"], len(x["events"])) for x in t.dead_letters()],
            [(413, 1)], "letters")


def test_no_zstd(t):
    """Refused for its coding: sent plain, under the same id, and remembered;
    a reload tries the coding again."""
    up = t.upstream(dedupe=True, script="encoding=zstd status=415")
    t.lumnid(listen=BOOKS)
    sent = send_runs(t, 3)
    up.wait_sums(events=6)
    first = up.stats()["answers"][4]
    t.true(1 <= first <= 4, f"{first} refused")
    s = t.stream()
    s.send({"runId": "later", "n": 0, "type": "run_end"})
    up.wait_sums(events=7)
    t.equal(up.stats()["answers"][4], first, "it is remembered")
    up.script("")
    t.daemon.signal(signal.SIGHUP)
    t.daemon.wait_line("reloaded")
    s.send({"runId": "last", "n": 0, "type": "run_end"})
    up.wait_sums(events=8)
    t.check_books(accepted=8, delivered=8, pending=0, dead=0)
    t.daemon.stop()
    sent.update(later=[0], last=[0])
    t.check_runs(sent)
    took = [(x["body"]["runId"], x["encoding"]) for x in t.taken()]
    t.equal({c for r, c in took if r != "last"}, {"none"}, "codings")
    t.equal(dict(took)["last"], "zstd", "after the reload")


def test_partial_success(t):
    """Taken, but for the events that the answer lists."""
    worlds = []
    for status in (400, 422, 429, 503):
        c = t.sub(str(status))
        up = c.upstream(dedupe=True, script="when=next:1 marker=POISON "
                        f"partial={status}")
        c.lumnid(listen=BOOKS)
        s = c.stream()
        for n in range(8):
            s.send({"runId": "r1", "n": n,
                    "text": "POISON" if n == 3 else "fine",
                    "type": "run_end" if n == 7 else "step"})
        worlds.append((status, c, up))
    for status, c, up in worlds:
        later = status in (429, 503)
        up.wait_sums(events=8 if later else 7)
        c.check_books(accepted=8, delivered=8 if later else 7,
                      dead=0 if later else 1, pending=0)
        c.daemon.stop()
        got = sorted(e["n"] for x in c.taken()
                     for i, e in enumerate(x["body"]["events"])
                     if i not in x.get("refused", ()))
        t.equal(got, [n for n in range(8) if n != 3 or later], str(status))
        if not later:
            check_letter(c, 202, "refused")


def test_multi_status(t):
    """207 with a status per event."""
    t.books_whole = False       # the upstream notes all of it as taken
    answer = json.dumps({"results": [{"status": 201}] * 3 +
                        [{"status": 422, "error": "no"}] +
                        [{"status": 201}] * 4})
    up = t.upstream(dedupe=True,
                    script=f"when=next:1 status=207 body={answer}")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    for n in range(8):
        s.send({"runId": "r1", "n": n, "text": "POISON" if n == 3 else "fine",
                "type": "run_end" if n == 7 else "step"})
    up.wait_sums(batches=1)
    t.check_books(accepted=8, delivered=7, dead=1, pending=0)
    t.daemon.stop()
    check_letter(t, 207, "422")


def test_refused_record(t):
    """A record that is refused is buried; the runs and the records behind it
    go on."""
    up = t.upstream(dedupe=True, script="marker=POISON status=422")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    for i in range(4):
        s.send({"change": {"n": i, "text": "POISON" if i == 1 else "fine"}})
    sent = send_runs(t, 2)
    up.wait_sums(events=4, records=3)
    t.check_books(accepted=4, delivered=4, pending=0, dead=0)
    t.check_books(records=True, accepted=4, delivered=3, pending=0, dead=1)
    t.daemon.stop()
    t.check_runs(sent)
    t.equal([x["body"]["n"] for x in t.taken() if x["route"] == "changes"],
            [0, 2, 3], "changes in order")
    t.equal([x["kind"] for x in t.dead_letters()], ["change"], "letters")


def test_records_do_not_wait_for_runs(t):
    """One route is refused, the other goes on."""
    up = t.upstream(dedupe=True, script="route=events status=404")
    t.lumnid(listen=BOOKS)
    sent = send_runs(t, 5)
    t.daemon.wait_line("upstream_hold")
    t.equal(t.daemon.get("/readyz")[0], 503, "readyz")
    s = t.stream()
    for i in range(10):
        s.send({"policy": {"n": i}})
    up.wait_sums(records=10)
    t.check_books(records=True, accepted=10, delivered=10, pending=0)
    t.check_books(accepted=10, delivered=0, pending=10, dead=0)
    up.script("")
    up.wait_sums(events=10)
    wait_for("readyz", lambda: t.daemon.get("/readyz")[0] == 200)
    t.daemon.stop()
    t.check_runs(sent)


def test_readiness_tells_what_to_correct(t):
    worlds = {}
    for status, words in ((401, "API key"), (403, "API key"),
                          (404, "upstream.url"), (405, "upstream.url"),
                          (308, "upstream.url")):
        c = t.sub(str(status))
        c.upstream(script=f"status={status}")
        c.lumnid(listen=BOOKS)
        send_runs(c, 1)
        worlds[status] = (c, words)
    for status, (c, words) in worlds.items():
        c.daemon.wait_line(f"upstream_hold.*{words}")
        code, body = c.daemon.get("/readyz")
        t.equal(code, 503, f"{status}: readyz")
        t.true(words in body, f"{status}: {body}")
        st = c.check_books(accepted=2, pending=2, delivered=0, dead=0)
        t.equal(st["upstream"]["state"], "hold", str(status))
        t.true(words in st["upstream"]["why"], f"{status}: {st}")


if __name__ == "__main__":
    lumnid_it.main()
