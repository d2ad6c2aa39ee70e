#!/usr/bin/python3
"""`lumnid --upstream URL --key-file F` on a terminal, as a user without rights
and without a configuration file: where its files are, what it says, and that
the next command works as it is shown."""

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import termios
import time

import lumnid_it
from lumnid_it import Failure, Skip, deadline, wait_for

NOBODY = 65534


class Terminal:
    """lumnid on a terminal of its own."""

    def __init__(self, t, argv, env, user):
        self.t = t
        self.text = ""
        ours, theirs = pty.openpty()
        self.fd = ours
        self.proc = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env,
            cwd="/", start_new_session=True, preexec_fn=lambda:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0), **user)
        os.close(theirs)
        t.files.callback(self.end)

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:     # EIO: its end
            return False
        self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)

    def wait_line(self, pattern, seconds=20):
        end = deadline(seconds)
        while True:
            m = re.search(pattern, self.text, re.M)
            if m:
                return m
            left = end - time.monotonic()
            if left < 0 or (not self.read(left) and
                            self.proc.poll() is not None):
                raise Failure(f"no line like {pattern}:\n{self.text}")

    def type(self, data):
        os.write(self.fd, data)

    def wait(self):
        wait_for("its end", lambda: self.proc.poll() is not None or
                 self.read(0.01) and False)
        while self.read(0):
            pass
        return self.proc.returncode

    def end(self):
        if self.proc.poll() is None:
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        os.close(self.fd)


class User:
    """Somebody with a home, and programs that anybody may run."""

    def __init__(self, t):
        self.t = t
        if os.path.exists("/etc/lumnid/lumnid.yaml") and \
                os.access("/etc/lumnid/lumnid.yaml", os.R_OK):
            raise Skip("this host has a configuration of lumnid")
        self.how = {}
        self.home = os.path.join(t.dir, "home")
        self.run = os.path.join(t.dir, "run")
        bin_ = os.path.join(t.dir, "bin")
        for d in self.home, self.run, bin_:
            os.mkdir(d, 0o700)
        for name in "lumnid", "lumnictl":
            self.__dict__[name] = shutil.copy(lumnid_it.program(name), bin_)
        self.key = os.path.join(self.home, "key")
        with open(self.key, "w", encoding="ascii") as f:
            f.write(lumnid_it.KEY + "\n")
        os.chmod(self.key, 0o600)
        if os.geteuid() == 0:
            self.how = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chmod(t.dir, 0o711)
            os.chmod(bin_, 0o755)
            for path in self.home, self.run, self.key:
                os.chown(path, NOBODY, NOBODY)
        self.env = {"HOME": self.home, "XDG_RUNTIME_DIR": self.run,
                    "PATH": bin_ + ":/usr/bin:/bin", "TZ": "UTC", **{
                        k: v for k, v in os.environ.items()
                        if k.endswith("SAN_OPTIONS")}}

    def start(self, *args, **env):
        env = {k: v for k, v in {**self.env, **env}.items() if v is not None}
        return Terminal(self.t, [
            self.lumnid, "--upstream", self.t.url(), "--key-file", self.key,
            # Others may use these ports on this host.
            "--set", "listen.udp=127.0.0.1:0",
            "--set", "listen.http=127.0.0.1:0", *args], env, self.how)

    def does(self, command, **env):
        return subprocess.run(
            command, env={**self.env, **env}, cwd="/", capture_output=True,
            text=True, timeout=30 * lumnid_it.SLOW, check=False, **self.how)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_on_a_terminal(t):
    up = t.upstream()
    u = User(t)
    term = u.start()
    hint = term.wait_line(r'^(\d\d:\d\d:\d\d) info hint try="(.*)"$')
    sock = os.path.join(u.run, "lumnid", "lumnid.sock")
    state = os.path.join(u.home, ".local", "state", "lumnid")
    term.wait_line(r"info started version=\S+ config=defaults "
                   rf"upstream=\S+ storage={re.escape(state)} ")
    t.equal((mode(os.path.dirname(sock)), mode(sock), mode(state)),
            (0o700, 0o660, 0o700), "modes")
    t.true(sorted(os.listdir(state)) >= ["dead", "journal", "spool"], state)
    t.equal(sorted(os.listdir(u.home)), [".local", "key"], "in the home")

    # What the hint says works as it stands, and without naming the socket.
    words = shlex.split(hint.group(2))
    t.equal(words[:3], ["lumnictl", "--socket", sock])
    done = u.does(words)
    t.equal(done.returncode, 0, done.stderr + done.stdout)
    done = u.does([words[0], *words[3:], "--end"])
    t.equal(done.returncode, 0, done.stderr + done.stdout)
    up.wait_sums(events=2)
    t.equal([e["text"] for e in t.runs()["demo"]], ["hello", "hello"])
    done = u.does(["lumnictl", "status"])
    t.equal(done.returncode, 0, done.stderr + done.stdout)

    # ^C ends it in order.
    term.type(b"\x03")
    term.wait_line("info stopped")
    t.equal(term.wait(), 0, "exit status")
    t.true(not os.path.exists(sock), "the socket is gone")


