"""Runs the tests of the packages: scripts/test --packages calls it, as root,
with all tools installed. Each test function is a process; two run at a time.
Ends with one line, "N passed, N failed[, N skipped]".

    run.py [WORD...]    only tests whose file or name has one of the words
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# In this order: what waits for a build of its own stands apart.
TESTS = [
    "test_deb.py test_life_bookworm",
    "test_deb.py test_life_trixie",
    "test_rpm.py test_life",
    "test_deb.py test_upgrade_bookworm",
    "test_build.py",
    "test_deb.py test_upgrade_trixie",
    "test_rpm.py test_dnf",
    "test_piuparts.py",
]


def one(test):
    begun = time.monotonic()
    name, *more = test.split()
    done = subprocess.run([sys.executable, os.path.join(HERE, name), *more],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    seconds = time.monotonic() - begun
    print(f"{test}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return test, done.returncode, done.stdout


def build_support(tmp):
    """The clean sources, and the test upstream built from them."""
    import pkg
    source = os.path.join(tmp, "source")
    build = os.path.join(tmp, "build")
    pkg.copy_source(source)
    os.mkdir(build)
    pkg.run(["sh", "-ec", "(cd ../source && autoreconf -i); "
             "../source/configure CFLAGS=-O1; "
             f"make -j{pkg.jobs()} tests/support/upstream"], cwd=build)
    return source, build


def main():
    words = sys.argv[1:]
    tests = [t for t in TESTS if not words or any(w in t for w in words)]
    tmp = tempfile.mkdtemp(prefix="lumnid-packages.",
                           dir=os.environ.get("TMPDIR", "/var/tmp"))
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    try:
        source, build = build_support(tmp)
        os.environ.update(LUMNID_BUILD=build, LUMNID_SOURCE=source,
                          LUMNID_GIT=os.environ["LUMNID_SOURCE"],
                          PYTHONDONTWRITEBYTECODE="1",
                          # Beside another one, and builds, all is slower.
                          LUMNID_SLOW=os.environ.get("LUMNID_SLOW", "3"))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for test, status, out in pool.map(one, tests):
                said = re.findall(r"^(ok|FAIL|skip) ", out, re.M)
                for word in said:
                    count[word] += 1
                if status not in (0, 77) and "FAIL" not in said:
                    count["FAIL"] += 1
                if status not in (0, 77):
                    print(f"=== {test}\n{out}")
                else:
                    print("".join(x + "\n" for x in out.split("\n")
                                  if re.match("ok|skip|#", x)), end="",
                          flush=True)
    finally:
        shutil.rmtree(tmp)
    line = f"{count['ok']} passed, {count['FAIL']} failed"
    if count["skip"]:
        line += f", {count['skip']} skipped"
    print(line)
    sys.exit(1 if count["FAIL"] else 0)


if __name__ == "__main__":
    main()
