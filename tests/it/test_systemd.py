#!/usr/bin/python3
"""What systemd sees and does, without one that is booted: the notify protocol
and the watchdog against a socket of the test's own, socket activation by
systemd-socket-activate and by a stand-in that holds the sockets, the units by
systemd-analyze. tests/packages/test_systemd.py does it in a booted system."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import threading
import time

import lumnid_it
from lumnid_it import BUILD, SOURCE, Failure, Skip, Stream, pack, wait_for

# fdatasync and fsync hang while the file that STALL names is there; recv, by
# which the loop reads the stream socket, while that of its name and ".loop" is.
STALL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int
stall(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	const char *path = getenv("STALL");

	while (path != NULL && access(path, F_OK) == 0)
		usleep(5000);
	return real(fd);
}

int fdatasync(int fd) { return stall("fdatasync", fd); }
int fsync(int fd) { return stall("fsync", fd); }

ssize_t
recv(int fd, void *p, size_t n, int flags)
{
	ssize_t (*real)(int, void *, size_t, int) =
	    (ssize_t (*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
	char path[4096];

	snprintf(path, sizeof path, "%s.loop", getenv("STALL"));
	while (access(path, F_OK) == 0)
		usleep(5000);
	return real(fd, p, n, flags);
}
"""


def stalling(t):
    """The environment in which the disk hangs while t.dir/stall is there."""
    if os.environ.get("LUMNID_SAN_CFLAGS"):
        raise Skip("a sanitizer's runtime has to come first")
    source = os.path.join(t.dir, "stall.c")
    with open(source, "w", encoding="ascii") as f:
        f.write(STALL)
    lib = os.path.join(t.dir, "stall.so")
    cc = os.environ.get("LUMNID_CC", "cc").split()
    done = t.run(*cc, "-shared", "-fPIC", source, "-o", lib, "-ldl",
                 seconds=60)
    t.equal(done.returncode, 0, done.stderr)
    return {"LD_PRELOAD": lib, "STALL": os.path.join(t.dir, "stall"),
            "LUMNI_API_KEY": lumnid_it.KEY}


def fed(t):
    """How often the watchdog was fed so far."""
    t.daemon.notified("")
    return t.daemon.notes.count("WATCHDOG=1")


def test_a_hanging_disk_is_seen(t):
    """By /healthz and by the watchdog, though the loop turns; and that it is
    over."""
    t.upstream()
    t.lumnid(env=dict(stalling(t), WATCHDOG_USEC="300000"),
             listen={"http": "127.0.0.1:0"}, log={"level": "info"})
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [{"n": 0}], "ack": 0}), {"ack": 0})
    wait_for("the watchdog's food", lambda: fed(t) >= 3)
    status, body = t.daemon.get("/healthz")
    t.equal((status, json.loads(body)["healthy"]), (200, True))

    path = os.path.join(t.dir, "stall")
    loop = hold_a_loop(t)
    with open(path, "w", encoding="ascii"):
        pass
    s.send({"runId": "r", "events": [{"n": 1}], "ack": 1})
    t.daemon.wait_line("error no_progress sync_under_way_ms=")
    before = fed(t)
    begun = time.monotonic()
    wait_for("/healthz to tell", lambda: t.daemon.get("/healthz")[0] == 503,
             seconds=40, step=0.2)
    t.true(time.monotonic() - begun > 5, "that not every sync is a fault")
    body = json.loads(t.daemon.get("/healthz")[1])
    t.true(not body["healthy"] and body["sync_under_way_ms"] > 9000, body)
    t.equal(fed(t), before, "food while the disk hangs")
    t.equal(s.poll_answers(), [], "an ack before the sync")

    os.unlink(path)
    t.equal(s.answer(), {"ack": 1})
    wait_for("the watchdog's food", lambda: fed(t) > before)
    t.equal(t.daemon.get("/healthz")[0], 200)
    check_the_loop(loop)


