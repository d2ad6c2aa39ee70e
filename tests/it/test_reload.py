#!/usr/bin/python3
"""SIGHUP: another configuration is put in force whole, or not at all; what is
listened on changes without a moment in which nobody listens, and without the
loss of an event."""

import http.client
import json
import os
import random
import re
import signal
import socket
import stat
import threading
import time

import lumnid_it
from lumnid_it import Datagram, Failure, Stream, deadline, pack, wait_for


class Reloads:
    """Reloads one after the other; each is waited for."""

    def __init__(self, t):
        self.t = t
        _, self.at = t.daemon.wait_line(r"\bstarted\b")
        self.n = 0

    def __call__(self, want="reloaded", **sections):
        self.t.configure(**sections)
        self.t.daemon.signal(signal.SIGHUP)
        _, at = self.t.daemon.wait_line(rf"\b{want}\b", after=self.at)
        begun, self.at = self.at, at
        if want == "reloaded":
            self.n += 1
        return "\n".join(self.t.daemon.lines[begun:at])

    def port(self, kind):
        """The port of the newest listener of this input, and its address."""
        for line in reversed(self.t.daemon.lines[:self.at]):
            m = re.search(rf"listening input={kind} address=(\S+):(\d+)",
                          line)
            if m:
                return m.group(1), int(m.group(2))
        raise Failure(f"no {kind} listener")


def metric(t, name):
    m = re.search(rf"^{name} (\S+)$", t.daemon.get("/metrics")[1], re.M)
    return float(m.group(1))


def generation(t):
    return int(metric(t, "lumnid_config_generation"))


