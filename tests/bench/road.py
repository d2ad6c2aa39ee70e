#!/usr/bin/python3
"""What the whole road costs: events a second from the first write to the last
event taken, lumnid's CPU seconds for a million events, its private memory at
the peak. Prints one JSON object.

    LUMNID_BUILD=build tests/bench/road.py [EVENTS [loadgen arguments]]

By default 1,000,000 events (median 265 bytes, mean 445, 12 to 20 a run, 256
runs interleaved), over 4 stream connections, one event a write. The upstream
takes bodies as they come and looks at them only at the end; what it got is
then checked whole.
"""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../it"))
# pylint: disable=wrong-import-position
import lumnid_it  # noqa: E402


def measure(t, events, args):
    up = t.upstream(extra=["--cheap", os.path.join(t.dir, "cheap")])
    lumnid = t.lumnid(log={"level": "info"})
    peak, done = [lumnid.private_kib()], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak[0] = max(peak[0], lumnid.private_kib())
    watcher = threading.Thread(target=watch)
    watcher.start()
    idle = peak[0]
    start = time.monotonic()
    cpu = lumnid.cpu_seconds()
    report = t.loadgen("--stream", t.stream_path, "--events", events, *args,
                       seconds=1200)
    sent = time.monotonic()
    up.wait_sums(requests=report["runs"], seconds=600)
    end = time.monotonic()
    cpu = lumnid.cpu_seconds() - cpu
    done.set()
    watcher.join()
    lumnid.stop()
    up.stop(seconds=300)
    t.check_load(events)
    return {
        "events": events, "runs": report["runs"],
        "bytes": report["bytes"],
        "seconds": round(end - start, 3),
        "seconds_sending": round(sent - start, 3),
        "events_per_second": round(events / (end - start)),
        "cpu_seconds_per_million": round(cpu * 1e6 / events, 3),
        "private_kib_idle": idle, "private_kib_peak": peak[0],
        "loadgen": report,
    }


def main():
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    case = lumnid_it.Case("road")
    failed = True
    try:
        print(json.dumps(measure(case, events, sys.argv[2:]), indent=4))
        failed = False
    finally:
        for fault in case.finish(failed):
            print(fault)


if __name__ == "__main__":
    main()