def hold_a_loop(t):
    """Another lumnid, at the same time: its loop hangs."""
    other = t.sub("loop")
    other.upstream()
    other.lumnid(env=stalling(other), listen={"http": "127.0.0.1:0"},
                 log={"level": "info"})
    with open(os.path.join(other.dir, "stall.loop"), "w", encoding="ascii"):
        pass
    other.begun = time.monotonic()
    s = other.stream()
    s.send({"runId": "r", "events": [{"n": 1}], "ack": 1})
    other.held = s
    return other


def check_the_loop(t):
    """It answers nothing; then, for a while, that it was stuck."""
    port = t.daemon.http_port()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as con:
        con.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        wait_for("ten seconds", lambda: time.monotonic() - t.begun > 10.5)
        con.setblocking(False)
        try:
            t.true(not con.recv(1), "an answer of a loop that hangs")
        except BlockingIOError:
            pass
        os.unlink(os.path.join(t.dir, "stall.loop"))
        con.setblocking(True)
        con.settimeout(20 * lumnid_it.SLOW)
        answer = b""
        while data := con.recv(4096):
            answer += data
    t.true(b" 503 " in answer.split(b"\r\n")[0], answer)
    body = json.loads(answer.split(b"\r\n\r\n")[1])
    t.true(body["stuck_turn_ms"] > 10000 and body["longest_turn_ms"] > 10000,
           body)
    t.daemon.wait_line("warn turn_slow ms=1")
    t.equal(t.held.answer(), {"ack": 1})
    m = re.search(r"lumnid_loop_turn_seconds_sum (\S+)",
                  t.daemon.get("/metrics")[1])
    t.true(float(m.group(1)) > 10, m.group(0))


def test_an_upstream_that_is_away_is_no_fault(t):
    """The watchdog is fed on while the upstream refuses connections, does not
    answer, or holds all; nobody restarts lumnid for it."""
    up = t.upstream(script="when=next:2 stall=before\nwhen=always status=401")
    t.lumnid(env={"WATCHDOG_USEC": "200000", "LUMNI_API_KEY": lumnid_it.KEY},
             listen={"http": "127.0.0.1:0"}, log={"level": "info"},
             upstream={"timeout": "1s"})
    t.stream().send({"runId": "r", "n": 0, "type": "run_end"})

    def goes_on():
        before = fed(t)
        # More than twice the watchdog's time.
        wait_for("the watchdog's food", lambda: fed(t) >= before + 8,
                 context=t.logs)
        t.equal(t.daemon.get("/healthz")[0], 200)
    up.wait_sums(requests=1)
    goes_on()
    up.stop()
    goes_on()
    t.upstream(script="when=always status=401")
    t.daemon.signal(signal.SIGHUP)
    t.daemon.wait_line("upstream_hold ")
    goes_on()
    t.true("no_progress" not in t.daemon.log(10 ** 6), t.daemon.log())