class Agent(threading.Thread):
    """Sends events of one run in its own manner until it is told to stop."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_id = run
        self.sent = []
        self.fault = None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step(len(self.sent))
            self.end()
        except Exception as e:  # told by the test
            self.fault = f"{self.run_id}: {type(e).__name__}: {e}"

    def end(self):
        pass


class Lasting(Agent):
    """One connection for all the time; each event is acknowledged."""

    def __init__(self, run, path):
        super().__init__(run)
        self.s = Stream(path)

    def step(self, n):
        answer = self.s.ask({"runId": self.run_id, "events": [{"n": n}],
                             "ack": n})
        if answer != {"ack": n}:
            raise Failure(f"answer {answer}")
        self.sent.append(n)
        time.sleep(0.002)

    def end(self):
        self.s.close()


class Passing(Agent):
    """A connection for each event, at whichever path there is one; nothing is
    acknowledged, so what could be written has to come."""

    def __init__(self, run, paths):
        super().__init__(run)
        self.paths = paths

    def step(self, n):
        end = deadline(20)
        while True:
            for path in self.paths:
                s = socket.socket(socket.AF_UNIX)
                try:
                    s.connect(path)
                except (FileNotFoundError, ConnectionRefusedError):
                    s.close()
                    continue
                s.sendall(pack({"runId": self.run_id, "n": n}))
                s.close()
                self.sent.append(n)
                time.sleep(0.001)
                return
            if time.monotonic() > end:
                raise Failure("nobody listens")


class Posting(Agent):
    """HTTP on new connections; what is answered 202 has to come."""

    def __init__(self, run, where):
        super().__init__(run)
        self.where = where
        self.again = 0

    def step(self, n):
        body = json.dumps({"runId": self.run_id, "events": [{"n": n}]})
        while not self.stopping.is_set():
            con = http.client.HTTPConnection(*self.where(), timeout=20)
            try:
                con.request("POST", "/v1/ingest/events", body,
                            {"content-type": "application/json"})
                status = con.getresponse().status
            except ConnectionRefusedError:
                self.again += 1
                continue
            finally:
                con.close()
            if status != 202:
                raise Failure(f"status {status}")
            self.sent.append(n)
            time.sleep(0.005)
            return


def test_a_thousand_reloads_under_load(t, count=1000):
    """Each changes the path of the stream socket, or only its mode, and the
    addresses of the others; agents go on all the time."""
    rng = random.Random(17)
    paths = [t.stream_path, t.stream_path + ".b"]
    t.upstream()
    base = {"log": {"level": "info"},
            "runs": {"idle": "1h", "max_age": "2h", "max_events": 100000},
            "storage": {"durability": "never"}}
    t.lumnid(**lumnid_it.merge(base, {"listen": {"http": "127.0.0.1:0"}}))
    reload = Reloads(t)
    agents = [Lasting("lasting0", paths[0]), Lasting("lasting1", paths[0]),
              Passing("passing", paths),
              Posting("posting", lambda: reload.port("http"))]
    for a in agents:
        a.start()
    sent = {"udp": [], "dgram": [], "stream": []}
    files = metric(t, "process_open_fds")
    begun = time.monotonic()
    for i in range(count):
        which = (i // 2 + 1) % 2    # the last is on 127.0.0.1
        host = f"127.0.0.{1 + which}:0"
        listen = {"unix": {"path": paths[which], "mode": rng.choice(
                      ["0600", "0660", "0666"])},
                  "dgram": {"path": t.dgram_path + (".b" if which else "")},
                  "udp": host, "http": host}
        reload(**lumnid_it.merge(base, {"listen": listen}))
        # All this waits in the sockets as the next reload begins.
        if i % 4:
            continue
        for n in (2 * i, 2 * i + 1):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.sendto(pack({"runId": "udp", "n": n}), reload.port("udp"))
            udp.close()
            d = Datagram(listen["dgram"]["path"])
            d.send({"runId": "dgram", "n": n})
            d.close()
            s = Stream(listen["unix"]["path"])
            s.send({"runId": "stream", "n": n})
            s.close()
            for kind in sent:
                sent[kind].append(n)
        if any(a.fault for a in agents):
            break
    took = time.monotonic() - begun
    for a in agents:
        a.stopping.set()
    for a in agents:
        a.join(30 * lumnid_it.SLOW)
        t.true(a.fault is None, f"{a.fault}\n" + t.logs())
        sent[a.run_id] = a.sent
    t.equal(generation(t), count + 1, "configurations in force")
    wait_for("the files of before to be closed", lambda: metric(
        t, "process_open_fds") <= files + 4, context=t.logs)
    t.equal(sum(os.path.exists(p) for p in paths), 1, "stream sockets")
    status = t.daemon.status()
    t.equal(status["kernel_dropped"], {"udp": 0, "dgram": 0, "truncated": 0})
    t.daemon.stop()
    # Sealed at once by the next start, as they are idle by its measure.
    t.lumnid(log={"level": "info"}, runs={"idle": "10ms"})
    t.check_runs(sent, seconds=60, unordered={
        "passing", "stream", "udp", "dgram"})
    print(f"# {count} reloads in {took:.1f} s, "
          + ", ".join(f"{k} {len(v)}" for k, v in sent.items()))


def refused(t, reload, want, **sections):
    """A reload that fails, changes nothing, and says why."""
    before = generation(t)
    text = reload("reload_failed", **sections)
    t.true(re.search(want, text), f"{want} in {text}")
    t.equal(generation(t), before, "generation")
    status, body = t.daemon.get("/readyz")
    ready = json.loads(body)
    t.equal((status, ready["ready"]), (503, False))
    t.equal([r["what"] for r in ready["reasons"]], ["config"])
    t.true(re.search(want, ready["reasons"][0]["why"]), body)
    t.equal(metric(t, "lumnid_config_last_reload_successful"), 0)


def test_a_fault_keeps_the_old(t):
    """Said with file and line; no socket is left behind, none is lost."""
    t.upstream()
    busy = socket.socket()
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    t.files.callback(busy.close)
    t.lumnid(listen={"http": "127.0.0.1:0"}, log={"level": "info"})
    reload = Reloads(t)
    inode = os.stat(t.stream_path).st_ino
    s = t.stream()

    refused(t, reload, r"lumnid\.yaml:\d+:\d+: .*fifteen",
            listen={"http": "127.0.0.1:0"}, runs={"idle": "fifteen"})
    refused(t, reload, r"lumnid\.yaml:\d+:\d+: .*listen\.htp.*listen\.http",
            listen={"htp": "127.0.0.1:0"})
    # The new path is opened before the address turns out to be in use.
    other = t.stream_path + ".new"
    refused(t, reload, r"lumnid\.yaml:\d+: http 127.*port is in use",
            listen={"unix": {"path": other, "mode": "0600"},
                    "dgram": {"path": t.dgram_path, "mode": "0600"},
                    "http": f"127.0.0.1:{busy.getsockname()[1]}"})
    t.true(not os.path.exists(other), "the new socket is gone again")
    t.equal(os.stat(t.stream_path).st_ino, inode, "the old one's inode")
    t.equal(stat.S_IMODE(os.stat(t.dgram_path).st_mode), 0o660, "mode")
    refused(t, reload, r"lumnid\.yaml:\d+: .*no directory",
            listen={"unix": {"path": t.dir + "/absent/x.sock"},
                    "http": "127.0.0.1:0"})
    for k in s, t.stream():
        t.equal(k.ask({"runId": "r", "events": [{"n": 1}], "ack": 1}),
                {"ack": 1})
    with open(t.conf, "w", encoding="utf-8") as f:
        f.write("upstream: [\n")
    t.daemon.signal(signal.SIGHUP)
    m, reload.at = t.daemon.wait_line(r"reload_failed.*", after=reload.at)
    t.true(re.search(r"lumnid\.yaml:\d+:\d+", m.group(0)), m.group(0))

    reload(listen={"http": "127.0.0.1:0"})
    t.equal(generation(t), 2, "generation")
    t.equal(t.daemon.get("/readyz")[0], 200, "ready again")
    t.equal(metric(t, "lumnid_config_last_reload_successful"), 1)


def test_only_the_mode_changes(t):
    """The file and the clients stay; a file that somebody removed comes
    back."""
    t.upstream()
    t.lumnid(log={"level": "info"})
    reload = Reloads(t)
    s = t.stream()
    was = os.stat(t.stream_path)
    gid = os.getgid()
    if os.geteuid() == 0:
        gid = 12345
    reload(listen={"unix": {"mode": "0606", "group": str(gid)}})
    now = os.stat(t.stream_path)
    t.equal((now.st_ino, stat.S_IMODE(now.st_mode), now.st_gid),
            (was.st_ino, 0o606, gid))
    reload(listen={"unix": {"mode": "0660"}})
    now = os.stat(t.stream_path)
    t.equal((now.st_ino, stat.S_IMODE(now.st_mode), now.st_gid),
            (was.st_ino, 0o660, os.getegid()))
    os.unlink(t.stream_path)
    reload(listen={"unix": {"mode": "0660"}})
    for n, k in enumerate((s, t.stream())):
        t.equal(k.ask({"runId": "r", "events": [{"n": n}], "ack": n}),
                {"ack": n})


def test_inputs_come_and_go(t):
    """Each can be switched off and on; clients of before stay."""
    up = t.upstream()
    t.lumnid(log={"level": "info"}, listen={"udp": "off", "http": "off"})
    reload = Reloads(t)
    s = t.stream()
    reload(listen={"unix": {"path": "off"}, "dgram": {"path": "off"},
                   "udp": "127.0.0.1:0", "http": "127.0.0.1:0"})
    t.true(not os.path.exists(t.stream_path), "the stream socket's file")
    t.true(not os.path.exists(t.dgram_path), "the datagram socket's file")
    t.equal(s.ask({"runId": "r", "events": [{"n": 0}], "ack": 0}), {"ack": 0})
    Datagram(reload.port("udp")[1]).send({"runId": "u", "n": 0})
    con = http.client.HTTPConnection(*reload.port("http"), timeout=20)
    con.request("GET", "/healthz")
    answer = con.getresponse()
    t.equal((answer.status, answer.getheader("connection")), (200, None))
    answer.read()

    # A connection of before gets its answers, and its end.
    where = reload.port("http")
    reload(listen={"udp": "off", "http": "off"})
    con.request("GET", "/healthz")
    answer = con.getresponse()
    t.equal((answer.status, answer.getheader("connection")), (200, "close"))
    con.close()

    def closed():
        try:
            socket.create_connection(where, timeout=0.2).close()
        except (ConnectionRefusedError, TimeoutError):
            return True
        return False
    wait_for("the HTTP listener's end", closed)
    t.equal(t.stream().ask({"runId": "r", "events": [{"n": 1}], "ack": 1,
                            "end": True}), {"ack": 1})
    up.wait_sums(events=3)
    t.check_runs({"r": [0, 1], "u": [0]})


def test_an_address_that_overlaps(t):
    """From loopback to every address, with the same port, and back."""
    t.upstream()
    t.lumnid(log={"level": "info"}, listen={"http": "127.0.0.1:0"})
    reload = Reloads(t)
    udp, tcp = reload.port("udp")[1], reload.port("http")[1]
    # The one that the kernel chose, named.
    for host in "0.0.0.0", "127.0.0.1", "[::]", "localhost":
        text = reload(listen={"udp": f"{host}:{udp}", "allow_remote": True,
                              "http": f"{host}:{tcp}"})
        t.equal("listening_to_the_network" in text,
                host in ("0.0.0.0", "[::]"), f"the warning for {host}")
        Datagram(udp).send({"runId": "u", "n": 0})
        con = http.client.HTTPConnection("127.0.0.1", tcp, timeout=20)
        con.request("GET", "/healthz")
        t.equal(con.getresponse().status, 200, host)
        con.close()
    # Written otherwise it is the same: nothing is opened.
    text = reload(listen={"udp": f"127.0.0.1:{udp}", "http": "127.0.0.1:"
                          f"{tcp}"})
    t.true("listening" not in text, text)
    t.check_books(accepted=4)


def test_keys_that_need_a_restart_are_named(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    reload = Reloads(t)
    text = reload(storage={"dir": t.dir + "/elsewhere"}, log={"level":
                                                               "info"})
    t.true("restart_needed keys=storage.dir" in text, text)
    t.true(not os.path.exists(t.dir + "/elsewhere"), "nothing is made")
    # From the data that it still uses.
    t.equal(t.stream().ask({"runId": "r", "events": [{"n": 1}], "ack": 1}),
            {"ack": 1})


def test_the_log_level_is_live(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    reload = Reloads(t)
    t.stream().ask({"runId": "r", "events": [{"n": 1}], "ack": 1})
    t.true("client_connected" not in t.daemon.log(), "debug lines")
    reload(log={"level": "debug"})
    t.stream()
    t.daemon.wait_line("^debug client_connected")
    reload(log={"level": "debug", "format": "json"})
    t.stream()
    m, _ = t.daemon.wait_line(r"^\{.*client_connected.*")
    line = json.loads(m.group(0))
    t.equal((line["level"], line["event"]), ("debug", "client_connected"))


if __name__ == "__main__":
    lumnid_it.main(limit=300)
