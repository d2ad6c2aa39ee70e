"""The rows of the table: each measures, and says what must be reached.

A row is a function of (b), the bench's settings, that yields figures:
(name, values, unit, target, kind). values are one number for each repetition;
target is what their median is held against, None where a figure is only told.
kind: "most" (the median may be at most the target) or "least".
"""

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import time

import subjects as s

MIB = 1024


def full_speed(b):
    """CPU, events a second and memory at full speed, each zstd level."""
    for level in (1, 3):
        runs = {"floor": [], "ack": [], "never": []}
        for rep in b.times(b.reps):
            # In turn, and each repetition in another order.
            order = list(runs)[rep % 3:] + list(runs)[:rep % 3]
            for name in order:
                what = "floor" if name == "floor" else "lumnid"
                more = {} if name == "floor" else {"durability": name}
                runs[name].append(s.road(what, b.events, level=level,
                                         check=b.check, **more))
                b.say(f"level {level} {name}: "
                      f"{runs[name][-1]['cpu_s_per_million']:.2f} s CPU, "
                      f"{runs[name][-1]['events_per_s']:.0f} events/s")

        def ratio(key, one, other, runs=runs):
            return [x[key] / y[key] for x, y in zip(runs[one], runs[other])]
        at = f"zstd {level}"
        for name, who in (("floor", "the floor"), ("ack", "lumnid"),
                          ("never", "lumnid, durability never")):
            yield (f"{at}: CPU of {who}",
                   [r["cpu_s_per_million"] for r in runs[name]],
                   "s/million", None, "most")
        yield (f"{at}: CPU, lumnid to floor",
               ratio("cpu_s_per_million", "ack", "floor"), "x", 1.25, "most")
        yield (f"{at}: CPU, durability ack to never",
               ratio("cpu_s_per_million", "ack", "never"), "x", 1.15, "most")
        for name, who in (("floor", "the floor"), ("ack", "lumnid")):
            yield (f"{at}: events a second, {who}",
                   [r["events_per_s"] for r in runs[name]], "1/s", None,
                   "least")
        yield (f"{at}: events a second, lumnid to floor",
               ratio("events_per_s", "ack", "floor"), "x", 0.8, "least")
        yield (f"{at}: peak private memory",
               [r["peak_kib"] for r in runs["ack"]], "KiB", 8 * MIB, "most")


def hangup(daemon):
    """Reload: what waits for a back-off is tried at once."""
    daemon.signal(1)
    daemon.wait_line("reloaded")


def drain(w, daemon, kept=True):
    """Bring the upstream back; CPU until all is delivered, and the batches."""
    batches = daemon.status()["waiting"]["batches"]
    w.start_upstream(kept)
    cpu = s.cpu_ns(daemon.pid)
    hangup(daemon)
    s.wait_until_delivered(daemon)
    return s.cpu_ns(daemon.pid) - cpu, batches


