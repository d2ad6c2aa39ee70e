#!/usr/bin/python3
"""A start does not grow with what waits: with a backlog of many batches and of
many bytes lumnid accepts as soon, and in as little memory, as with none. The
full measure is "make bench-durability"."""

import os
import time

import lumnid_it
from lumnid_it import Stream, wait_for

CONF = {"log": {"level": "info"}, "listen": {"http": "127.0.0.1:0"},
        "storage": {"durability": "never"},
        "runs": {"idle": "1h", "max_age": "2h"}}


def fill(t, batches, size):
    """So many batches of one event, with the upstream away."""
    t.lumnid(**CONF)
    s = t.stream()
    step = 100 if size < 10000 else 4
    for k in range(0, batches, step):
        s.send(*({"runId": f"b{i}", "end": True,
                  "events": [{"text": os.urandom(size // 2).hex()}],
                  **({"ack": i} if i == k + step - 1 else {})}
                 for i in range(k, k + step)))
        t.true("error" not in s.answer(), "refused")
    wait_for("the batches", lambda: t.daemon.status()["waiting"][
        "batches"] >= batches, 60, context=t.logs)
    t.daemon.kill()


def start(t):
    """(seconds to the first ack, the best of five; private KiB)."""
    took, memory = [], 0
    for i in range(5):
        begun = time.monotonic()
        t.lumnid(wait=False)
        while True:
            try:
                s = Stream(t.stream_path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.0005)
        answer = s.ask({"runId": "first", "ack": i, "events": [{"n": i}]})
        took.append(time.monotonic() - begun)
        t.equal(answer, {"ack": i}, "answer")
        s.close()
        memory = max(memory, t.daemon.private_kib())
        t.daemon.kill()
    return min(took), memory


def test_start_with_a_backlog(t):
    t.upstream().stop()
    t.configure(**CONF)
    none, none_kib = start(t)
    for name, batches, size in (("many", 4000, 200), ("large", 160, 500000)):
        sub = t.sub(name)
        sub.upstream().stop()
        fill(sub, batches, size)
        took, kib = start(sub)
        print(f"# {name}: {took * 1000:.0f} ms, {kib} KiB; none: "
              f"{none * 1000:.0f} ms, {none_kib} KiB")
        t.true(took < none + 0.1 * lumnid_it.SLOW,
               f"{name}: {took:.3f} s to the first ack, {none:.3f} s with "
               "nothing waiting")
        if "sanitizer" not in os.environ.get("LUMNID_SAN_CFLAGS", ""):
            t.true(kib < 8192, f"{name}: {kib} KiB private, "
                   f"{none_kib} with nothing waiting")
        sub.daemon.wait()
    t.daemon.wait()


if __name__ == "__main__":
    lumnid_it.main()
