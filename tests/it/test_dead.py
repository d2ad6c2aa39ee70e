#!/usr/bin/python3
"""Dead letters and ages: their limits, what is counted, and what an operator
does with them."""

import json
import os
import re
import time

import lumnid_it
from lumnid_it import wait_for

BOOKS = {"http": "127.0.0.1:0"}


def where(t):
    return os.path.join(t.dir, "data", "dead")


def names(t):
    return sorted(os.listdir(where(t)))


def dead(t, *args, status=0):
    done = t.lumnictl("--socket", t.stream_path, "dead", "--dir", where(t),
                      *args)
    t.equal(done.returncode, status, done.stdout + done.stderr)
    return done


def metric(t, name):
    for line in t.daemon.get("/metrics")[1].split("\n"):
        if line.startswith(name + " ") or line.startswith(name + "{"):
            return float(line.split()[-1])
    raise lumnid_it.Failure(f"no metric {name}")


def refuse(t, n, size=10, **conf):
    """An upstream that refuses n events of one run, and all of them do."""
    up = t.upstream(dedupe=True, script="marker=POISON status=422")
    t.lumnid(listen=BOOKS, **conf)
    bury(t, 0, n, size)
    return up


def bury(t, first, n, size=10):
    s = t.stream()
    for i in range(first, first + n):
        t.equal(s.ask({"runId": f"r{i}", "ack": i, "end": True, "events": [
            {"n": i, "text": "POISON" + "x" * size}]}), {"ack": i}, "answer")


def test_limit_of_size(t):
    """The oldest go, are counted, and the log says so; the books balance."""
    t.letters_whole = False
    up = refuse(t, 40, 4000, storage={"dead_max": "64KiB"})
    t.check_books(accepted=40, dead=40, pending=0, delivered=0, seconds=60)
    t.daemon.wait_line("dead_letters_deleted")
    wait_for("fewer letters", lambda: sum(os.path.getsize(
        os.path.join(where(t), x)) for x in names(t)) <= 65536)
    left = [json.load(open(os.path.join(where(t), x), encoding="utf-8"))
            ["events"][0]["event"]["n"] for x in names(t)]
    t.true(5 <= len(left) <= 16, f"left: {left}")
    t.equal(metric(t, "lumnid_dead_letters"), len(left), "the gauge")
    t.equal(metric(t, "lumnid_dead_events_deleted_total"),
            40 - len(left), "the counter")
    t.daemon.stop()
    t.lumnid()
    t.equal(metric(t, "lumnid_dead_events_deleted_total"),
            40 - len(left), "the counter, after a restart")
    t.equal(up.stats()["events"], 0, "events taken")


def test_deleted_by_hand(t):
    """What an operator has deleted makes room: once it was counted for ever,
    and the newest letters went instead."""
    t.letters_whole = False
    refuse(t, 12, 4000, storage={"dead_max": "64KiB"})
    t.check_books(dead=12, pending=0, seconds=60)
    dead(t, "delete", "--all")
    bury(t, 100, 6, 4000)
    t.check_books(dead=18, pending=0, seconds=60)
    t.equal(len(names(t)), 6, "letters")


def test_limit_of_age(t):
    t.letters_whole = False
    refuse(t, 3, storage={"dead_max_age": "2s"})
    t.check_books(dead=3, pending=0, seconds=60)
    t.true(len(names(t)) == 3, "they are there for a while")

    def gone():
        bury(t, 1000 + int(time.monotonic() * 100), 1)
        return not any("-1+" in x or re.search(r"-[123]-0\+1", x)
                       for x in names(t))
    wait_for("the first to go", gone, step=0.3)
    t.daemon.wait_line("dead_letters_deleted")