def request(b):
    """CPU of a POST: of draining a backlog that was made before; beside it
    what libcurl and the kernel ask for as many bytes, in the same minute."""
    for connections in (4, 1):
        us = {"lumnid": [], "curl": [], "kernel": []}
        for _ in b.times(b.reps):
            with s.world("request") as w:
                w.start_upstream().kill()
                daemon = w.start_lumnid(connections=connections,
                                        listen={"http": "127.0.0.1:0"})
                w.loadgen("--stream", w.stream_path, "--events", b.events // 2)
                s.wait_for_sealed(daemon, b.events // 2)
                waiting = daemon.status()["waiting"]["bytes"]
                cpu, batches = drain(w, daemon)
                us["lumnid"].append(cpu / batches / 1e3)
                for what in ("curl", "kernel"):
                    us[what].append(s.bare_posts(
                        w, what, connections, waiting // batches, batches))
        b.say(f"a request, {connections} connections: " + ", ".join(
            f"{what} {v[-1]:.1f} us" for what, v in us.items()))
        at = f"a request over {connections} kept connection" + \
            ("s" if connections > 1 else "")
        yield (at, us["lumnid"], "us", 25 if connections == 4 else None,
               "most")
        yield f"{at}: libcurl alone", us["curl"], "us", None, "most"
        yield f"{at}: the kernel alone", us["kernel"], "us", None, "most"
        yield (f"{at}: lumnid to libcurl alone",
               [x / y for x, y in zip(us["lumnid"], us["curl"])], "x", None,
               "most")


def open_payload(b):
    """256 MiB of open runs' payload."""
    mib = 256 // b.shrink
    with s.world("open") as w:
        w.start_upstream()
        daemon = w.start_lumnid(
            runs={"idle": "1h", "max_age": "1h", "max_bytes": "32MiB",
                  "max_events": 100000, "end_types": ["nothing"]},
            listen={"http": "127.0.0.1:0"}, storage={"journal_max": "1GiB"})
        with s.Peak(daemon.pid) as peak:
            w.loadgen("--stream", w.stream_path, "--size", 4096,
                      "--events", mib * 256)
            s.wait_for_accepted(daemon, mib * 256)
        have = daemon.status()["open"]["bytes"] / 2 ** 20
        daemon.kill()
    yield (f"private memory with {have:.0f} MiB of open runs", [peak.kib],
           "KiB", 8 * MIB, "most")


def backlog(b):
    """1 GiB of backlog: made, kept over a restart, and drained."""
    mib = 1024 // b.shrink
    with s.world("backlog") as w:
        w.start_upstream().kill()
        conf = {"listen": {"http": "127.0.0.1:0"},
                "storage": {"spool_max": "2GiB"}}
        daemon = w.start_lumnid(level=1, **conf)
        peaks, n = [], 0
        with s.Peak(daemon.pid) as peak:
            while daemon.status()["waiting"]["bytes"] < mib * 2 ** 20:
                # 16 KiB or so a run after compression: 64,000 batches
                w.loadgen("--stream", w.stream_path, "--size", 2600,
                          "--prefix", f"p{n}", "--events", 20000)
                n += 1
                s.wait_for_sealed(daemon, 20000 * n)
        peaks.append(peak.kib)
        have = daemon.status()["waiting"]["bytes"] / 2 ** 20
        daemon.stop(seconds=60)
        begin = time.monotonic()
        daemon = w.start_lumnid(level=1, **conf)
        started = time.monotonic() - begin
        s.pin(daemon.pid, s.SUBJECT)
        with s.Peak(daemon.pid) as peak:
            drain(w, daemon, kept=False)
        peaks.append(peak.kib)
    yield (f"private memory with {have:.0f} MiB of backlog: made", peaks[:1],
           "KiB", 8 * MIB, "most")
    yield ("the same: after a restart, drained", peaks[1:], "KiB", 8 * MIB,
           "most")
    yield ("the same: start with it", [started * 1000], "ms", None, "most")


def idle(b):
    """Memory and wake-ups of a lumnid that has nothing to do."""
    with s.world("idle") as w:
        w.start_upstream()
        daemon = w.start_lumnid(listen={"http": "127.0.0.1:0"},
                                log={"level": "info"})
        time.sleep(2)       # what follows a start is over
        fresh, before = s.private_dirty_kib(daemon.pid), s.wakeups(daemon.pid)
        time.sleep(b.seconds)
        rate = (s.wakeups(daemon.pid) - before) / b.seconds
        w.loadgen("--stream", w.stream_path, "--events", b.events // 2)
        s.wait_until_delivered(daemon)
        time.sleep(3)
        used, before = s.private_dirty_kib(daemon.pid), s.wakeups(daemon.pid)
        time.sleep(b.seconds)
        rate2 = (s.wakeups(daemon.pid) - before) / b.seconds
    yield ("idle: private memory", [fresh], "KiB", 2.5 * MIB, "most")
    yield ("idle: wake-ups", [rate], "1/s", 1, "most")
    yield ("idle after traffic: private memory", [used], "KiB", 2.5 * MIB,
           "most")
    yield ("idle after traffic: wake-ups", [rate2], "1/s", 1, "most")


def at_a_time(events):
    """How many runs are open at a time: 256, but not with so few events that
    most runs would end before they have their 12 to 20."""
    return max(8, min(256, events // 64))


def rate_of(what, rate, events):
    """At a fixed rate: CPU an event, in us, that of it which fdatasync takes
    (the helper thread does nothing else), and wake-ups an event."""
    with s.world("rate") as w:
        up = w.start_upstream()
        subject = w.start_lumnid() if what == "lumnid" else w.start_floor()
        cpu, slept = s.cpu_ns(subject.pid), s.wakeups(subject.pid)
        sync = s.cpu_ns(subject.pid, "lumnid-sync")
        report = w.loadgen("--stream", w.stream_path, "--events", events,
                           "--runs", at_a_time(events), "--prepare",
                           "--rate", rate)
        up.wait_sums(requests=report["runs"])
        slept = s.wakeups(subject.pid) - slept
        sync = s.cpu_ns(subject.pid, "lumnid-sync") - sync
        cpu = s.cpu_ns(subject.pid) - cpu
        return cpu / events / 1e3, sync / events / 1e3, slept / events


def rates(b):
    """CPU an event at fixed rates, beside the floor's."""
    # The fewer events, the more a machine's moods are in each figure.
    for rate, seconds, times in ((100, b.seconds, 3 * b.few),
                                 (2000, b.seconds, b.few),
                                 (20000, b.seconds / 2, 3 * b.few)):
        cpu = {"floor": [], "lumnid": []}
        woken = {"floor": [], "lumnid": []}
        sync = []
        for rep in b.times(times):
            for what in sorted(cpu, reverse=bool(rep % 2)):
                us, sync_us, slept = rate_of(what, rate, int(rate * seconds))
                cpu[what].append(us)
                woken[what].append(slept)
                if what == "lumnid":
                    sync.append(sync_us)
        b.say(f"{rate} events/s: lumnid {cpu['lumnid'][-1]:.1f} us (fdatasync "
              f"{sync[-1]:.1f}), floor {cpu['floor'][-1]:.1f} us")
        at = f"{rate} events/s"
        for what in cpu:
            yield (f"{at}: CPU an event, {what}", cpu[what], "us", None,
                   "most")
        yield (f"{at}: lumnid to floor", [
            x / y for x, y in zip(cpu["lumnid"], cpu["floor"])], "x", 1.3,
               "most")
        yield f"{at}: fdatasync's part of it", sync, "us", None, "most"
        yield (f"{at}: lumnid without fdatasync to floor, which has none", [
            (x - z) / y for x, y, z in zip(cpu["lumnid"], cpu["floor"],
                                           sync)], "x", None, "most")
        for what in cpu:
            yield (f"{at}: wake-ups an event, {what}", woken[what], "", None,
                   "most")


def calls(b):
    """System calls an event at 20,000 events/s."""
    if not shutil.which("strace"):
        return
    for what in ("floor", "lumnid"):
        with s.world("calls") as w:
            up = w.start_upstream()
            subject = w.start_lumnid() if what == "lumnid" else \
                w.start_floor()
            out = os.path.join(w.dir, "strace")
            with s.tracing(subject.pid, "strace", "-qfco", out):
                events = 10000
                report = w.loadgen("--stream", w.stream_path, "--events",
                                   events, "--prepare", "--rate", 20000)
                up.wait_sums(requests=report["runs"])
            with open(out, encoding="utf-8") as f:
                counts = {m.group(2): int(m.group(1)) for m in re.finditer(
                    r"^ *[0-9.]+ +[0-9.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$",
                    f.read(), re.M)}
        counts.pop("total", None)
        most = sorted(counts, key=counts.get, reverse=True)[:6]
        yield (f"system calls an event, {what} (" + ", ".join(
            f"{c} {counts[c] / events:.2f}" for c in most) + ")",
            [sum(counts.values()) / events], "", None, "most")


def fdatasync_ms(where):
    """What one fdatasync of a few KiB takes here: all of 100, in ms."""
    took = []
    with open(os.path.join(where, "sync"), "wb", buffering=0) as f:
        for _ in range(100):
            f.write(b"x" * 4096)
            begin = time.monotonic()
            os.fdatasync(f.fileno())
            took.append((time.monotonic() - begin) * 1000)
    return sorted(took)


def latency(b):
    """From the write of a run's last event to the request's arrival."""
    p50, p99, sync50, sync99 = [], [], [], []
    for _ in b.times(b.few):
        with s.world("latency") as w:
            up = w.start_upstream()
            w.start_lumnid()
            ends = os.path.join(w.dir, "ends")
            events = 200 * b.seconds
            report = w.loadgen("--stream", w.stream_path, "--events", events,
                               "--runs", at_a_time(events), "--rate", 100,
                               "--ends", ends)
            up.wait_sums(requests=report["runs"])
            sync = fdatasync_ms(w.dir)
            sync50.append(sync[49])
            sync99.append(sync[98])
            w.daemon.stop()
            up.stop(seconds=60)
            with open(ends, encoding="ascii") as f:
                sent = {line.split()[0]: int(line.split()[1]) / 1e6
                        for line in f}
            took = sorted((line["time"] - sent[line["body"]["runId"]]) * 1000
                          for line in w.each_taken())
        p50.append(statistics.median(took))
        p99.append(took[len(took) * 99 // 100])
    yield "end of run to request, 100 events/s: p50", p50, "ms", 3, "most"
    yield ("the same: p99, less one fdatasync's p99",
           [max(0, a - c) for a, c in zip(p99, sync99)], "ms", 15, "most")
    yield "the same: p99", p99, "ms", None, "most"
    yield "fdatasync here: p50", sync50, "ms", None, "most"
    yield "fdatasync here: p99", sync99, "ms", None, "most"


def udp(b):
    """100,000 datagrams a second for 5 s: taken, or counted as dropped."""
    with s.world("udp") as w:
        w.start_upstream()
        daemon = w.start_lumnid(listen={"http": "127.0.0.1:0"})
        events = int(100000 * b.seconds / 2)
        report = w.loadgen("--udp", daemon.udp_port(), "--events", events,
                           "--prepare", "--rate", 100000)
        kernel = daemon.udp_drops()
        s.wait_for_accepted(daemon, events - kernel)
        accepted = daemon.status()["events"]["accepted"]
        told = s.lumnid_it.wait_for(
            "the kernel's drops to be told",
            lambda: s.kernel_drops(daemon) == kernel and [kernel])[0]
        daemon.kill()
    rate = report["events_per_second"]
    # The load's own: below it the next line says less than it should.
    yield "UDP: datagrams sent a second", [rate], "1/s", 95000, "least"
    yield (f"UDP, {rate:.0f} datagrams/s: lost and not counted",
           [events - accepted - told], "", 0, "most")
    yield ("the same: dropped by the kernel, counted", [told / events * 100],
           "%", None, "most")


def connections(b):
    """1,000 idle connections, each of which has sent an event."""
    n = 1000
    with s.world("connections") as w:
        w.start_upstream()
        daemon = w.start_lumnid(
            limits={"connections": n + 20, "connections_per_uid": n + 20},
            listen={"http": "127.0.0.1:0"})
        with contextlib.ExitStack() as stack:
            # The buffers that all share are taken, and stay in use.
            w.loadgen("--stream", w.stream_path, "--events", 20000)
            w.stream().send({"runId": "r", "n": -1})
            s.wait_for_accepted(daemon, 20001)
            before = s.private_dirty_kib(daemon.pid)
            for i in range(n):
                c = socket.socket(socket.AF_UNIX)
                stack.callback(c.close)
                c.connect(w.stream_path)
                c.sendall(s.lumnid_it.pack({"runId": "r", "n": i}))
            s.wait_for_accepted(daemon, 20001 + n)
            after = s.private_dirty_kib(daemon.pid)
    yield (f"{n} idle connections: private memory of one",
           [(after - before) * 1024 / n], "bytes", 1024, "most")


def open_runs(b):
    """100,000 open runs: what each costs beside 16 bytes an event."""
    n = 100000 // b.shrink
    with s.world("runs") as w:
        w.start_upstream()
        daemon = w.start_lumnid(
            runs={"idle": "1h", "max_age": "1h", "end_types": ["nothing"],
                  "max_open": 200000},
            listen={"http": "127.0.0.1:0"}, storage={"journal_max": "1GiB"})
        at = []
        for part in ("a", "b"):
            w.loadgen("--stream", w.stream_path, "--size", 200, "--prefix",
                      part, "--runs", n // 2, "--events", n * 2)
            s.wait_for_accepted(daemon, n * 2 * (len(at) + 1))
            # A turn later, what a burst has taken is as it will be.
            time.sleep(1.5)
            st = daemon.status()
            at.append((s.private_dirty_kib(daemon.pid) * 1024,
                       st["open"]["runs"], st["open"]["events"]))
        daemon.kill()
    (m1, r1, e1), (m2, r2, e2) = at
    yield (f"{r2} open runs, {e2} events: private memory of a run, less 16 "
           "bytes an event", [(m2 - m1 - 16 * (e2 - e1)) / (r2 - r1)],
           "bytes", 200, "most")


def growth(b):
    """CPU an event as the run table, the journal and the spool grow."""
    args = ["quick"] if b.quick else []
    out = subprocess.run(
        [s.program("tests/bench/grow"), *args], check=True, text=True,
        capture_output=True, preexec_fn=s.pin_child).stdout
    curves = {}
    for line in out.splitlines():
        curve, x, ns = line.split("\t")
        curves.setdefault(curve, []).append((int(x),
                                             [int(n) for n in ns.split()]))
    for curve, points in curves.items():
        for x, ns in points:
            yield f"{curve}, {x}", [n / 1000 for n in ns], "us", None, "most"
        yield (f"{curve}: the largest to the smallest",
               [y / x for x, y in zip(points[0][1], points[-1][1])], "x",
               # Events of any run: told, the processor's caches are in it.
               None if "any run" in curve else 1.5, "most")


ROWS = {f.__name__: f for f in (
    full_speed, request, open_payload, backlog, idle, rates, calls, latency,
    udp, connections, open_runs, growth)}
