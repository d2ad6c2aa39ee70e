#!/usr/bin/python3
"""What lumnid costs, beside what the libraries alone do ("the floor").

    make bench                          all rows, a quarter of an hour
    make bench BENCH_QUICK=1            all rows, smaller, about two minutes
    make bench BENCH="idle latency"     these rows only

Prints a table: the median of the repetitions, the least and the largest, what
must be reached, and whether it is; then the same as JSON, in bench.json in
the current directory. The exit status is 1 where a figure misses its target,
and with --told 0.

lumnid (or the floor) has the first core for itself, the load and the upstream
the second one. Wall-clock figures mean something on an otherwise quiet
machine only; ratios are of CPU time, of runs that took turns. It needs no
root, only loopback, and a few GiB in $TMPDIR, and leaves nothing there.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
# pylint: disable=wrong-import-position
import rows  # noqa: E402


LATE = 20 * 60      # seconds


class Settings:
    """How much of everything."""

    def __init__(self, quick, check):
        self.quick = quick
        self.check = check
        self.reps = 3 if quick else 9
        self.few = 1 if quick else 3            # of the slow ones
        self.events = 60000 if quick else 200000
        self.seconds = 4 if quick else 10
        self.shrink = 8 if quick else 1         # of what fills memory
        self.begun = time.monotonic()

    def times(self, n):
        """0 to n - 1, but on a machine that is busy or slow no more than 0,
        that all rows have an end."""
        yield 0
        for rep in range(1, n):
            if time.monotonic() - self.begun > LATE:
                self.say("late: no more repetitions")
                return
            yield rep

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}",
              file=sys.stderr, flush=True)


def judge(values, target, kind):
    if target is None:
        return ""
    median = statistics.median(values)
    good = median >= target if kind == "least" else median <= target
    return "reached" if good else "MISSED"


def number(x):
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def table(figures):
    print(f"{'figure':<68} {'median':>9} {'least':>9} {'most':>9}  unit"
          f"       target")
    for f in figures:
        target = "" if f["target"] is None else \
            f"{'>=' if f['kind'] == 'least' else '<='} " \
            f"{number(f['target'])}  {f['verdict']}"
        print(f"{f['name']:<68} {number(f['median']):>9} "
              f"{number(min(f['values'])):>9} {number(max(f['values'])):>9}  "
              f"{f['unit']:<9}  {target}".rstrip())


def where():
    with open("/proc/cpuinfo", encoding="ascii") as f:
        cpu = [x.split(":")[1].strip() for x in f if x.startswith("model n")]
    return {"kernel": platform.release(), "cpu": cpu[0] if cpu else "?",
            "cores": os.cpu_count(), "load": os.getloadavg()[0],
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.
        RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help="one of: " + " ".join(rows.ROWS))
    parser.add_argument("--quick", action="store_true",
                        default=os.environ.get("BENCH_QUICK", "") == "1")
    parser.add_argument("--check", action="store_true",
                        help="also hold what arrived against what was sent")
    parser.add_argument("--told", action="store_true",
                        help="a missed target is told, and no failure")
    parser.add_argument("--json", default="bench.json")
    args = parser.parse_args()
    for name in args.rows:
        if name not in rows.ROWS:
            parser.error(f"no row {name}: " + " ".join(rows.ROWS))
    b = Settings(args.quick, args.check)
    figures, broken, at = [], [], where()
    for name in args.rows or rows.ROWS:
        b.say(name)
        try:
            for what, values, unit, target, kind in rows.ROWS[name](b):
                figures.append({
                    "row": name, "name": what, "values": values, "unit": unit,
                    "median": statistics.median(values), "target": target,
                    "kind": kind, "verdict": judge(values, target, kind)})
        except (rows.s.lumnid_it.Failure, subprocess.CalledProcessError,
                OSError) as e:
            # The others are measured all the same.
            broken.append(name)
            b.say(f"{name} ended in an error: {e}\n"
                  f"{getattr(e, 'stderr', None) or ''}")
        # Row by row: who ends it early has what was measured.
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"where": at, "quick": args.quick, "broken": broken,
                       "figures": figures}, f, indent=1)
            f.write("\n")
    print(f"{at['time']}, {at['cpu']}, {at['cores']} cores, load "
          f"{at['load']:.1f} at the start")
    table(figures)
    missed = [f["name"] for f in figures if f["verdict"] == "MISSED"]
    reached = [f for f in figures if f["verdict"] == "reached"]
    print(f"{len(reached)} targets reached, {len(missed)} missed" +
          "".join(f"\n  {m}" for m in missed))
    for name in broken:
        print(f"row {name} ended in an error")
    return 1 if broken or (missed and not args.told) else 0


if __name__ == "__main__":
    sys.exit(main())