def test_the_watchdog_of_another(t):
    """WATCHDOG_PID names who is meant; without a watchdog none is fed."""
    t.upstream()
    for env in {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {}:
        t.lumnid(env=dict(env, LUMNI_API_KEY=lumnid_it.KEY),
                 log={"level": "info"})
        t.equal(t.stream().ask({"runId": "r", "events": [{"n": 0}],
                                "ack": 0}), {"ack": 0})
        t.daemon.stop()
        t.equal(t.daemon.notes.count("WATCHDOG=1"), 0)


def test_the_words_of_notify(t):
    """READY once the sockets are there; RELOADING with its time and READY
    again; STOPPING; and a status line that helps."""
    up = t.upstream()
    d = t.lumnid(log={"level": "info"}, runs={"idle": "1h", "max_age": "2h"})
    m, _ = d.wait_line(r"^info started .*")
    for word in ("version=", f"config={t.conf}", "max_message=8388608",
                 "journal_max=268435456", "spool_max=1073741824",
                 "when_full=refuse", "files="):
        t.true(word in m.group(0), f"{word} in {m.group(0)}")
    t.true("STATUS=forwarding, 0 runs open, 0 events waiting" in d.notes,
           str(d.notes))
    s = t.stream()
    for n in range(12):
        t.equal(s.ask({"runId": f"r{n}", "events": [{"n": n}], "ack": n}),
                {"ack": n})
    wait_for("the status line", lambda: d.notified(
        "STATUS=forwarding, 12 runs open, 0 events waiting"), context=d.log)
    before = time.monotonic_ns() // 1000
    d.signal(signal.SIGHUP)
    d.wait_line("reloaded")
    wait_for("RELOADING", lambda: d.notified("RELOADING=1"))
    at = d.notes.index("RELOADING=1")
    name, _, us = d.notes[at + 1].partition("=")
    t.equal(name, "MONOTONIC_USEC")
    t.true(before <= int(us) <= time.monotonic_ns() // 1000, us)
    wait_for("READY again", lambda: d.notified("") is not None and
             "READY=1" in d.notes[at:])
    up.stop()
    s.send({"runId": "x", "n": 1, "type": "run_end"})
    wait_for("the status line", lambda: d.notified("") is not None and any(
        x.startswith("STATUS=upstream away, next try in ") for x in d.notes),
        context=lambda: str(d.notes))
    d.signal(signal.SIGTERM)
    t.equal(d.wait(), 0, "exit status")
    t.true(d.notified("STOPPING=1"), str(d.notes))


# --- socket activation -----------------------------------------------------------

class Manager:
    """Holds the sockets and passes them to one lumnid after the other, as
    systemd does; which of the names are told, and in which order, is up to
    the test."""

    def __init__(self, t):
        self.t = t
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.bind(t.stream_path)
        self.stream.listen(4096)
        self.dgram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dgram.bind(t.dgram_path)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # What comes while nobody reads has room.
        for force in socket.SO_RCVBUF, 33:      # SO_RCVBUFFORCE
            with contextlib.suppress(OSError):
                self.udp.setsockopt(socket.SOL_SOCKET, force, 8 << 20)
        self.udp.bind(("127.0.0.1", 0))
        for s in self.stream, self.dgram, self.udp:
            t.files.callback(s.close)

    def start(self, socks=None, names=None, wait=True):
        """Start t.daemon with these sockets as descriptors 3, 4, ..."""
        socks = socks or [self.stream, self.dgram, self.udp]
        fds = [fcntl.fcntl(s, fcntl.F_DUPFD, 100) for s in socks]
        env = {"LUMNI_API_KEY": lumnid_it.KEY,
               "LISTEN_FDS": str(len(socks))}
        if names:
            env["LISTEN_FDNAMES"] = ":".join(names)
        # Python's own descriptors are closed by the exec.
        code = ("import os, sys\n"
                f"for i, fd in enumerate({fds}):\n"
                "    os.dup2(fd, 3 + i)\n"
                "    os.close(fd)\n"
                "os.environ['LISTEN_PID'] = str(os.getpid())\n"
                "os.execv(sys.argv[1], sys.argv[1:])\n")
        self.t.daemon = lumnid_it.Lumnid(
            self.t, self.t.conf, env, pass_fds=fds,
            prefix=["/usr/bin/python3", "-S", "-c", code])
        for fd in fds:
            os.close(fd)
        if wait:
            self.t.daemon.wait_ready()
        return self.t.daemon


def test_restarts_while_the_sockets_are_held(t, count=50):
    """Fifty restarts under load: no send of any agent fails, and all of what
    was sent comes, acknowledged or not."""
    t.upstream()
    t.configure(log={"level": "info"}, runs={"idle": "1h", "max_age": "2h"},
                listen={"udp": "127.0.0.1:0"})
    m = Manager(t)
    m.start()
    stopping = threading.Event()
    sent = {}
    faults = []

    def agent(run, step):
        sent[run] = []
        try:
            while not stopping.is_set():
                step(run, len(sent[run]))
                sent[run].append(len(sent[run]))
        except Exception as e:  # told below
            faults.append(f"{run}: {type(e).__name__}: {e}")

    again = []

    def passing(run, n):
        """Nothing is acknowledged. Connecting never fails; where lumnid ends
        the connection before the event is written, the agent sees it, and
        the next connection is the next lumnid's."""
        while True:
            s = Stream(t.stream_path, 60)
            try:
                s.send({"runId": run, "n": n})
                break
            except BrokenPipeError:
                again.append(n)
            finally:
                s.close()
        time.sleep(0.002)

    def asking(run, n):
        """One that wants to know; a connection that lumnid ended before it
        answered is no loss, as the agent knows what to say again."""
        while True:
            s = Stream(t.stream_path, 60)
            try:
                answer = s.ask({"runId": run, "events": [{"n": n}], "ack": n})
            except (ConnectionResetError, BrokenPipeError):
                answer = None
                again.append(n)
            finally:
                s.close()
            if answer == {"ack": n}:
                return
            if answer is not None:
                raise Failure(f"answer {answer}")

    def datagrams(where):
        def step(run, n):
            s = socket.socket(where.family, socket.SOCK_DGRAM)
            s.settimeout(60)
            s.sendto(pack({"runId": run, "n": n}), where.getsockname())
            s.close()
            time.sleep(0.002)
        return step
    threads = [threading.Thread(target=agent, args=a, daemon=True) for a in (
        ("passing", passing), ("asking", asking),
        ("udp", datagrams(m.udp)), ("dgram", datagrams(m.dgram)))]
    for x in threads:
        x.start()
    begun = time.monotonic()
    for i in range(count):
        had = sum(map(len, list(sent.values())))
        wait_for("agents that go on", lambda: faults or sum(
            map(len, list(sent.values()))) >= had + 20, step=0.001)
        t.daemon.stop()
        m.start()
    took = time.monotonic() - begun
    stopping.set()
    for x in threads:
        x.join(60 * lumnid_it.SLOW)
    t.equal(faults, [], "failed sends")
    t.daemon.stop()
    t.configure(log={"level": "info"}, runs={"idle": "10ms"},
                listen={"http": "127.0.0.1:0"})
    m.start()
    said = [x for p in t.processes for x in p.lines if x and re.match(
        "(warn|error) (?!socket_differs)", x)]
    t.equal(said, [], "what the log complains of")
    status = t.daemon.status()
    t.equal(status["refused_messages"], 0, "messages refused")
    t.check_runs(sent, seconds=60, unordered=sent)
    t.equal(status["kernel_dropped"], {"udp": 0, "dgram": 0, "truncated": 0})
    t.true(os.path.exists(t.stream_path), "the socket is there")
    t.daemon.stop()
    t.true(os.path.exists(t.stream_path), "the socket is there for the next")
    print(f"# {count} restarts in {took:.1f} s, "
          + ", ".join(f"{k} {len(v)}" for k, v in sent.items())
          + f"; {len(again)} on a second connection")


def test_sockets_by_their_names(t):
    """LISTEN_FDNAMES puts each in its place, in any order; unnamed ones, and
    those with the names that systemd gives, go by their kind."""
    up = t.upstream()
    t.configure(log={"level": "info"}, listen={"udp": "127.0.0.1:0"})
    m = Manager(t)
    n = 0
    for order, names in (
            ((m.udp, m.dgram, m.stream), ("udp", "dgram", "stream")),
            ((m.dgram, m.stream, m.udp), None),
            ((m.stream, m.udp, m.dgram), ("lumnid.socket",) * 3)):
        m.start(list(order), names)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.sendto(pack({"runId": f"u{n}", "n": 0, "type": "run_end"}),
                   m.udp.getsockname())
        udp.close()
        t.dgram().send({"runId": f"d{n}", "n": 0, "type": "run_end"})
        t.stream().send({"runId": f"s{n}", "n": 0, "type": "run_end"})
        n += 3
        up.wait_sums(events=n)
        t.daemon.stop()
    for socks, names, want in (
            ((m.udp,), ("stream",), "descriptor 3 named stream is no Unix "
             "stream"),
            ((m.udp, m.udp), None, "descriptor 4 is a second socket"),
            ((m.stream, m.stream), ("stream", "stream"), "second socket")):
        d = m.start(list(socks), names, wait=False)
        t.equal(d.wait(), 1, "exit status")
        t.true(want in d.log(), d.log())
    tcp = socket.socket()
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    d = m.start([tcp], wait=False)
    t.equal(d.wait(), 1, "exit status")
    t.true("socket activation: descriptor 3 is no" in d.log(), d.log())
    tcp.close()


def test_a_held_socket_differs_from_the_configuration(t):
    """Then the configuration has no say, and the log tells."""
    t.upstream()
    t.configure(log={"level": "info"}, listen={
        "unix": {"path": t.stream_path + ".other"}, "udp": "127.0.0.1:0"})
    d = Manager(t).start()
    m, at = d.wait_line(r"warn socket_differs key=listen.unix.path .*")
    t.true(f"open={t.stream_path}" in m.group(0), m.group(0))
    t.true(not os.path.exists(t.stream_path + ".other"), "another socket")
    t.configure(log={"level": "info"}, listen={
        "unix": {"path": t.stream_path + ".third"}})
    d.signal(signal.SIGHUP)
    m, _ = d.wait_line(r"warn socket_differs key=listen.unix.path .*", after=at)
    t.true("third" in m.group(0), m.group(0))
    d.wait_line("reloaded")
    t.equal(t.stream().ask({"runId": "r", "events": [{"n": 0}], "ack": 0}),
            {"ack": 0})


def test_systemd_socket_activate(t):
    """The real thing starts lumnid with the first connection."""
    if shutil.which("systemd-socket-activate") is None:
        raise Skip("systemd-socket-activate is not installed")
    up = t.upstream()
    t.configure(log={"level": "info"}, listen={"udp": "off"})
    t.daemon = lumnid_it.Lumnid(
        t, t.conf, {"LUMNI_API_KEY": lumnid_it.KEY}, prefix=[
            "systemd-socket-activate", "-l", t.stream_path,
            "-E", "LUMNI_API_KEY", "-E", "NOTIFY_SOCKET", "-E",
            "ASAN_OPTIONS", "-E", "UBSAN_OPTIONS"])
    wait_for("the socket", lambda: os.path.exists(t.stream_path))
    s = t.stream()
    s.send({"runId": "r", "events": [{"n": 0}], "ack": 0, "end": True})
    t.equal(s.answer(), {"ack": 0})
    up.wait_sums(events=1)
    t.daemon.stop()


# --- the units -----------------------------------------------------------------------

def test_the_unit_is_hardened(t):
    """At most 1.5 by systemd's own measure, of the unit as it is built."""
    if shutil.which("systemd-analyze") is None:
        raise Skip("systemd-analyze is not installed")
    service = os.path.join(BUILD, "packaging", "systemd", "lumnid.service")
    done = t.run("make", "-C", BUILD, "-s", "packaging/systemd/lumnid.service",
                 "packaging/systemd/lumnid.socket", seconds=60)
    t.equal(done.returncode, 0, done.stderr)
    done = t.run("systemd-analyze", "security", "--offline=true",
                 "--threshold=15", "--no-pager", service, seconds=60)
    m = re.search(r"exposure level for lumnid\.service: ([0-9.]+)",
                  done.stdout)
    t.true(m, done.stdout + done.stderr)
    t.true(done.returncode == 0 and float(m.group(1)) <= 1.5, done.stdout)
    print(f"# exposure {m.group(1)}")
    with open(service, encoding="utf-8") as f:
        unit = f.read()
    for word in ("Type=notify", "WatchdogSec=", "LoadCredential=api_key:"):
        t.true(re.search("^" + word, unit, re.M), word)


if __name__ == "__main__":
    lumnid_it.main(limit=300)
