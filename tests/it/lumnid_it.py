"""The harness of the integration tests.

A test file holds functions test_*(t) and ends with lumnid_it.main(). `t` is a
Case: a temporary directory, the processes started in it, and the checks. One
line is printed per function, `ok name`, `FAIL name` or `skip name: reason`;
the exit status is 0, 1, or 77 where all were skipped.

Nothing here sleeps for luck: a wait ends with what it waits for, or at a
deadline, with a message that holds the logs. Every process is ended by its
pid, every file lies below the temporary directory.

Only /usr/bin/python3, its standard library and python3-msgpack are needed.
"""

import contextlib
import ctypes
import errno
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import msgpack

BUILD = os.environ.get("LUMNID_BUILD", os.getcwd())
SOURCE = os.environ.get("LUMNID_SOURCE", BUILD)
# Deadlines are multiplied by it; sanitizers and valgrind are slow.
SLOW = float(os.environ.get("LUMNID_SLOW", "1"))
# A sanitized build has other figures of memory and time.
SANITIZED = bool(os.environ.get("LUMNID_SAN_CFLAGS"))
KEY = "test-key-0123456789"


class Skip(Exception):
    """The test cannot run here, for the reason given."""


class Failure(AssertionError):
    """What the test looked for is not so."""


def deadline(seconds):
    return time.monotonic() + seconds * SLOW


