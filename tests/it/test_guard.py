#!/usr/bin/python3
"""Instructions an event takes, by stage, held to tests/bench/guard.bounds.

Callgrind counts what tests/bench/guard does: the same count each time, also on
a machine that is busy with other things.
"""

import os
import re
import shutil

import lumnid_it
from lumnid_it import Skip, program

BOUNDS = os.path.join(lumnid_it.SOURCE, "tests/bench/guard.bounds")


def read_bounds():
    """What they were set with, and stage -> bound."""
    built, bounds = None, {}
    with open(BOUNDS, encoding="ascii") as f:
        for line in f:
            if line.startswith("built "):
                built = line.strip()
            elif not line.startswith("#"):
                stage, bound, _ = line.split()
                bounds[stage] = int(bound)
    return built, bounds


def count(t):
    """(how it was built, stage -> instructions for one)."""
    valgrind = shutil.which("valgrind")
    if not valgrind or not shutil.which("callgrind_annotate"):
        raise Skip("valgrind is not installed")
    if "sanitized" in t.run(program("tests/bench/guard"), "--built").stdout:
        raise Skip("a sanitized build cannot run under valgrind")
    out = os.path.join(t.dir, "callgrind.%p")
    done = t.run(valgrind, "--tool=callgrind", "--toggle-collect=guard_*",
                 f"--callgrind-out-file={out}",
                 program("tests/bench/guard"), t.dir, seconds=120)
    if done.returncode != 0:
        raise lumnid_it.Failure(f"guard: {done.stdout}{done.stderr}")
    built, *lines = done.stdout.splitlines()
    pid = re.search(r"==(\d+)==", done.stderr).group(1)
    told = t.run("callgrind_annotate", "--inclusive=yes", "--auto=no",
                 out.replace("%p", pid)).stdout
    found = {}
    for line in lines:
        stage, n = line.split()
        m = re.search(rf"^ *([0-9,]+) .*:guard_{stage} \[", told, re.M)
        if not m:
            raise lumnid_it.Failure(f"no count of {stage} in\n{told}")
        found[stage] = int(m.group(1).replace(",", "")) / int(n)
    return built, found


def test_instructions(t):
    """No stage takes more than its bound."""
    want, bounds = read_bounds()
    built, found = count(t)
    t.equal(set(found), set(bounds), "stages")
    for stage, n in found.items():
        print(f"# {stage}: {n:.0f} instructions, at most {bounds[stage]}")
    if built != want:
        raise Skip(f"the bounds were set for \"{want}\", this is \"{built}\"")
    over = {s: round(n) for s, n in found.items() if n > bounds[s]}
    t.true(not over, f"over the bounds in {BOUNDS}: {over}, bounds {bounds}")
    # A bound far above says nothing any more.
    under = {s: round(n) for s, n in found.items() if n * 1.25 < bounds[s]}
    t.true(not under, f"far below the bounds in {BOUNDS}: {under}; lower "
           "them to 10 % above")


if __name__ == "__main__":
    lumnid_it.main()