def test_without_a_runtime_directory(t):
    """Said clearly; the sockets are beside the state, where lumnictl looks
    for them, too. XDG_STATE_HOME has its say."""
    up = t.upstream()
    u = User(t)
    state = os.path.join(u.home, "elsewhere")
    term = u.start(XDG_RUNTIME_DIR=None, XDG_STATE_HOME=state)
    m = term.wait_line(r"warn no_runtime_dir .*")
    t.true(f"sockets={state}/lumnid/run " in m.group(0), m.group(0))
    term.wait_line("info hint")
    done = u.does(["lumnictl", "send", "--run", "r", "--type", "x",
                   "--end", "n=1"],
                  XDG_RUNTIME_DIR="", XDG_STATE_HOME=state)
    t.equal(done.returncode, 0, done.stderr)
    up.wait_sums(events=1)
    term.proc.terminate()
    t.equal(term.wait(), 0, "exit status")


def test_a_key_is_needed(t):
    """Without a terminal there is no time and no hint; a fault is told in a
    sentence, with what to do."""
    t.upstream()
    u = User(t)
    done = u.does([u.lumnid, "--upstream", t.url()])
    t.equal(done.returncode, 2, done.stderr)
    t.true("key" in done.stderr and done.stderr.startswith("lumnid: "),
           done.stderr)
    done = u.does([u.lumnid])
    t.equal(done.returncode, 2, done.stderr)
    t.true("--upstream URL" in done.stderr, done.stderr)
    done = u.does([u.lumnid, "--upstream", t.url(), "--set", "runs.idel=1s"])
    t.equal(done.returncode, 2, done.stderr)
    t.true('did you mean "runs.idle"' in done.stderr, done.stderr)
    done = u.does([u.lumnid, "--upstream", t.url(), "--set", "nothing"])
    t.equal(done.returncode, 2, done.stderr)


def test_the_time_in_a_file(t):
    t.upstream()
    u = User(t)
    path = os.path.join(t.dir, "log")
    with open(path, "wb") as log:
        p = subprocess.Popen(
            [u.lumnid, "--upstream", t.url(), "--key-file", u.key, "--set",
             "listen.udp=off", "--set", "listen.http=off"], stdout=log,
            stderr=log, stdin=subprocess.DEVNULL, env=u.env, cwd="/",
            **u.how)
    try:
        def started():
            with open(path, encoding="utf-8") as f:
                text = f.read()
            return " info started " in text and text
        text = wait_for("the start", started)
    finally:
        p.terminate()
        p.wait(30 * lumnid_it.SLOW)
    t.equal(p.returncode, 0, text)
    for line in text.strip().split("\n"):
        t.true(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
                        r"(info|warn) [a-z_]+( |$)", line), line)
    t.true("hint" not in text, text)


if __name__ == "__main__":
    lumnid_it.main()
