#!/usr/bin/python3
"""lumnictl top in a terminal of its own: drawn, sorted, resized, stopped,
ended; and whatever ends it, the terminal is as it was. Colours and the
progress bar of drain, which are for terminals, too."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import lumnid_it
from lumnid_it import Failure, deadline, program, wait_for

ENTER = "\x1b[?1049h"
LEAVE = "\x1b[?1049l"


class Terminal:
    """lumnictl in a pty, as its controlling terminal; what it writes."""

    def __init__(self, t, *argv, rows=24, columns=80, env=None, shell=()):
        self.t = t
        self.master, self.slave = pty.openpty()
        t.files.callback(self.close)
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        full = dict(os.environ, TERM="xterm")
        full.pop("NO_COLOR", None)
        full.update(env or {})
        self.p = subprocess.Popen(
            [*shell, program("lumnictl"), "--socket", t.stream_path, *argv],
            stdin=self.slave, stdout=self.slave, stderr=self.slave,
            env=full, start_new_session=True, preexec_fn=lambda:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode("utf-8",
                                                            "replace")

    def wait(self, what, after=0, seconds=20):
        """Until a pattern has been written; returns the place behind it."""
        end = deadline(seconds)
        while True:
            self.read()
            m = re.compile(what, re.S).search(self.text, after)
            if m:
                return m.end()
            if time.monotonic() > end:
                raise Failure(f"no {what!r} on the terminal: "
                              f"{self.text[-3000:]!r}\n" + self.t.logs())
            select.select([self.master], [], [], 0.05)

    def send(self, keys):
        os.write(self.master, keys.encode())

    def ended(self):
        """Wait for its end; everything it wrote is in text."""
        wait_for("lumnictl to end", lambda: (self.read(),
                 self.p.poll() is not None)[1], context=lambda: self.text)
        self.read()
        return self.p.returncode

    def check_restored(self):
        self.t.equal(termios.tcgetattr(self.slave), self.before, "termios")
        self.t.true(self.text.rstrip().endswith(LEAVE) or
                    self.text.rfind(LEAVE) > self.text.rfind(ENTER),
                    f"the screen is left: {self.text[-200:]!r}")
        self.t.true(self.text.rfind("\x1b[?25h") >
                    self.text.rfind("\x1b[?25l"), "the cursor is gone")

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        os.close(self.master)
        os.close(self.slave)


def start(t, script=""):
    up = t.upstream(script=script)
    t.lumnid(runs={"idle": "5min"})
    return up


def send(t, run, n=1):
    s = t.stream()
    t.equal(s.ask({"runId": run, "events": [{"n": i, "type": "t"} for i in
                                           range(n)],
                   "ack": 1}), {"ack": 1})
    s.close()


def order(text):
    """The runs, in the order of the newest drawing."""
    return re.findall(r"run_\w", text[text.rfind("\x1b[H"):])


def test_draws(t):
    """It draws, follows, sorts by key, and q ends it."""
    start(t)
    send(t, "run_a", 2)
    send(t, "run_b", 9)
    send(t, "run_c", 5)
    top = Terminal(t, "top", "--interval", "200ms")
    at = top.wait("run_a.*\x1b\\[J")
    t.true(ENTER in top.text, "the other screen")
    t.equal(order(top.text), ["run_c", "run_b", "run_a"], "recent first")
    top.send("a")
    at = top.wait("by age.*run_c.*\x1b\\[J", at)
    t.equal(order(top.text), ["run_a", "run_b", "run_c"], "by age")
    top.send("e")
    at = top.wait("by events.*run_a.*\x1b\\[J", at)
    t.equal(order(top.text), ["run_b", "run_c", "run_a"], "by events")
    send(t, "run_d", 20)
    at = top.wait("run_d.*\x1b\\[J", at)
    # Another size: no line is longer than the terminal is wide.
    top.resize(14, 40)
    os.kill(top.p.pid, signal.SIGWINCH)
    at = top.wait("\x1b\\[H", at)
    at = top.wait("\x1b\\[J", at)
    shown = top.text[top.text.rfind("\x1b[H", 0, at):at]
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    t.true(len(plain.split("\r\n")) <= 14, plain)
    t.true(max(map(len, plain.split("\r\n")[:9])) <= 40, plain)
    top.send("q")
    t.equal(top.ended(), 0)
    top.check_restored()


def test_signals(t):
    """Each signal that ends it finds the terminal as it was."""
    start(t)
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        top = Terminal(t, "top")
        top.wait("lumnid.*\x1b\\[J")
        top.p.send_signal(sig)
        t.equal(top.ended(), -sig)
        top.check_restored()


def test_stop(t):
    """^Z gives the terminal back; fg draws again. In a shell with job control:
    who has none above him in his session cannot be stopped."""
    start(t)
    top = Terminal(t, "top", "--interval", "200ms", shell=(
        "sh", "-mc", '"$@"; echo stopped; read x; fg', "sh"))
    at = top.wait("lumnid.*\x1b\\[J")
    raw = termios.tcgetattr(top.slave)
    t.true(raw != top.before, "termios")
    top.send("\x1a")
    at = top.wait(re.escape(LEAVE) + ".*stopped", at)
    t.equal(termios.tcgetattr(top.slave), top.before, "termios")
    top.send("go on\r")
    at = top.wait(re.escape(ENTER) + ".*lumnid.*\x1b\\[J", at)
    t.equal(termios.tcgetattr(top.slave), raw, "termios")
    top.send("q")
    t.equal(top.ended(), 0)
    top.check_restored()


def test_away(t):
    """A lumnid that goes away is waited for; one that never was is not."""
    start(t)
    top = Terminal(t, "top", "--interval", "200ms")
    at = top.wait("forwarding")
    t.daemon.stop()
    at = top.wait("no control socket", at)
    t.lumnid()
    top.wait("forwarding", at)
    top.send("q")
    t.equal(top.ended(), 0)
    t.daemon.stop()
    top = Terminal(t, "top")
    t.equal(top.ended(), 3)
    top.check_restored()


def test_json(t):
    start(t)
    send(t, "run_a", 3)
    done = t.run(program("lumnictl"), "--socket", t.stream_path, "top",
                 "--json", "--count", "2", "-i", "100ms")
    t.equal(done.returncode, 0, done.stderr)
    looks = [json.loads(x) for x in done.stdout.splitlines()]
    t.equal(len(looks), 2)
    t.equal(looks[1]["runs"]["runs"][0]["runId"], "run_a")
    t.equal(looks[1]["status"]["events"]["accepted"], 3)
    done = t.run(program("lumnictl"), "--socket", t.stream_path, "top")
    t.equal(done.returncode, 2)


def test_json_away(t):
    """A lumnid that goes away is told of, and waited for: it ended here."""
    start(t)
    with subprocess.Popen(
            [program("lumnictl"), "--socket", t.stream_path, "top", "--json",
             "-i", "100ms"], stdout=subprocess.PIPE, text=True) as p:
        def until(key):
            for line in p.stdout:
                if key in json.loads(line):
                    return
            raise Failure(f"no look with {key}: it ended")
        try:
            until("status")
            t.daemon.stop()
            until("error")
            t.lumnid()
            until("status")
        finally:
            p.kill()
    t.daemon.stop()
    done = t.run(program("lumnictl"), "--socket", t.stream_path, "top",
                 "--json", "--count", "3")
    t.equal((done.returncode, done.stdout), (3, ""))


def test_colours(t):
    """On a terminal, unless NO_COLOR says no; cut at its width."""
    start(t)
    send(t, "x" * 200)
    for env, colours in (({}, True), ({"NO_COLOR": "1"}, False),
                         ({"TERM": "dumb"}, False)):
        for argv in (("status",), ("runs",), ("run", "x" * 200)):
            term = Terminal(t, *argv, columns=70, env=env)
            t.equal(term.ended(), 0, term.text)
            t.equal("\x1b" in term.text, colours, (env, argv, term.text))
            plain = re.sub(r"\x1b\[[0-9;]*m", "", term.text)
            if argv[0] == "runs":
                t.true(max(map(len, plain.split("\r\n"))) <= 70, plain)
                t.true("\u2026" in plain, plain)


def test_drain_bar(t):
    """A bar while it drains, and nothing of it at the end."""
    up = start(t, script="status=503\n")
    send(t, "a", 4)
    term = Terminal(t, "drain")
    term.wait(r"\[ +\] 0 of 4 events; upstream away")
    up.script("")
    t.equal(term.ended(), 0, term.text)
    t.true(term.text.endswith("\r\x1b[Kdelivered 4 events\r\n"),
           repr(term.text))


if __name__ == "__main__":
    lumnid_it.main()
