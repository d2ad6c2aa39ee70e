#!/usr/bin/python3
"""lumnictl change, policy and dead, with the real lumnid and upstream."""

import glob
import json
import os

import lumnid_it
from lumnid_it import program, wait_for


def ctl(t, *argv, stdin=None, status=0):
    done = t.run(program("lumnictl"), "--socket", t.stream_path, *argv,
                 stdin=stdin)
    t.equal(done.returncode, status, done.stderr + done.stdout)
    return done


def taken(t, route):
    return [line["body"] for line in t.each_taken() if line["route"] == route]


def test_change(t):
    t.upstream()
    t.lumnid()
    done = ctl(t, "change", "--kind", "code", "--ref", "git:9f2c1a",
               "--summary", "say \"hello\"")
    t.equal(done.stdout, "recorded the change\n")
    done = ctl(t, "change", "-k", "weather", "-r", "rain", "-a",
               "2026-11-23T12:00:00Z")
    t.true("passed on" in done.stderr, done.stderr)
    wait_for("both changes", lambda: len(taken(t, "changes")) == 2,
             context=t.logs)
    first, second = taken(t, "changes")
    t.true("T" in first.pop("at"), "at")
    t.equal(first, {"kind": "code", "ref": "git:9f2c1a",
                    "summary": "say \"hello\""})
    t.equal(second, {"kind": "weather", "ref": "rain",
                     "at": "2026-11-23T12:00:00Z"})


def test_policy(t):
    t.upstream()
    t.lumnid()
    ctl(t, "-q", "policy", "-", stdin='{"rules": [{"max": 5}]}')
    path = os.path.join(t.dir, "policy.json")
    with open(path, "w", encoding="ascii") as f:
        f.write('{"a": 1}\n')
    ctl(t, "policy", path)
    wait_for("both policies", lambda: len(taken(t, "policies")) == 2,
             context=t.logs)
    t.equal(taken(t, "policies")[0]["rules"], [{"max": 5}])
    ctl(t, "policy", "-", stdin="[1]", status=1)
    ctl(t, "policy", "-", stdin="{", status=1)
    ctl(t, "policy", path + ".absent", status=1)


def test_usage(t):
    t.upstream()
    t.lumnid()
    ctl(t, "change", "--kind", "code", status=2)
    ctl(t, "change", "--kind", "code", "--ref", "x", "more", status=2)
    ctl(t, "change", "-k", "code", "-r", "x", "-a", "noon", status=2)
    ctl(t, "policy", status=2)
    ctl(t, "dead", "burn", status=2)
    t.daemon.stop()
    done = ctl(t, "change", "-k", "code", "-r", "x", status=3)
    t.true("is lumnid running" in done.stderr, done.stderr)


def letters(t):
    return sorted(glob.glob(os.path.join(t.dir, "data", "dead", "*.json")))


def test_dead(t):
    """What the upstream refused is shown, sent again once it is mended, and
    deleted."""
    t.letters_whole = False
    up = t.upstream(script="marker=poison status=422\n")
    t.lumnid()
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [
        {"n": 1}, {"n": 2, "text": "poison"}, {"n": 3}],
        "end": True, "ack": 1}), {"ack": 1})
    wait_for("the letter", lambda: letters(t), context=t.logs)
    wait_for("the others", lambda: sum(
        len(b["events"]) for b in taken(t, "events")) == 2, context=t.logs)
    where = ("dead", "--dir", os.path.join(t.dir, "data", "dead"))
    name = os.path.basename(letters(t)[0])
    listed = ctl(t, *where, "list").stdout
    t.true(name in listed and "422" in listed and " r\n" in listed, listed)
    shown = json.loads(ctl(t, *where, "show", name).stdout)
    t.equal(shown["events"][0]["event"]["n"], 2)
    t.equal(shown["status"], 422)
    ctl(t, *where, "show", "../" + name, status=1)
    up.script("")
    ctl(t, *where, "retry", "--all")
    t.equal(letters(t), [])
    wait_for("the third", lambda: sum(
        len(b["events"]) for b in taken(t, "events")) == 3, context=t.logs)
    t.equal(ctl(t, *where, "list").stdout, "no letters\n")


def test_dead_delete(t):
    t.letters_whole = False
    t.upstream(script="marker=poison status=400\n")
    t.lumnid()
    s = t.stream()
    for i in range(3):
        s.ask({"runId": f"r{i}", "events": [{"text": "poison"}],
               "end": True, "ack": i})
    wait_for("the letters", lambda: len(letters(t)) == 3, context=t.logs)
    where = ("dead", "--dir", os.path.join(t.dir, "data", "dead"))
    ctl(t, *where, "delete", os.path.basename(letters(t)[0]))
    t.equal(len(letters(t)), 2)
    t.daemon.stop()
    done = ctl(t, *where, "retry", "--all", status=3)
    t.true("the letter is kept" in done.stderr, done.stderr)
    t.equal(len(letters(t)), 2)
    ctl(t, *where, "delete", "--all")
    t.equal(letters(t), [])


if __name__ == "__main__":
    lumnid_it.main()
