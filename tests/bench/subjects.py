"""What is measured, and how: lumnid and the floor under one load.

CPU is that of all threads, user and system, in nanoseconds (schedstat). The
subject has one core for itself, load and upstream the other one.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../it"))
# pylint: disable=wrong-import-position
import lumnid_it  # noqa: E402
from lumnid_it import KEY, Process, program  # noqa: E402,F401

CORES = sorted(os.sched_getaffinity(0))
SUBJECT = {CORES[0]}
OTHERS = set(CORES[1:2]) or SUBJECT


def pin(pid, cores):
    """All threads that a process has now."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(tid), cores)


def cpu_ns(pid, thread=None):
    """Of all its threads, or of the one of this name."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        if thread is not None:
            with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as f:
                if f.read().strip() != thread:
                    continue
        with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def private_dirty_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1])
    raise RuntimeError("no Private_Dirty in smaps_rollup")


def wakeups(pid):
    """How often its threads have gone to sleep, which is how often they were
    woken."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
    return total


def traced(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return "TracerPid:\t0\n" not in f.read()


@contextlib.contextmanager
def tracing(pid, *tracer):
    """Trace the process meanwhile; the tracer ends whatever happens."""
    with subprocess.Popen([*tracer, "-p", str(pid)]) as proc:
        try:
            lumnid_it.wait_for("the tracer", lambda: traced(pid))
            yield
        finally:
            proc.send_signal(15)    # in the background 2 is ignored


def pin_child():
    os.sched_setaffinity(0, SUBJECT)


def wait_status(daemon, what, condition, seconds=300):
    """Ask seldom: an answer is work too."""
    return lumnid_it.wait_for(what, lambda: condition(daemon.status()),
                              seconds, step=0.1, context=daemon.log)


def wait_for_accepted(daemon, n):
    wait_status(daemon, f"{n} events to be accepted",
                lambda st: st["events"]["accepted"] >= n)


def wait_for_sealed(daemon, n):
    wait_status(daemon, f"{n} events to be sealed",
                lambda st: st["events"]["accepted"] >= n and
                st["open"]["events"] == 0)


def wait_until_delivered(daemon):
    wait_status(daemon, "all events to be delivered",
                lambda st: st["events"]["pending"] == 0, 600)


def kernel_drops(daemon):
    return daemon.status()["kernel_dropped"]["udp"]


def bare_posts(w, what, connections, size, count):
    """CPU of a POST, in us, where there is nothing but "curl", or nothing but
    the "kernel"."""
    out = subprocess.run(
        [program("tests/bench/post"), what, w.url(), KEY, str(connections),
         str(size), str(count)], check=True, text=True, capture_output=True,
        preexec_fn=pin_child).stdout
    return float(out)


class Peak:
    """The largest Private_Dirty while it watches."""

    def __init__(self, pid, step=0.02):
        self.pid, self.kib = pid, private_dirty_kib(pid)
        self._done = threading.Event()
        self._step = step
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._done.wait(self._step):
            with contextlib.suppress(OSError):
                self.kib = max(self.kib, private_dirty_kib(self.pid))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


class World(lumnid_it.Case):
    """One measurement's directory and processes."""

    def __init__(self, name):
        super().__init__(name)
        self.upstreams = []

    def start_upstream(self, kept=True):
        """kept: of what it takes it can tell, once it is stopped."""
        # That is in a file of its own, or nowhere: check_load() and the rows
        # look for themselves.
        self.books_whole = False
        up = self.upstream(extra=["--cheap", os.path.join(self.dir, "cheap")
                                  if kept else "/dev/null"])
        pin(up.pid, OTHERS)
        self.upstreams.append(up)
        return up

    def start_lumnid(self, level=3, durability="ack", connections=4,
                     **sections):
        conf = lumnid_it.merge({
            "upstream": {"level": level, "connections": connections,
                         "timeout": "120s"},
            "storage": {"durability": durability},
            "runs": {"idle": "30s"},
            "log": {"level": "info"},
        }, sections)
        daemon = self.lumnid(**conf)
        pin(daemon.pid, SUBJECT)
        return daemon

    def start_floor(self, level=3, connections=4):
        floor = Process(self, [
            program("tests/bench/floor"), self.stream_path, self.url(), KEY,
            str(connections), str(level), os.path.join(self.dir, "raw"),
            os.path.join(self.dir, "packed")], "floor")
        floor.wait_line("^listening")
        pin(floor.pid, SUBJECT)
        return floor

    def loadgen(self, *args, seconds=300):
        before = os.sched_getaffinity(0)
        # Inherited by the child; the bench itself waits meanwhile.
        os.sched_setaffinity(0, OTHERS)
        try:
            return super().loadgen(*args, seconds=seconds)
        finally:
            os.sched_setaffinity(0, before)


@contextlib.contextmanager
def world(name):
    case = World(name)
    failed = True
    try:
        yield case
        failed = False
    finally:
        # Nobody asks any more what they took: telling it takes long.
        for up in case.upstreams:
            if up.alive():
                up.kill()
        faults = case.finish(failed)
        if faults and not failed:
            raise lumnid_it.Failure("\n".join(faults))


def road(what, events, *load, check=False, **options):
    """Send so many events through a subject ("lumnid", "floor") to the
    upstream; returns the figures."""
    with world(what) as w:
        up = w.start_upstream()
        subject = w.start_lumnid(**options) if what == "lumnid" else \
            w.start_floor(**options)
        idle = private_dirty_kib(subject.pid)
        with Peak(subject.pid) as peak:
            cpu = cpu_ns(subject.pid)
            report = w.loadgen("--stream", w.stream_path, "--events", events,
                               "--prepare", *load, seconds=1200)
            begin = report["began"]     # of the same clock as ours
            sent = time.monotonic()
            up.wait_sums(requests=report["runs"], seconds=600)
            cpu = cpu_ns(subject.pid) - cpu
            end = time.monotonic()
        subject.stop()
        if check:
            up.stop(seconds=300)
            w.check_load(events)
        else:
            up.kill()
        return {"cpu_s_per_million": cpu / events / 1e3,
                "events_per_s": events / (end - begin),
                "seconds": end - begin, "seconds_sending": sent - begin,
                "posts": report["runs"], "idle_kib": idle,
                "peak_kib": peak.kib, "load": report}
