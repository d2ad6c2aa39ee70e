#!/usr/bin/python3
"""Does the check bite that ends every integration test? One event or record
is taken away, or put in, on each side of the books: what clients were told,
what lumnid says, what the upstream got. See check_books_left()."""

import copy
import json

import lumnid_it
from lumnid_it import Failure, wait_for

POISON = "marker=POISON status=422\n"


def settle(t):
    """5 events, of which one is dead, and 2 changes; at rest and stopped."""
    up = t.upstream(script=POISON)
    t.lumnid(listen={"http": "127.0.0.1:0"}, runs={"idle": "300ms"})
    s = t.stream()
    for n in range(5):
        text = "POISON" if n == 3 else "fine"
        t.equal(s.ask({"runId": "r", "events": [{"n": n, "text": text}],
                       "ack": n}), {"ack": n}, "answer")
    for n in range(2):
        t.equal(s.ask({"change": {"kind": "code", "ref": f"git:{n}"},
                       "ack": n}), {"ack": n}, "answer")
    t.check_books(accepted=5, delivered=4, dead=1, pending=0)
    t.check_books(records=True, accepted=2, delivered=2)
    wait_for("the upstream's last line", lambda: sum(
        x["taken"] for x in up.requests()) >= 3)
    t.daemon.stop()
    up.stop()
    t.equal(t.check_books_left(), [], "as it is")


def bites(t, what):
    if not t.check_books_left():
        raise Failure(f"nobody has noticed: {what}")


def test_upstream(t):
    """It got one more, or one less."""
    settle(t)
    with open(t.out, encoding="utf-8") as f:
        lines = [json.loads(x) for x in f]
    for kind in ("events", "changes"):
        for change in (-1, 1):
            planted = copy.deepcopy(lines)
            for line in planted:
                if line["taken"] and line["route"] == kind:
                    break
            if kind == "changes" and change < 0:
                planted.remove(line)
            elif kind == "changes":
                planted.append(dict(line, id=line["id"] + "x"))
            elif change < 0:
                line["body"]["events"].pop()
            else:
                line["body"]["events"].append({"n": 99})
            with open(t.out, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(x) + "\n" for x in planted)
            bites(t, f"{kind} at the upstream: {change:+}")
    with open(t.out, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(x) + "\n" for x in lines)


def test_books(t):
    """lumnid counts one more, or one less, in any column."""
    settle(t)
    whole = copy.deepcopy(t.books)
    for kind in whole:
        for column in ("delivered", "dead", "accepted"):
            for change in (-1, 1):
                t.books = copy.deepcopy(whole)
                b = t.books[kind]
                b[column] += change
                # As lumnid's own sum would hold.
                if column == "accepted":
                    b["delivered"] += change
                else:
                    b["accepted"] += change
                bites(t, f"{kind}, {column}: {change:+}")
    t.books = whole


def test_clients(t):
    """They were told that one more is safe."""
    settle(t)
    told = lumnid_it.ACKED[t.stream_path]
    for kind in told:
        told[kind] += 1
        bites(t, f"{kind} acknowledged")
        told[kind] -= 1


def test_sum(t):
    """What lumnid says does not even add up."""
    settle(t)
    lines = list(t.daemon.lines)
    for i, line in enumerate(lines):
        if line and "books kind=events" in line:
            t.daemon.lines[i] = line.replace("accepted=5", "accepted=6")
    try:
        t.note_books(t.daemon)
    except Failure:
        t.daemon.lines[:] = lines
        t.note_books(t.daemon)
        return
    raise Failure("nobody has noticed")


if __name__ == "__main__":
    lumnid_it.main()
