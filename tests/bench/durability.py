#!/usr/bin/python3
"""What durability costs, and what a backlog costs at a start.

    make bench-durability [DURABILITY="--backlog 1024"]

Latency of acks (from the write of a message to its answer, one event each) at
several rates with storage.durability ack, always and never, beside the bare
fdatasync of the same disk in the same run: an append of 1 KiB, over and over.

Then the time from the start of the process to the first acknowledged event,
and private memory, with nothing in the spool, with --batches batches and with
--backlog MiB of them, side by side. The directory is below $TMPDIR.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "it"))
import lumnid_it                                            # noqa: E402
from lumnid_it import Stream, wait_for                      # noqa: E402

ARGS = None


def quantile(sorted_values, q):
    return sorted_values[min(len(sorted_values) - 1,
                             int(q * len(sorted_values)))]


def bare(where, seconds):
    """(p50, p99) of an append of 1 KiB and its fdatasync, in us."""
    path = os.path.join(where, "bare")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        os.write(fd, bytes(1024))
        os.fdatasync(fd)
        took.append((time.perf_counter() - begun) * 1e6)
    os.close(fd)
    os.unlink(path)
    took.sort()
    return quantile(took, .5), quantile(took, .99)


def test_latency(t):
    t.upstream(dedupe=True, extra=["--cheap", os.devnull]
               if ARGS.cheap else [])
    p50, p99 = bare(t.dir, ARGS.seconds / 2)
    print(f"{'what':<22}{'events/s':>9}{'p50 us':>10}{'p99 us':>10}")
    print(f"{'fdatasync, before':<22}{'':>9}{p50:>10.0f}{p99:>10.0f}")
    for durability in ("ack", "always", "never"):
        for rate in (100, 2000, 20000):
            t.lumnid(log={"level": "warn"},
                     storage={"durability": durability, "dir": os.path.join(
                         t.dir, f"{durability}-{rate}")})
            got = t.loadgen("--stream", t.stream_path, "--ack", "each",
                            "--rate", rate, "--events", int(
                                rate * ARGS.seconds), "--connections", 8,
                            "--window", 20000, "--runs", 64, "--prefix",
                            f"{durability}{rate}-", "--prepare")
            t.equal(got["errors"], 0, f"errors of {got}")
            print(f"{durability:<22}{rate:>9}{got['ack_p50_us']:>10}"
                  f"{got['ack_p99_us']:>10}", flush=True)
            t.daemon.stop()
    p50, p99 = bare(t.dir, ARGS.seconds / 2)
    print(f"{'fdatasync, after':<22}{'':>9}{p50:>10.0f}{p99:>10.0f}")


CONF = {"log": {"level": "info"}, "listen": {"http": "127.0.0.1:0"},
        "storage": {"spool_max": "4GiB", "journal_max": "2GiB",
                    "durability": "never"},
        "runs": {"idle": "1h", "max_age": "2h"}}


def fill(t, batches, size):
    """So many batches of one event each, with the upstream away."""
    t.lumnid(**CONF)
    s = Stream(t.stream_path)
    sent, ack, step = 0, 0, 200 if size < 10000 else 8
    while sent < batches:
        n = min(step, batches - sent)
        s.send(*({"runId": f"b{sent + i}", "end": True,
                  "events": [{"text": os.urandom(size // 2).hex()}],
                  **({"ack": ack} if i == n - 1 else {})}
                 for i in range(n)))
        sent, ack = sent + n, ack + 1
        answer = s.answer()
        t.true("error" not in answer, f"{answer}\n" + t.logs())
    s.close()
    wait_for("all to be sealed", lambda: t.daemon.status()["waiting"][
        "batches"] >= batches, 600, step=0.1)
    status = t.daemon.status()
    t.daemon.stop(120)
    return status


def start(t, tries=5):
    """ms to the first ack, best and worst of some, and private KiB after."""
    took, memory = [], 0
    for i in range(tries):
        begun = time.monotonic()
        t.lumnid(wait=False)
        while True:
            try:
                s = Stream(t.stream_path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.0005)
        answer = s.ask({"runId": "first", "ack": i,
                        "events": [{"n": i}]})
        took.append((time.monotonic() - begun) * 1000)
        t.equal(answer, {"ack": i}, "answer")
        s.close()
        memory = max(memory, t.daemon.private_kib())
        t.daemon.stop(120)
    return sorted(took), memory


def test_start(t):
    t.upstream().stop()
    print(f"{'backlog':<28}{'spool MiB':>10}{'ms to first ack':>18}"
          f"{'worst':>8}{'private KiB':>13}")
    rows = [("none", 0, 0), (f"{ARGS.batches} batches", ARGS.batches, 200),
            (f"{ARGS.backlog} MiB", ARGS.backlog * 8, 256 << 10)]
    for name, batches, size in rows:
        sub = t.sub(name)
        sub.upstream().stop()
        sub.configure(**CONF)
        mib = 0
        if batches:
            status = fill(sub, batches, size)
            mib = status["storage"]["spool_bytes"] >> 20
        took, memory = start(sub)
        print(f"{name:<28}{mib:>10}{took[len(took) // 2]:>18.1f}"
              f"{took[-1]:>8.1f}{memory:>13}", flush=True)


def main():
    global ARGS                         # pylint: disable=global-statement
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.
                                RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=5,
                   help="of each rate (5)")
    p.add_argument("--batches", type=int, default=100000)
    p.add_argument("--backlog", type=int, default=1024, help="MiB")
    p.add_argument("--cheap", action="store_true",
                   help="the upstream keeps no record")
    p.add_argument("what", nargs="*", choices=("latency", "start", []),
                   help="latency, start (both)")
    ARGS = p.parse_args()
    names = ["test_" + w for w in ARGS.what or ("latency", "start")]
    sys.argv[1:] = names
    lumnid_it.main(limit=3600)


if __name__ == "__main__":
    main()