def wait_for(what, condition, seconds=20, step=0.005, context=None):
    """Return condition()'s first true value; fail at the deadline."""
    end = deadline(seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            more = "\n" + context() if context else ""
            raise Failure(f"waited {seconds * SLOW:.0f} s for {what}{more}")
        time.sleep(step)


def program(name):
    """The path of a built program, as lumnid or tests/support/upstream."""
    path = os.path.join(BUILD, name)
    if not os.path.exists(path):
        raise Skip(f"{name} is not built")
    return path


class Process:
    """A child whose output is collected line by line."""

    def __init__(self, case, argv, name, env=None, **kw):
        self.case = case
        self.name = name
        self.lines = []
        self._news = threading.Condition()
        full = dict(os.environ, **(env or {}))
        # Nothing of the surroundings may reach what is tested.
        for var in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy",
                    "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
            if var not in (env or {}):
                full.pop(var, None)
        self.proc = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=full, cwd=case.dir, **kw)
        self.pid = self.proc.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        case.processes.append(self)

    def _read(self):
        for raw in self.proc.stdout:
            with self._news:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append(None)
            self._news.notify_all()

    def log(self, last=60):
        with self._news:
            lines = [x for x in self.lines if x is not None]
        return f"--- {self.name} (pid {self.pid}), last lines:\n" + \
            "\n".join(lines[-last:])

    def said(self, pattern):
        """Is there a line that matches, so far?"""
        with self._news:
            return any(re.search(pattern, x) for x in self.lines if x)

    def wait_line(self, pattern, seconds=20, after=0):
        """Wait for a line that matches; return (match, its index + 1)."""
        end = deadline(seconds)
        rx = re.compile(pattern)
        at = after
        with self._news:
            while True:
                while at < len(self.lines):
                    if self.lines[at] is None:
                        break
                    m = rx.search(self.lines[at])
                    at += 1
                    if m:
                        return m, at
                ended = at < len(self.lines)
                left = end - time.monotonic()
                if ended or left <= 0:
                    break
                self._news.wait(left)
        raise Failure(f"{self.name} printed no line like {pattern!r} "
                      f"{'before it ended' if ended else 'in time'}\n"
                      + self.log())

    def alive(self):
        return self.proc.poll() is None

    def signal(self, sig):
        self.proc.send_signal(sig)

    def wait(self, seconds=20):
        """Wait for its end; return the exit status."""
        try:
            status = self.proc.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end in time\n"
                          + self.log()) from None
        self._reader.join(10)
        return status

    def stop(self, seconds=20):
        """SIGTERM, and an exit status of 0."""
        self.signal(signal.SIGTERM)
        status = self.wait(seconds)
        if status != 0:
            raise Failure(f"{self.name}: exit status {status} after SIGTERM\n"
                          + self.log())

    def kill(self):
        """SIGKILL."""
        if self.alive():
            self.proc.kill()
        self.proc.wait()
        self._reader.join(10)

    def cpu_seconds(self):
        """User and system time so far, of a living process."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            rest = f.read().rsplit(")", 1)[1].split()
        return (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")

    def private_kib(self):
        """Private memory now, in KiB."""
        total = 0
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            for line in f:
                if line.startswith("Private_"):
                    total += int(line.split()[1])
        return total

    def sanitizer_report(self):
        with self._news:
            for line in self.lines:
                if line and re.search(
                        r"ERROR: \w+Sanitizer|runtime error:"
                        r"|SUMMARY: \w+Sanitizer", line):
                    return line
        return None


class Upstream(Process):
    """The test upstream. Its port stays the same over restarts."""

    def __init__(self, case, out, script="", key=KEY, dedupe=False,
                 unix_path=None, holder=None, extra=(), prefix=(),
                 host="127.0.0.1", port=None):
        self.out = out
        self.unix_path = unix_path
        self.host = host
        self.holder = holder
        argv = [*prefix, program("tests/support/upstream"), "--out", out]
        if key:
            argv += ["--key", key]
        if dedupe:
            argv.append("--dedupe")
        if script:
            path = os.path.join(case.dir, "script")
            with open(path, "w", encoding="utf-8") as f:
                f.write(script)
            argv += ["--script", path]
        if unix_path:
            argv += ["--unix", unix_path]
        else:
            self.port = port or holder.getsockname()[1]
            argv += ["--port", str(self.port)]
        argv += extra
        super().__init__(case, argv, "upstream")
        self.wait_line(r"^listening ")

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def request(self, method, path, body=None, headers=None, seconds=20):
        """One HTTP request; returns (status, headers, body)."""
        if self.unix_path:
            con = http.client.HTTPConnection("localhost")
            con.sock = socket.socket(socket.AF_UNIX)
            con.sock.settimeout(seconds * SLOW)
            con.sock.connect(self.unix_path)
        else:
            con = http.client.HTTPConnection(self.host, self.port,
                                             timeout=seconds * SLOW)
        with contextlib.closing(con):
            con.request(method, path, body, headers or {})
            answer = con.getresponse()
            return answer.status, answer.headers, answer.read()

    def stats(self):
        return json.loads(self.request("GET", "/_test/stats")[2])

    def wait_sums(self, seconds=60, **sums):
        """Wait until these sums are reached: events, requests, batches,
        records. Returns all sums."""
        query = "&".join(f"{k}={v}" for k, v in sums.items())
        try:
            return json.loads(self.request(
                "GET", "/_test/wait?" + query, seconds=seconds)[2])
        except (TimeoutError, socket.timeout):
            raise Failure(
                f"the upstream did not reach {sums} in {seconds * SLOW:.0f} s:"
                f" {self.stats()}\n" + self.case.logs()) from None

    def script(self, text):
        """Replace the fault rules; see tests/support/up_script.h."""
        status, _, body = self.request("POST", "/_test/script", text.encode())
        if status != 200:
            raise Failure(f"script refused: {body!r}")

    def requests(self):
        return read_lines(self.out)


def each_line(path):
    """What an upstream wrote: one dict a request."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.endswith("\n"):     # the upstream may be at it
                yield json.loads(line)


def read_lines(path):
    return list(each_line(path))


# Path of a stream socket -> what was acknowledged on it, by kind. Every client
# is counted, whoever made it.
ACKED = {}


