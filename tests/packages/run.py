"""Runs the tests of the packages, for scripts/test --packages. Each test is a
process; some run side by side. Ends with one line, "N passed, N failed[, N
skipped]".

    run.py [WORD...]    only tests whose file or name has one of the words

All of it happens in namespaces of its own, for processes and mounts. Whatever
ends this one, by whatever signal, the kernel ends what was started, machines
and all, and takes their mounts away; the directory and the control groups are
removed here. Trees and packages are made anew in each run, or kept in
$LUMNID_CACHE.
"""

import concurrent.futures
import ctypes
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# What several tests wait for; see pkg.prepare(). A tree waits for the network,
# a build for a processor.
PREPARE = ["here", "tree trixie", "tree bookworm", "previous", "archive"]
# In this order: those that take long come first.
TESTS = [
    "test_deb.py test_life_bookworm",
    "test_deb.py test_life_trixie",
    "test_rpm.py test_life",
    "test_deb.py test_upgrade_bookworm",
    "test_build.py",
    "test_deb.py test_upgrade_trixie",
    "test_rpm.py test_dnf",
    "test_systemd.py test_systemd_bookworm",
    "test_systemd.py test_systemd_trixie",
    "test_piuparts.py",
    "test_hand.py",
    "test_examples.py",
]
JOBS = int(os.environ.get("LUMNID_PACKAGE_JOBS", "3"))


def one(test):
    begun = time.monotonic()
    name, *more = test.split()
    path = os.path.join(os.environ["LUMNID_SOURCE"], "tests", "packages", name)
    done = subprocess.run([sys.executable, path, *more],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    seconds = time.monotonic() - begun
    print(f"{test}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return test, done.returncode, done.stdout


def prepare(what):
    """If it fails, the tests that need it will fail and say why."""
    begun = time.monotonic()
    path = os.path.join(os.environ["LUMNID_SOURCE"], "tests", "packages",
                        "pkg.py")
    subprocess.run([sys.executable, path, *what.split()],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    seconds = time.monotonic() - begun
    print(f"prepare {what}: {seconds:.0f} s", file=sys.stderr, flush=True)


def build_support(tmp):
    """The clean sources; and built from them, as packaging/README has it, what
    is installed, and the test upstream."""
    import pkg
    source = os.path.join(tmp, "source")
    build = os.path.join(tmp, "build")
    pkg.copy_source(source)
    os.mkdir(build)
    pkg.run(["sh", "-ec", "(cd ../source && autoreconf -i); "
             "../source/configure --prefix=/usr --sysconfdir=/etc CFLAGS=-O0; "
             f"make -j{pkg.jobs()} all tests/support/upstream"], cwd=build,
            env=pkg.ccache())
    return source, build


def tell(count, test, status, out):
    """Count what a test said; of one that failed, show it."""
    said = re.findall(r"^(ok|FAIL|skip) ", out, re.M)
    for word in said:
        count[word] += 1
    good = status in (0, 77) and said
    if not good and "FAIL" not in said:
        count["FAIL"] += 1
    if good:
        print("".join(x + "\n" for x in out.split("\n")
                      if re.match("ok|skip|#", x)), end="", flush=True)
    else:
        print(f"=== {test}\n{out}", flush=True)


def inside(tmp, tests):
    """Run the tests; returns the exit status."""
    os.environ["TMPDIR"] = os.path.join(tmp, "tmp")
    os.mkdir(os.environ["TMPDIR"])
    source, build = build_support(tmp)
    os.environ.update(LUMNID_BUILD=build, LUMNID_GIT=os.environ[
                          "LUMNID_SOURCE"],
                      LUMNID_SOURCE=source, PYTHONDONTWRITEBYTECODE="1",
                      # Beside others, and builds, all is slower.
                      LUMNID_SLOW=os.environ.get("LUMNID_SLOW", "3"))
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        if len(tests) > 2:
            for what in PREPARE:
                pool.submit(prepare, what)
        for done in concurrent.futures.as_completed(
                [pool.submit(one, t) for t in tests]):
            tell(count, *done.result())
    line = f"{count['ok']} passed, {count['FAIL']} failed"
    if count["skip"]:
        line += f", {count['skip']} skipped"
    print(line, flush=True)
    return 1 if count["FAIL"] else 0


# --- around it ---------------------------------------------------------------

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def namespaces():
    """The command that gives a process its own namespaces."""
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child",
            "--mount-proc"]
    if os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(
            [*argv, "true"], check=False,
            stderr=subprocess.DEVNULL).returncode == 0:
        return argv
    return []       # what needs root is skipped anyway


def end(proc):
    """Kill the first process of its namespace, and so all in it. That one's
    parent waits until they are gone."""
    children = f"/proc/{proc.pid}/task/{proc.pid}/children"
    try:
        with open(children, encoding="ascii") as f:
            pids = [int(x) for x in f.read().split()]
    except OSError:
        pids = []
    for pid in pids or [proc.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def remove_groups(mark):
    """The control groups of this run's machines; see pkg.Machine."""
    for top in glob.glob(f"/sys/fs/cgroup/*/{mark}-*") + \
            glob.glob(f"/sys/fs/cgroup/{mark}-*"):
        for base, dirs, _ in os.walk(top, topdown=False):
            for d in dirs:
                os.rmdir(os.path.join(base, d))
        os.rmdir(top)


def supervise(words):
    tmp = tempfile.mkdtemp(prefix="lumnid-packages.",
                           dir=os.environ.get("TMPDIR", "/var/tmp"))
    mark = os.path.basename(tmp).replace(".", "-").replace("_", "-")
    os.chmod(tmp, 0o755)    # apt's own user reads below it
    proc = None
    told = threading.Event()

    def on_signal(_sig, _frame):
        told.set()
        if proc is not None:
            end(proc)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, on_signal)
    try:
        proc = subprocess.Popen(
            [*namespaces(), sys.executable, os.path.abspath(__file__), *words],
            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
            start_new_session=True,
            env=dict(os.environ, LUMNID_PACKAGES=tmp, LUMNID_MARK=mark,
                     LUMNID_CACHE=os.environ.get("LUMNID_CACHE") or
                     os.path.join(tmp, "cache")))
        if told.is_set():
            end(proc)
        status = proc.wait()
    finally:
        remove_groups(mark)
        shutil.rmtree(tmp)
    if told.is_set():
        print("ended by a signal", file=sys.stderr)
        return 1
    return status


def main():
    words = sys.argv[1:]
    tests = [t for t in TESTS if not words or any(w in t for w in words)]
    if "LUMNID_PACKAGES" in os.environ:
        sys.exit(inside(os.environ["LUMNID_PACKAGES"], tests))
    sys.exit(1 if supervise(words) else 0)


if __name__ == "__main__":
    main()