def test_retry_keeps_the_order(t):
    """Many events of one batch are refused in the same second; the names
    sort as text, so 10 went before 9."""
    t.letters_whole = False
    up = t.upstream(dedupe=True, script="marker=POISON status=422")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    bad = [n for n in range(24) if n % 2]
    t.equal(s.ask({"runId": "r", "ack": 1, "end": True, "events": [
        {"n": n, "text": "POISON" if n in bad else "fine"}
        for n in range(24)]}), {"ack": 1}, "answer")
    t.equal(s.ask({"runId": "r", "ack": 2, "end": True, "events": [
        {"n": n, "text": "POISON"} for n in range(100, 103)]}), {"ack": 2},
        "answer")
    s.ask({"runId": "other", "ack": 3, "end": True, "events": [
        {"n": 0, "text": "POISON"}]})
    t.check_books(accepted=28, dead=16, delivered=12, pending=0, seconds=60)
    t.equal(len(names(t)), 16, "letters")
    up.script("")
    listed = [int(x.split("+")[0].rsplit("-", 1)[1])
              for x in dead(t, "list").stdout.split("\n")
              if x.endswith(" r")][:12]
    t.equal(listed, sorted(listed), "the list")
    # In any order by name; all of one run first, the others by --all.
    few = [x for x in names(t) if re.search(r"-1-(1|9|11)\+1", x)]
    dead(t, "retry", *sorted(few, reverse=True))
    dead(t, "retry", "--all")
    t.equal(names(t), [], "letters")
    t.check_books(accepted=44, dead=16, delivered=28, pending=0, seconds=60)
    t.daemon.stop()
    # A part all of which was refused leaves a gap in their numbers.
    bodies = [x["body"] for x in t.each_taken()]
    came = [e["n"] for b in bodies if b["runId"] == "r"
            for e in b["events"]]
    good = [n for n in range(24) if n % 2 == 0]
    rest = [n for n in bad if n not in (1, 9, 11)]
    t.equal(came, good + [1, 9, 11] + rest + [100, 101, 102], "what came")
    t.equal([len(b["events"]) for b in bodies if b["runId"] == "other"],
            [1], "the other run")


def test_retry_that_fails_keeps_what_is_behind(t):
    """A letter that cannot be sent keeps the later ones of its run, not
    those of other runs."""
    t.letters_whole = False
    t.upstream(dedupe=True, script="marker=POISON status=422")
    t.lumnid(listen=BOOKS)
    s = t.stream()
    s.ask({"runId": "r", "ack": 1, "end": True, "events": [
        {"n": n, "text": "POISON"} for n in range(3)]})
    s.ask({"runId": "q", "ack": 2, "end": True, "events": [
        {"n": 0, "text": "POISON"}]})
    t.check_books(dead=4, pending=0, seconds=60)
    first = [x for x in names(t) if x.endswith("-0+1.json")][0]
    path = os.path.join(where(t), first)
    with open(path, encoding="utf-8") as f:
        letter = json.load(f)
    letter["events"] = []
    with open(path, "w", encoding="utf-8") as f:
        json.dump(letter, f)
    before = len(names(t))
    t.equal(letter["runId"], "r", "the first letter")
    done = dead(t, "retry", "--all", status=1)
    t.equal(done.stderr.count("earlier letter of its run"), 2, done.stderr)
    # The other's was sent, refused again, and is a letter once more.
    t.check_books(dead=5, pending=0, seconds=60)
    t.equal(len(names(t)), before, "letters")


def test_max_age(t):
    """Off by default; when set, what could not be delivered for so long is
    dropped, with a line, a reason and a count."""
    worlds = []
    for age in ("never", "2s"):
        c = t.sub(age)
        c.upstream(script="status=503")
        c.lumnid(listen=BOOKS, storage={"max_age": age})
        s = c.stream()
        for i in range(3):
            s.ask({"runId": f"r{i}", "ack": i, "end": True,
                   "events": [{"n": 0}]})
        worlds.append((age, c))
    age, c = worlds[1]
    c.daemon.wait_line("events_dropped.*storage.max_age")
    st = c.check_books(accepted=3, pending=0, delivered=0, dead=0, seconds=60)
    t.equal(st["events"]["dropped"]["age"], 3, "dropped")
    t.equal(metric(c, 'lumnid_events_dropped_total{reason="age"}'), 3,
            "the counter")
    worlds[0][1].check_books(accepted=3, pending=3, delivered=0, dead=0)


if __name__ == "__main__":
    lumnid_it.main()