class Lumnid(Process):
    """The daemon, started and ready."""

    def __init__(self, case, conf_path, env, args=(), prefix=(), **kw):
        case.books.clear()      # they are told anew at the end
        self.notify_path = os.path.join(case.dir, "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.notify_path)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self.notify_path)
        self._notify.setblocking(False)
        self.notes = []
        # Whoever is not root could not look into its /proc/PID.
        own = () if os.geteuid() == 0 else ("--core-dumps",)
        super().__init__(
            case, [*prefix, program("lumnid"), "-c", conf_path, *own, *args],
            "lumnid", dict(env, NOTIFY_SOCKET=self.notify_path), **kw)

    def notified(self, word):
        """Has it sent this line to NOTIFY_SOCKET?"""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notes += self._notify.recv(4096).decode().split("\n")
        return word in self.notes

    def wait_ready(self, seconds=20):
        """Wait until it says that it is ready; fail if it ends before."""
        def ready():
            if not self.alive():
                self._reader.join(10)
                raise Failure(f"lumnid ended with {self.proc.poll()} before "
                              "it was ready\n" + self.log())
            return self.notified("READY=1")
        wait_for("lumnid to be ready", ready, seconds, step=0.002,
                 context=self.log)

    def stop(self, seconds=20):
        if self.alive():
            self.case.check_secrets_of_living(self)
        super().stop(seconds)
        self._notify.close()
        self.case.note_books(self)

    def kill(self):
        super().kill()
        self._notify.close()

    def http_port(self):
        """The port of listen.http, which is on."""
        return wait_for("lumnid's HTTP listener", self.http_port_if_any,
                        context=self.log)

    def http_port_if_any(self):
        """The same, as far as it was told; or None."""
        with self._news:
            for line in reversed(self.lines):
                m = line and re.search(
                    r"listening\W.*input\W+http\W.*address\W+\S*:(\d+)",
                    line)
                if m:
                    return int(m.group(1))
        return None

    def get(self, path, seconds=20):
        """GET of the HTTP listener; returns (status, body)."""
        port = self.http_port()
        con = http.client.HTTPConnection("127.0.0.1", port,
                                         timeout=seconds * SLOW)
        with contextlib.closing(con):
            con.request("GET", path)
            answer = con.getresponse()
            return answer.status, answer.read().decode("utf-8")

    def status(self):
        """What GET /status tells."""
        return json.loads(self.get("/status")[1])

    def _inodes(self):
        found = set()
        base = f"/proc/{self.pid}/fd"
        for fd in os.listdir(base):
            with contextlib.suppress(OSError):
                m = re.match(r"socket:\[(\d+)\]",
                             os.readlink(os.path.join(base, fd)))
                if m:
                    found.add(m.group(1))
        return found

    def _udp(self):
        """(port, datagrams dropped by the kernel, bytes waiting) of its UDP
        socket."""
        inodes = self._inodes()
        for table in ("udp", "udp6"):
            with open(f"/proc/net/{table}", encoding="ascii") as f:
                for line in f.readlines()[1:]:
                    w = line.split()
                    if w[9] in inodes:
                        return (int(w[1].rsplit(":", 1)[1], 16), int(w[12]),
                                int(w[4].split(":")[1], 16))
        return None

    def udp_port(self):
        return wait_for("lumnid's UDP socket", self._udp)[0]

    def udp_drops(self):
        """Datagrams that the kernel dropped, once lumnid has read all."""
        wait_for("lumnid to read its UDP socket",
                 lambda: self._udp()[2] == 0, context=self.log)
        return self._udp()[1]


class Stream:
    """A client on the stream socket."""

    def __init__(self, path, seconds=20):
        self._counts = ACKED.setdefault(path, {"events": 0, "records": 0})
        self._asked = {}        # ack id -> [(kind, number)]
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(seconds * SLOW)
        self.sock.connect(path)
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        self.answers = []

    def send(self, *messages):
        """Send messages (dicts, or bytes as they are) in one write."""
        for m in messages:
            if isinstance(m, dict) and "ack" in m:
                what = ("records", 1) if "change" in m or "policy" in m else \
                    ("events", len(m["events"]) if isinstance(
                        m.get("events"), list) else 1)
                self._asked.setdefault(repr(m["ack"]), []).append(what)
        self.sock.sendall(pack(*messages))

    def _count(self, answer):
        """Keep count of what is safe now."""
        # Of a socket of another kind there is no count.
        asked = isinstance(answer, dict) and \
            getattr(self, "_asked", {}).get(repr(answer.get("ack")))
        if asked:
            kind, n = asked.pop(0)
            if "error" not in answer:
                self._counts[kind] += n

    def answer(self):
        """The next answer; None when lumnid closed the connection."""
        while True:
            for answer in self._unpacker:
                self._count(answer)
                self.answers.append(answer)
                return answer
            data = self.sock.recv(65536)
            if not data:
                return None
            self._unpacker.feed(data)

    def ask(self, message):
        """Send a message that asks for an ack, and return the answer."""
        self.send(message)
        return self.answer()

    def poll_answers(self):
        """The answers that have come, without waiting."""
        got = []
        while select.select([self.sock], [], [], 0)[0]:
            data = self.sock.recv(65536)
            if not data:
                break
            self._unpacker.feed(data)
        got.extend(self._unpacker)
        for answer in got:
            self._count(answer)
        self.answers += got
        return got

    def close(self):
        self.sock.close()


def pack(*messages):
    return b"".join(m if isinstance(m, (bytes, bytearray))
                    else msgpack.packb(m, use_bin_type=True)
                    for m in messages)


class Datagram:
    """A client on the datagram socket or on UDP."""

    def __init__(self, to, seconds=20):
        udp = isinstance(to, int)
        self.sock = socket.socket(socket.AF_INET if udp else socket.AF_UNIX,
                                  socket.SOCK_DGRAM)
        self.sock.settimeout(seconds * SLOW)
        self.sock.connect(("127.0.0.1", to) if udp else to)

    def send(self, *messages):
        """Send one datagram."""
        data = pack(*messages)
        while True:
            try:
                self.sock.send(data)
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise
                time.sleep(0.001)

    def close(self):
        self.sock.close()


def yaml(value, indent=0):
    """A dict of dicts as YAML, readable in a failure's log."""
    text = ""
    for key, v in value.items():
        if isinstance(v, dict):
            text += " " * indent + f"{key}:\n" + yaml(v, indent + 4)
        else:
            scalar = v if isinstance(v, str) and re.fullmatch(
                r"[A-Za-z0-9][A-Za-z0-9/._-]*|/[A-Za-z0-9/._-]*", v) \
                else json.dumps(v)
            text += " " * indent + f"{key}: {scalar}\n"
    return text


def merge(base, over):
    """base with the values of over, section by section."""
    out = dict(base)
    for key, v in over.items():
        out[key] = merge(base.get(key, {}), v) if isinstance(v, dict) else v
    return out


class Case:
    """One test's world."""

    def __init__(self, name):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="lumnid-it.")
        self.processes = []
        self.subs = []
        self.files = contextlib.ExitStack()
        self.stream_path = os.path.join(self.dir, "lumnid.sock")
        self.dgram_path = os.path.join(self.dir, "dgram.sock")
        self.out = os.path.join(self.dir, "upstream.jsonl")
        self._holder = None
        self.daemon = None
        self.conf = None
        self.storage_dirs = set()
        # What lumnid said of the books at its end, by kind. A test that
        # takes acknowledged events away from it sets books_whole to False.
        self.books = {}
        self.books_whole = True
        # A test that deletes dead letters, or makes some, sets this to False.
        self.letters_whole = True
        # What may be found nowhere at the end; tests add their own.
        self.secrets = {KEY}
        self.secrets_seen = []

    def sub(self, name):
        """A world of its own beside this one; it ends with this one."""
        case = Case(name)
        self.subs.append(case)
        return case

    # --- processes ---

    def upstream(self, **kw):
        """Start the upstream; again on the same port after it was ended."""
        if self._holder is None:
            # Bound and never listening, it keeps the port for restarts:
            # while the upstream is away, connections are refused.
            self._holder = socket.socket()
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind(("127.0.0.1", 0))
            self.files.callback(self._holder.close)
        return Upstream(self, self.out, holder=self._holder, **kw)

    def url(self):
        return f"http://127.0.0.1:{self._holder.getsockname()[1]}"

    def configure(self, **sections):
        """Write the configuration; sections go over the tests' defaults."""
        conf = merge({
            "upstream": {"url": self.url() if self._holder else "",
                         "timeout": "10s"},
            "listen": {"unix": {"path": self.stream_path},
                       "dgram": {"path": self.dgram_path},
                       "udp": "127.0.0.1:0", "http": "off"},
            "runs": {"idle": "1s"},
            "storage": {"dir": os.path.join(self.dir, "data")},
            "log": {"level": "debug"},
        }, sections)
        self.conf = os.path.join(self.dir, "lumnid.yaml")
        self.storage_dirs.add(conf["storage"]["dir"])
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(yaml(conf))
        return self.conf

    def lumnid(self, env=None, args=(), wait=True, prefix=(), **sections):
        """Start lumnid with this configuration, or with that of the last
        start when there is none."""
        if sections or self.conf is None:
            self.configure(**sections)
        self.daemon = Lumnid(self, self.conf,
                             env or {"LUMNI_API_KEY": KEY}, args,
                             prefix=prefix)
        if wait:
            self.daemon.wait_ready()
        return self.daemon

    def run(self, *argv, stdin=None, env=None, seconds=30):
        """Run a program to its end; returns the CompletedProcess."""
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True,
            timeout=seconds * SLOW, cwd=self.dir, check=False,
            env=dict(os.environ, **(env or {})))

    def lumnictl(self, *args, **kw):
        return self.run(program("lumnictl"), *args, **kw)

    def loadgen(self, *args, seconds=300):
        """Run the load generator; returns what it reports."""
        done = self.run(program("tests/support/loadgen"), *map(str, args),
                        seconds=seconds)
        if done.returncode != 0:
            raise Failure(f"loadgen: {done.stdout}{done.stderr}\n"
                          + self.logs())
        return json.loads(done.stdout)

    # --- clients ---

    def stream(self):
        s = Stream(self.stream_path)
        self.files.callback(s.close)
        return s

    def dgram(self):
        d = Datagram(self.dgram_path)
        self.files.callback(d.close)
        return d

    def udp(self):
        d = Datagram(self.daemon.udp_port())
        self.files.callback(d.close)
        return d

    # --- checks ---

    def equal(self, got, want, what="value"):
        if got != want:
            raise Failure(f"{what}: got {got!r}, want {want!r}")

    def true(self, value, what):
        if not value:
            raise Failure(what)

    def each_taken(self):
        """The requests that the upstream took, in order. A violation of the
        contract by any request is a failure."""
        for line in each_line(self.out):
            if "violation" in line:
                raise Failure(f"violation: {line['violation']} "
                              f"(request {line['seq']})")
            if line["taken"] and not line["duplicate"]:
                yield line

    def taken(self):
        return list(self.each_taken())

    def each_part(self):
        """(runId, events) of what was taken, in the order of taking. Checks
        that the parts of each run came in order, from 1 on, without a
        gap but for parts that lie in dead letters; and so the pieces of a
        part that was cut, whose ids end with ".FIRST-LAST", but that events
        which were refused may be absent."""
        parts, ids, buried = {}, {}, None
        for line in self.each_taken():
            if line["route"] != "events":
                continue
            run = line["body"]["runId"]
            part, after = parts.get(run, (0, -1))
            piece = re.search(r"\.(\d+)-(\d+)$", line["id"])
            first, last = map(int, piece.groups()) if piece else (0, -1)
            if line["part"] == part and piece and after >= 0:
                if first < after:
                    raise Failure(f"run {run}: piece {line['id']} came "
                                  f"after event {after - 1}")
            elif line["part"] != part + 1:
                if buried is None:
                    buried = {(x["runId"], x["part"])
                              for x in self.dead_letters()}
                between = range(part + 1, line["part"])
                if not between or not all((run, x) in buried
                                          for x in between):
                    raise Failure(f"run {run}: part {line['part']} (batch "
                                  f"{line['id']}) came where {part + 1} was "
                                  f"due, after batch {ids.get(run)}")
            parts[run] = (line["part"], last + 1 if piece else -1)
            ids[run] = line["id"]
            gone = set(line.get("refused", ()))
            yield run, [e for i, e in enumerate(line["body"]["events"])
                        if i not in gone]

    def runs(self):
        """runId -> its events that were taken, in order."""
        runs = {}
        for run, events in self.each_part():
            runs.setdefault(run, []).extend(events)
        return runs

    def check_runs(self, sent, key="n", may_lack=(), seconds=0, unordered=()):
        """Compare what was taken with what was sent, runId -> [key values]
        in the order of sending: each exactly once and in order within its
        run, but for those runs in unordered, as connections and sockets
        beside each other have no order. What is in may_lack, a set of
        (runId, value), may be absent; the rest is waited for so long."""
        end = deadline(seconds)
        while True:
            lost = self._compare_runs(sent, key, may_lack, unordered)
            if not lost:
                return
            if time.monotonic() > end:
                raise Failure(lost + "\n" + self.logs())
            time.sleep(0.1)

    def _compare_runs(self, sent, key, may_lack, unordered):
        """What is lost, in words, or None. Any other fault is a failure."""
        runs = self.runs()
        for run in runs:
            if run not in sent:
                raise Failure(f"run {run} was never sent")
        for run, want in sent.items():
            got = [e.get(key) for e in runs.get(run, [])]
            have = set(got)
            if len(have) != len(got):
                twice = sorted({x for x in got if got.count(x) > 1})
                raise Failure(f"run {run}: came twice: {twice[:10]} in {got}")
            strange = have - set(want)
            if strange:
                raise Failure(f"run {run}: never sent: {sorted(strange)[:10]}")
            if run not in unordered and got != [x for x in want if x in have]:
                raise Failure(f"run {run}: out of order: {got}, sent {want}")
            lost = [x for x in want
                    if x not in have and (run, x) not in may_lack]
            if lost:
                return (f"run {run}: lost {lost[:10]} ({len(lost)} of "
                        f"{len(want)}), got {got}")
        return None

    def check_load(self, events, lost=0):
        """Check what the load generator sent: `events` in all, of which
        exactly `lost` are absent; numbered 0, 1, ... within each run, the
        last of the type run_end."""
        runs, ended = {}, set()
        for run, got in self.each_part():
            runs.setdefault(run, []).extend(e["n"] for e in got)
            if got[-1]["type"] == "run_end":
                ended.add(run)
        total = sum(map(len, runs.values()))
        for run, n in runs.items():
            if n != sorted(set(n)):
                raise Failure(f"run {run}: not in order, or twice: {n}")
            if not lost and (n != list(range(len(n))) or run not in ended):
                raise Failure(f"run {run}: not whole: {n}")
        if total != events - lost:
            raise Failure(f"{events} events were sent, {lost} were dropped "
                          f"and {total} came")

    def check_retries(self):
        """Every attempt of a batch had the same bytes (the upstream itself
        reports a violation otherwise), and none came after it was taken
        unless its answer was lost."""
        done = {}
        for line in read_lines(self.out):
            name = (line["route"], line["id"])
            if name in done and done[name] != 0:
                raise Failure(f"batch {line['id']} came again after it was "
                              f"answered {done[name]}")
            if line["taken"]:
                done[name] = line["status"]

    def check_books(self, seconds=20, records=False, **want):
        """The sum of the books, as GET /status tells it; want: dead=1 and
        the like, of the events or of the records, waited for so long.
        Needs listen.http."""
        end = deadline(seconds)
        while True:
            status = self.daemon.status()
            for kind in ("events", "records"):
                b = status[kind]
                if b["accepted"] != (b["delivered"] + b["pending"] + b["dead"]
                                     + sum(b["dropped"].values())):
                    raise Failure(f"the books of {kind} do not balance: {b}\n"
                                  + self.logs())
            b = status["records" if records else "events"]
            if all(b[k] == v for k, v in want.items()):
                return status
            if time.monotonic() > end:
                raise Failure(f"the books say {b}, want {want}\n"
                              + self.logs())
            time.sleep(0.02)

    def note_books(self, daemon):
        """Take in what lumnid says of the books as it ends; the sum is
        checked in any case, and the rest in check_books_left()."""
        with daemon._news:
            lines = [x for x in daemon.lines if x]
        for line in lines:
            if re.search(r"\bbooks\b\W.*\bkind\W", line):
                kind = re.search(r"\bkind\W+(\w+)", line).group(1)
                b = {k: int(v) for k, v in re.findall(
                    r"\b(accepted|delivered|pending|dead|dropped)\W+(\d+)",
                    line)}
                self.books[kind] = b
                if b["accepted"] != sum(v for k, v in b.items()
                                        if k != "accepted"):
                    raise Failure(f"the books do not balance: {line}")

    def _taken_sums(self):
        """(events, records) that the upstream has taken, each batch once."""
        seen, sums = set(), {"events": 0, "records": 0}
        for line in each_line(self.out):
            if not line.get("taken") or (line["route"], line["id"]) in seen:
                continue
            seen.add((line["route"], line["id"]))
            if line["route"] == "events":
                sums["events"] += len(line["body"]["events"]) - \
                    len(line.get("refused", ()))
            else:
                sums["records"] += 1
        return sums

    def check_books_left(self):
        """At the end: the books against what clients were told is safe, and
        what the upstream got. Returns the faults.

        acknowledged <= accepted, and delivered <= taken <= delivered +
        pending + dropped, where the sum holds: so with nothing pending or
        dropped one event more or less is a fault. Otherwise it is a range, as
        a request may have been taken that was not answered, and as not every
        message asks for an acknowledgement. What is dead lies in letters.
        Not looked at: a case with several storage directories, whose books
        are several, and one that sets books_whole to False. A case beside
        this one is looked at by itself."""
        if not self.books or not self.books_whole or \
                len(self.storage_dirs) != 1:
            return []
        faults = []
        acked = ACKED.get(self.stream_path, {})
        taken = self._taken_sums() if os.path.exists(self.out) else None
        for kind, b in self.books.items():
            if acked.get(kind, 0) > b["accepted"]:
                faults.append(f"{acked[kind]} {kind} were acknowledged; the "
                              f"books say {b}")
            # What was taken may wait for its answer to come to us.
            if taken and not b["delivered"] <= taken[kind] <= \
                    b["accepted"] - b["dead"]:
                faults.append(f"the upstream took {taken[kind]} {kind}; the "
                              f"books say {b}")
        dead = sum(b["dead"] for b in self.books.values())
        lies = sum(len(x["events"]) if "events" in x else 1
                   for x in self.dead_letters())
        if self.letters_whole and lies != dead:
            faults.append(f"{lies} dead events and records lie in letters; "
                          f"the books say {self.books}")
        return faults

    def dead_letters(self):
        """The dead letters, oldest first, as they lie in the directory."""
        where = os.path.join(self.dir, "data", "dead")
        letters = []
        for name in sorted(os.listdir(where) if os.path.isdir(where) else ()):
            with open(os.path.join(where, name), encoding="utf-8") as f:
                letters.append(json.load(f))
        return letters

    # --- secrets ---

    def _secret_in(self, what, data):
        for secret in self.secrets:
            if secret.encode() in data:
                self.secrets_seen.append(f"{what} holds the secret {secret!r}")

    def check_secrets_of_living(self, p):
        """The process list and what the HTTP listener tells."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{p.pid}/cmdline", "rb") as f:
                self._secret_in("the command line", f.read())
            # Not of a program around it. A proxy's password may be there:
            # it is libcurl that reads it.
            if os.readlink(f"/proc/{p.pid}/exe").endswith("/lumnid"):
                with open(f"/proc/{p.pid}/environ", "rb") as f:
                    self._secret_in("the environment", b"\0".join(
                        x for x in f.read().split(b"\0")
                        if b"_PROXY=" not in x.upper()))
        if p.http_port_if_any() is None:
            return
        for path in ("/metrics", "/status", "/readyz"):
            # A test may have left it without a file to spare.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._secret_in("GET " + path, p.get(path, 5)[1].encode())

    def check_secrets_left(self):
        """Every file that lumnid wrote, and every line that it said."""
        for top in self.storage_dirs:
            for where, _, names in os.walk(top):
                for name in names:
                    path = os.path.join(where, name)
                    with contextlib.suppress(OSError):
                        if not os.path.isfile(path):
                            continue
                        with open(path, "rb") as f:
                            self._secret_in(path, f.read())
        for p in self.processes:
            if isinstance(p, Lumnid):
                self._secret_in("lumnid's log", p.log(10 ** 9).encode())

    # --- the end ---

    def logs(self):
        text = ""
        if self.conf and os.path.exists(self.conf):
            with open(self.conf, encoding="utf-8") as f:
                text += "--- configuration:\n" + f.read()
        text += "\n".join(p.log() for p in self.processes[-6:])
        return text + "".join(f"\n=== {c.name}\n" + c.logs()
                              for c in self.subs)

    def finish(self, failed):
        """End what still runs. A leftover or a sanitizer's word is a
        failure of its own."""
        faults = []
        for c in self.subs:
            faults += c.finish(failed)
        for p in self.processes:
            if p.alive():
                if failed:
                    p.kill()
                    continue
                try:
                    p.stop()
                except Failure as e:
                    faults.append(str(e))
                    p.kill()
        for p in self.processes:
            report = p.sanitizer_report()
            if report:
                faults.append(f"{p.name}: {report}\n{p.log(200)}")
        self.check_secrets_left()
        faults += self.secrets_seen
        if not failed:
            faults += self.check_books_left()
        self.files.close()
        shutil.rmtree(self.dir)
        return faults


def zstd(data, level=3):
    """One zstd frame, for tests of the upstream itself."""
    try:
        lib = ctypes.CDLL("libzstd.so.1")
    except OSError:
        raise Skip("libzstd.so.1 cannot be loaded") from None
    lib.ZSTD_compressBound.restype = ctypes.c_size_t
    lib.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    lib.ZSTD_compress.restype = ctypes.c_size_t
    lib.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t,
                                  ctypes.c_char_p, ctypes.c_size_t,
                                  ctypes.c_int]
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(len(data)))
    n = lib.ZSTD_compress(out, len(out), data, len(data), level)
    return out.raw[:n]


def _run_one(name, fn, limit):
    """Run one function; returns "ok", "FAIL" or "skip"."""
    case = Case(name)

    def out_of_time(_sig, _frame):
        raise Failure(f"the test took more than {limit * SLOW:.0f} s")
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(int(limit * SLOW))
    start = time.monotonic()
    skipped = None
    failure = None
    try:
        fn(case)
    except Skip as e:
        skipped = str(e)
    except BaseException as e:  # the daemon's state is wanted in any case
        failure = "".join(traceback.format_exception(e)) + case.logs()
    signal.alarm(0)
    faults = case.finish(failure is not None)
    if failure is None and faults:
        failure = "\n".join(faults)
    if failure is not None:
        print(failure)
        print(f"FAIL {name}", flush=True)
        return "FAIL"
    if skipped is not None:
        print(f"skip {name}: {skipped}", flush=True)
        return "skip"
    print(f"ok {name}  # {time.monotonic() - start:.1f} s", flush=True)
    return "ok"


def main(limit=180):
    """Run the test functions of the calling file, or those named."""
    scope = sys.modules["__main__"].__dict__
    tests = [n for n in scope if n.startswith("test_") and callable(scope[n])]
    if len(sys.argv) > 1:
        tests = sys.argv[1:]
    results = [_run_one(n, scope[n], limit) for n in tests]
    if "FAIL" in results:
        sys.exit(1)
    sys.exit(77 if results and set(results) == {"skip"} else 0)
