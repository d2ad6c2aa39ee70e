#!/usr/bin/python3
"""lumnictl over the control socket, with the real lumnid and upstream: every
command, its --json, its exit statuses and what it says when it cannot."""

import contextlib
import http.client
import itertools
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import lumnid_it
from lumnid_it import KEY, Failure, program, wait_for

ESC = "evil\x1b]0;title\x07\x1b[31m\u009b2J\u202e"


def ctl(t, *argv, status=0, env=None, seconds=60):
    done = t.run(program("lumnictl"), "--socket", t.stream_path, *argv,
                 env=env, seconds=seconds)
    t.equal(done.returncode, status, " ".join(argv) + "\n" + done.stderr
            + done.stdout)
    return done


def js(t, *argv, **kw):
    return json.loads(ctl(t, *argv, "--json", **kw).stdout)


def lines(t, *argv, **kw):
    return [json.loads(x) for x in
            ctl(t, *argv, "--json", **kw).stdout.splitlines()]


def start(t, up=None, **kw):
    upstream = t.upstream(**(up or {}))
    t.lumnid(**{"runs": {"idle": "5min"}, **kw})
    return upstream


def send(t, run="r", n=1, **kw):
    s = t.stream()
    t.equal(s.ask({"runId": run, "events": [
        {"n": i, "type": "a", **kw} for i in range(n)], "ack": 1}),
        {"ack": 1})
    s.close()


def control_path(t):
    return os.path.join(t.dir, "control.sock")


class Tail:
    """A lumnictl tail under way, whose lines are waited for."""

    def __init__(self, t, *argv):
        self.t = t
        self.p = subprocess.Popen(
            [program("lumnictl"), "--socket", t.stream_path, "tail", *argv],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        t.files.callback(self.end)
        self.lines = []
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.p.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def wait(self, n):
        wait_for(f"{n} lines of tail", lambda: len(self.lines) >= n,
                 context=lambda: repr(self.lines) + self.t.logs())
        return self.lines[:n]

    def begun(self):
        """It is told of events: send some until one is shown."""
        i = 0
        while not self.lines:
            send(self.t, "begin", type="begin", status="begin")
            i += 1
            if i > 1000:
                raise Failure("the tail shows nothing" + self.t.logs())

    def end(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGINT)
        self.p.wait(20)
        self.reader.join(10)
        self.p.stdout.close()
        self.p.stderr.close()


# --- the socket ---------------------------------------------------------------

def test_socket(t):
    """Its mode, a stale one, who may use it, and what is said of it."""
    t.upstream()
    done = ctl(t, "status", status=3)
    t.true("is lumnid running" in done.stderr, done.stderr)
    t.lumnid()
    t.equal(stat.S_IMODE(os.stat(control_path(t)).st_mode), 0o600, "mode")
    t.daemon.kill()
    done = ctl(t, "status", status=3)
    t.true("nobody listens" in done.stderr, done.stderr)
    t.lumnid()
    ctl(t, "status")
    # What is asked for nonsense is answered, and nothing happens.
    for path, text in (("/nothing", b"404"), ("/status?%", b"400"),
                       ("/run?run=%00", b"40"), ("/runs?limit=-1", b"400"),
                       ("/spool?id=x", b"400"), ("/flush", b"405"),
                       ("/runs?by=size", b"400")):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(control_path(t))
            s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = s.recv(4096)
            t.true(text in answer.split(b"\r\n")[0], (path, answer))
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(control_path(t))
        with contextlib.suppress(ConnectionError):
            s.sendall(b"GET /" + b"x" * 100000)
            while s.recv(4096):
                pass
    ctl(t, "status")
    t.daemon.stop()
    t.true(not os.path.exists(control_path(t)), "the socket is left behind")


def test_other_user(t):
    """A user who may not: told who may. And with the mode changed, still
    kept off, by SO_PEERCRED."""
    if os.geteuid() != 0:
        raise lumnid_it.Skip("only root can be another user")
    start(t)
    os.chmod(t.dir, 0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    tool = os.path.join(t.dir, "lumnictl")
    shutil.copy(program("lumnictl"), tool)

    def other():
        return t.run(*nobody, tool, "--control", control_path(t), "status")
    done = other()
    t.equal(done.returncode, 3, done.stderr)
    t.true("permission denied" in done.stderr and "root" in done.stderr,
           done.stderr)
    os.chmod(control_path(t), 0o666)
    done = other()
    t.equal(done.returncode, 1, done.stderr)
    t.true("only root and the user" in done.stderr, done.stderr)


def test_elsewhere(t):
    """listen.control names another place, or none; a reload moves it."""
    other = os.path.join(t.dir, "other.sock")
    start(t, listen={"control": other})
    ctl(t, "status", status=3)
    ctl(t, "--control", other, "status")
    ctl(t, "status", env={"LUMNID_CONTROL": other}, status=3)
    done = t.run(program("lumnictl"), "status", env={"LUMNID_CONTROL": other})
    t.equal(done.returncode, 0, done.stderr)
    t.configure(listen={"control": "auto"})
    ctl(t, "--control", other, "reload")
    ctl(t, "status")
    t.true(not os.path.exists(other), "the old one is left")
    t.configure(listen={"control": "off"})
    ctl(t, "reload")
    ctl(t, "status", status=3)


def test_follows(t):
    """With auto it is beside the stream socket, also when a reload moves
    that to another directory."""
    start(t)
    other = os.path.join(t.dir, "other")
    os.mkdir(other)
    t.configure(listen={"unix": {"path": os.path.join(other, "x.sock")}})
    ctl(t, "--control", control_path(t), "reload")
    ctl(t, "--socket", os.path.join(other, "x.sock"), "status")
    t.true(not os.path.exists(control_path(t)), "the old one is left")


def test_nowhere(t):
    """A place that cannot be had: the one before stays. Its path was
    forgotten, so that it could neither be asked for again nor switched
    off. One whose file was removed is made anew."""
    start(t)
    reload = ["--control", control_path(t), "reload"]
    gone = os.path.join(t.dir, "no", "such.sock")
    t.configure(listen={"control": gone})
    ctl(t, *reload)
    t.daemon.wait_line("no_control_socket.*the one before stays")
    t.configure(listen={"control": "auto"})
    ctl(t, *reload)
    ctl(t, "status")
    t.equal(t.daemon.log(1000).count("no_control_socket"), 1, t.logs())
    os.unlink(control_path(t))
    t.daemon.signal(signal.SIGHUP)
    wait_for("another", lambda: os.path.exists(control_path(t)))
    t.configure(listen={"control": gone})
    ctl(t, *reload)
    t.configure(listen={"control": "off"})
    ctl(t, *reload)
    ctl(t, "status", status=3)


def test_out_of_descriptors(t):
    """Accepting rests and comes back. libevent called back with another
    object than ours, and lumnid wrote beyond its end."""
    start(t)
    limit = len(os.listdir(f"/proc/{t.daemon.pid}/fd")) + 3
    resource.prlimit(t.daemon.pid, resource.RLIMIT_NOFILE, (limit, 4096))
    held = []
    for _ in range(8):
        s = socket.socket(socket.AF_UNIX)
        s.connect(control_path(t))
        held.append(s)
    t.daemon.wait_line("accept_failed.*input=control")
    before = t.daemon.cpu_seconds()
    time.sleep(1)       # which is what is measured
    t.true(t.daemon.cpu_seconds() - before < 0.5, "it spins")
    for s in held:
        s.close()
    resource.prlimit(t.daemon.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    ctl(t, "status")


def serve(listener, answer):
    """One request is answered so; a thread to be waited for."""
    def run():
        conn, _ = listener.accept()
        conn.settimeout(20)
        conn.recv(4096)
        conn.sendall(answer)
        conn.close()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_what_an_upstream_says(t):
    """Nothing of it steers the terminal: what flush --json prints was printed
    as it came."""
    path = os.path.join(t.dir, "strange.sock")
    body = json.dumps({"state": "held", "events": 1, "pending": 1,
                       "upstream": {"state": "hold", "why": ESC}},
                      ensure_ascii=False).encode()
    body = body.replace(b"\\u001b", b"\x7f") + b"\n"
    t.true("\u202e".encode() in body, body)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        thread = serve(listener, b"HTTP/1.1 200 OK\r\nServer: lumnid/1\r\n"
                       b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        done = ctl(t, "--control", path, "flush", "--json", status=5)
        thread.join(20)
    for text in done.stdout, done.stderr:
        t.true("evil" in text, text)
        t.true(not set("\x1b\x7f\x9b\u202e") & set(text), repr(text))
    t.equal(json.loads(done.stdout)["upstream"]["why"],
            ESC.replace("\x1b", "\x7f"))


def test_not_lumnid(t):
    """Another program at that path, and a lumnid of another version."""
    path = os.path.join(t.dir, "strange.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        for answer, words in (
                (b"hello\n", "control socket"),
                (b"", "closed the connection"),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx", "JSON"),
                (b"HTTP/1.1 404 Not Found\r\nServer: lumnid/9.8\r\n"
                 b"Content-Length: 46\r\n\r\n"
                 b'{"error":{"code":"bad_path","message":"none"}}',
                 "lumnid 9.8 does not know")):
            thread = serve(listener, answer)
            done = ctl(t, "--control", path, "status", status=3)
            thread.join(20)
            t.true(words in done.stderr, done.stderr)
        # One that never answers.
        done = ctl(t, "--control", path, "--timeout", "300ms", "status",
                   status=3)
        t.true("does not answer" in done.stderr, done.stderr)


# --- what there is ------------------------------------------------------------

def test_status(t):
    start(t, up={"script": "status=503\n"})
    send(t, "a", 3)
    send(t, "b", 2)
    st = js(t, "status")
    t.equal(st["open"]["runs"], 2)
    t.equal(st["events"]["accepted"], 5)
    t.equal(st["inputs"]["stream"], 5)
    t.true(st["rates"]["events_per_s"] > 0, st)
    t.equal(st["storage_dir"], os.path.join(t.dir, "data"))
    t.true(KEY not in json.dumps(st), "the key is told")
    text = ctl(t, "status").stdout
    for want in ("forwarding to http", r"open +2 runs, 5 events",
                 r"events +5 +0 +5 +0 +0", "stream 5"):
        t.true(re.search(want, text), (want, text))
    t.true("\x1b" not in text, "colours into a pipe")
    ctl(t, "flush", "--wait", "0", status=4)
    wait_for("the upstream to be away", lambda:
             js(t, "status")["upstream"]["state"] == "down")
    answers = js(t, "status")["answers"]
    t.true(answers["5xx"] >= 1 and answers["2xx"] == 0, answers)
    text = ctl(t, "status").stdout
    t.true("waiting for http" in text and "away: " in text and "503" in text,
           text)
    t.true(re.search(r"waiting +5 events in 2 batches", text), text)
    ctl(t, "status", "more", status=2)


def test_status_refused(t):
    """What never got in, by input; over HTTP also what was no message at all,
    which nobody counted."""
    start(t, listen={"http": "127.0.0.1:0"})
    t.stream().send({"type": "no run"})
    for body in b"{", b"[]", b'{"runId":"r"}', b'{"runId":"","events":[{}]}':
        con = http.client.HTTPConnection("127.0.0.1", t.daemon.http_port(),
                                         timeout=20)
        con.request("POST", "/v1/ingest/events", body,
                    {"content-type": "application/json"})
        t.equal(con.getresponse().status, 400, body)
        con.close()
    t.udp().send(b"\xc1")
    want = {"stream": 1, "http": 4, "udp": 1}
    wait_for("the refusals", lambda: {
        k: v for k, v in js(t, "status")["inputs_refused"].items() if v} ==
        want, context=t.logs)
    text = ctl(t, "status").stdout
    t.true("6 messages refused (stream 1, udp 1, http 4)" in text, text)
    metrics = t.daemon.get("/metrics")[1]
    for k, v in want.items():
        t.true(f'lumnid_input_messages_refused_total{{input="{k}"}} {v}\n'
               in metrics, metrics)


def test_status_held(t):
    start(t, up={"script": "status=401\n"})
    send(t, "a")
    done = ctl(t, "flush", status=5)
    t.true("refuses everything" in done.stderr and "401" in done.stderr,
           done.stderr)
    text = ctl(t, "status").stdout
    t.true("NOT forwarding" in text, text)


def test_runs(t):
    """Listed in each order, and in pages."""
    start(t)
    for i in range(30):
        send(t, f"run_{i:02}", 1 + (i * 7) % 30)
    text = ctl(t, "runs").stdout
    t.equal(len(text.splitlines()), 22, text)
    t.true(text.splitlines()[1].startswith("run_00 "), text)
    t.true("30 open" in text, text)
    by = [r["runId"] for r in lines(t, "runs", "--by", "recent")]
    t.equal(by, [f"run_{i:02}" for i in range(29, 9, -1)])
    for order in ("events", "bytes"):
        got = [r[order] for r in lines(t, "runs", "-b", order, "-l", "7")]
        t.equal(len(got), 7)
        t.equal(got, sorted(got, reverse=True))
    t.equal(max(r["events"] for r in lines(t, "runs", "--limit", "1000")),
            [r["events"] for r in lines(t, "runs", "-b", "events")][0])
    for bad in (("--by", "size"), ("--limit", "0"), ("--limit", "x"),
                ("--all", "--by", "events"), ("more",)):
        ctl(t, "runs", *bad, status=2)


def test_runs_all(t):
    """More than one page of runs."""
    start(t)
    s = t.stream()
    for i in range(0, 1300, 100):
        s.send(*({"runId": f"r{k}", "n": 1} for k in range(i, i + 100)))
    t.equal(s.ask({"runId": "last", "events": [{}], "ack": 1}), {"ack": 1})
    got = [r["runId"] for r in lines(t, "runs", "--all")]
    t.equal(got, [f"r{k}" for k in range(1300)] + ["last"])


def test_run(t):
    """Its events as they lie in the journal; text that would steer."""
    start(t)
    send(t, "some", 3, text=ESC, status="failed")
    send(t, "other", 1)
    got = lines(t, "run", "some")
    t.equal([e["n"] for e in got], [0, 1, 2])
    t.equal(got[0]["text"], ESC)
    for raw in (ctl(t, "run", "some"), ctl(t, "run", "some", "--json")):
        t.true(not set("\x1b\x07\x9b\u202e") & set(raw.stdout), raw.stdout)
    t.true("failed" in ctl(t, "run", "some").stdout, "status")
    done = ctl(t, "run", "none", status=1)
    t.true("no run of that id" in done.stderr, done.stderr)
    ctl(t, "run", status=2)
    ctl(t, "run", "x" * 300, status=1)


def test_run_long(t):
    """An answer of many pieces, and a run that is large."""
    start(t, runs={"idle": "5min", "max_events": 100000,
                   "max_bytes": "32MiB"})
    for _ in range(4):
        send(t, "long", 1000, text="x" * 1000)
    got = lines(t, "run", "long")
    t.equal([e["n"] for e in got], list(range(1000)) * 4)


# --- steering -----------------------------------------------------------------

def test_flush(t):
    """One run, all runs; the others stay open."""
    start(t)
    send(t, "a", 3)
    send(t, "b", 4)
    done = ctl(t, "flush", "a")
    t.equal(done.stdout, "delivered 3 events\n")
    t.equal([r["runId"] for r in lines(t, "runs")], ["b"])
    t.equal({k: len(v) for k, v in t.runs().items()}, {"a": 3})
    last = lines(t, "flush")[-1]
    t.equal((last["state"], last["delivered"], last["pending"]),
            ("done", 4, 0))
    t.equal(len(t.runs()["b"]), 4)
    ctl(t, "flush", "a", status=1)
    t.equal(ctl(t, "flush").stdout, "delivered 0 events\n")
    ctl(t, "flush", "a", "b", status=2)
    ctl(t, "flush", "--wait", "soon", status=2)


def test_flush_results(t):
    """Refused by the upstream; away; back again, at once."""
    up = start(t, up={"script": "marker=poison status=422\n"})
    send(t, "a", 3, text="poison")
    send(t, "b", 2)
    done = ctl(t, "flush", status=1)
    t.true("3 events were refused" in done.stderr, done.stderr)
    t.true("delivered 2 events" in done.stdout, done.stdout)
    up.script("status=503\n")
    send(t, "c", 5)
    done = ctl(t, "flush", "--wait", f"{int(lumnid_it.SLOW) or 1}s", status=4)
    t.true("5 events are still on the way" in done.stderr and
           "503" in done.stderr, done.stderr)
    # It is sealed already, and may be waited for again.
    up.script("")
    ctl(t, "flush", "c")
    t.equal(len(t.runs()["c"]), 5)


def test_pause(t):
    """Outlives a kill; intake goes on; seen everywhere; resume sends."""
    start(t, listen={"http": "127.0.0.1:0"})
    ctl(t, "pause")
    send(t, "a", 3)
    done = ctl(t, "flush", status=5)
    t.true("lumnictl resume" in done.stderr, done.stderr)
    wait_for("the pause to be on disk", lambda: t.daemon.alive() and
             "lumnid_sending_paused 1" in t.daemon.get("/metrics")[1])
    status, body = t.daemon.get("/readyz")
    t.equal(status, 503)
    t.true('"paused"' in body, body)
    t.true("PAUSED" in ctl(t, "status").stdout, "status")
    t.daemon.stop()
    t.lumnid()
    t.true(js(t, "status")["paused"], "a restart has resumed it")
    t.equal(ctl(t, "pause", "--json").stdout, '{"paused":true}\n')
    t.equal(list(t.runs()), [])
    ctl(t, "resume")
    ctl(t, "resume")
    wait_for("the events", lambda: t.runs().get("a"), context=t.logs)
    t.equal(t.daemon.get("/readyz")[0], 200)
    t.daemon.kill()
    t.lumnid()
    t.true(not js(t, "status")["paused"], "a restart has paused it")


def test_pause_kill(t):
    """Nothing more than a second passes before it is on disk."""
    start(t)
    ctl(t, "pause")
    send(t, "a")        # its ack comes after a sync of the journal
    t.daemon.kill()
    t.lumnid()
    t.true(js(t, "status")["paused"], "a kill has resumed it")


def test_drain(t):
    """Everything there is: open, sealed, records; over an outage."""
    up = start(t, up={"script": "status=503\n"})
    send(t, "a", 3)
    ctl(t, "flush", "--wait", "0", status=4)
    send(t, "b", 4)
    ctl(t, "change", "-k", "code", "-r", "x")
    p = subprocess.Popen([program("lumnictl"), "--socket", t.stream_path,
                          "drain", "--json"], stdout=subprocess.PIPE,
                         text=True)
    with p:
        first = json.loads(p.stdout.readline())
        t.equal((first["events"], first["pending"]), (8, 8))
        up.script("")
        last = [json.loads(x) for x in p.stdout][-1]
    t.equal(p.returncode, 0)
    t.equal((last["state"], last["delivered"]), ("done", 8))
    t.equal(sorted(t.runs()), ["a", "b"])
    ctl(t, "drain", "a", status=2)


def test_drain_stop(t):
    """lumnid is stopped meanwhile: said, and nothing is lost."""
    start(t, up={"script": "status=503\n"})
    send(t, "a", 3)
    p = subprocess.Popen([program("lumnictl"), "--socket", t.stream_path,
                          "drain", "--json"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    with p:
        p.stdout.readline()
        t.daemon.stop()
        _, err = p.communicate()
    t.equal(p.returncode, 3, err)
    t.true("sent after its next start" in err or "stopped" in err, err)


def test_reload(t):
    start(t)
    t.equal(ctl(t, "reload").stdout, f"reloaded {t.conf}\n")
    t.configure(storage={"dir": os.path.join(t.dir, "elsewhere")})
    t.true("storage.dir" in ctl(t, "reload").stdout, "restart_needed")
    t.equal(js(t, "reload")["config"], t.conf)
    with open(t.conf, "a", encoding="utf-8") as f:
        f.write("runs:\n    idel: 3s\n")
    done = ctl(t, "reload", status=1)
    t.true(re.search(r"lumnid\.yaml:\d+:\d+: ", done.stderr), done.stderr)
    ctl(t, "status")


def test_log_level(t):
    start(t)
    t.equal(ctl(t, "log-level").stdout, "debug\n")
    ctl(t, "log-level", "error")
    t.equal(js(t, "log-level"), {"level": "error"})
    ctl(t, "reload")
    t.equal(js(t, "log-level"), {"level": "debug"})
    ctl(t, "log-level", "loud", status=1)
    ctl(t, "log-level", "info", "warn", status=2)


# --- the spool ----------------------------------------------------------------

def test_spool(t):
    """Listed, shown, exported; the export can be sent again; offline the
    same as online."""
    start(t, up={"script": "status=503\n"})
    t.equal(ctl(t, "spool").stdout, "nothing waits\n")
    send(t, "a", 3, text=ESC)
    send(t, "b\u202eb", 1)
    send(t, "big", 200, text="".join(map(str, range(300))))
    ctl(t, "policy", "-q", "/dev/null", status=1)
    with open(os.path.join(t.dir, "p"), "w", encoding="ascii") as f:
        f.write('{"max": 1}')
    ctl(t, "policy", os.path.join(t.dir, "p"))
    ctl(t, "flush", "--wait", "0", status=4)
    wait_for("an attempt", lambda: any(
        b["attempts"] for b in lines(t, "spool", "ls")), context=t.logs)
    ctl(t, "pause")

    def without(batches):
        for b in batches:
            for k in ("age_ms", "attempts", "in_flight"):
                b.pop(k)
        return batches
    got = without(lines(t, "spool", "ls"))
    t.equal([b["kind"] for b in got], ["policy", "run", "run", "run"])
    t.equal([b.get("runId") for b in got], [None, "a", "b\u202eb", "big"])
    t.equal([b["events"] for b in got], [1, 3, 1, 200])
    text = ctl(t, "spool", "ls").stdout
    t.true("\u202e" not in text and "b?b" in text, text)
    ids = [b["id"] for b in got]

    body = json.loads(ctl(t, "spool", "show", "--json", ids[1]).stdout)
    t.equal([e["n"] for e in body["events"]], [0, 1, 2])
    t.equal(body["events"][0]["text"], ESC)
    shown = ctl(t, "spool", "show", ids[1], ids[0]).stdout
    t.true("\x1b" not in shown and "\u009b" not in shown, shown)
    t.true('"max":1' in shown.replace(" ", ""), shown)
    t.equal(len(lines(t, "spool", "ls", "--run", "a")), 1)
    t.equal(len(lines(t, "spool", "ls", "--limit", "2")), 2)
    ctl(t, "spool", "show", "0123456789abcdef-999", status=1)
    ctl(t, "spool", "show", "nonsense", status=1)
    ctl(t, "spool", "show", status=2)
    ctl(t, "spool", "eat", status=2)
    export = ctl(t, "spool", "export").stdout
    t.equal([sorted(json.loads(x)) for x in export.splitlines()],
            [["policy"]] + [["events", "runId"]] * 3)
    data = os.path.join(t.dir, "data")
    done = ctl(t, "spool", "ls", "--dir", data, status=1)
    t.true("running lumnid is using it" in done.stderr, done.stderr)

    t.daemon.kill()
    before = sorted((os.path.join(b, f), os.stat(os.path.join(b, f)).st_size)
                    for b, _, names in os.walk(data) for f in names)
    t.equal(without(lines(t, "spool", "ls", "--dir", data)), got)
    t.equal(ctl(t, "spool", "export", "--dir", data).stdout, export)
    t.equal(json.loads(ctl(t, "spool", "show", "--json", "--dir", data,
                           ids[3]).stdout)["runId"], "big")
    ctl(t, "spool", "ls", "--dir", t.dir, status=1)
    after = sorted((os.path.join(b, f), os.stat(os.path.join(b, f)).st_size)
                   for b, _, names in os.walk(data) for f in names)
    t.equal(after, before, "what --dir has changed")

    again = t.sub("again")
    again.upstream()
    again.lumnid()
    path = os.path.join(t.dir, "export.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(x + "\n" for x in export.splitlines()[1:]))
    ctl(again, "send", "--end", path)
    wait_for("the export to arrive", lambda: sum(
        map(len, again.runs().values())) == 204, context=again.logs)


def test_dead(t):
    """The letters of the lumnid that runs, without --dir."""
    t.letters_whole = False
    start(t, up={"script": "marker=poison status=422\n"})
    send(t, "a", 1, text="poison")
    ctl(t, "flush", status=1)
    letter = lines(t, "dead", "list")[0]
    t.equal((letter["status"], letter["runId"], letter["events"]),
            (422, "a", 1))
    t.equal(json.loads(ctl(t, "dead", "show", letter["letter"],
                           "--json").stdout)["status"], 422)
    t.equal(js(t, "dead", "delete", "--all"), {"deleted": letter["letter"]})
    t.equal(ctl(t, "dead").stdout, "no letters\n")


def test_dead_of_others(t):
    """A letter that is not as lumnid writes them, under a name that nobody
    would give: listed, shown, deleted; nothing of it steers the terminal. One
    whose runId is null ended lumnictl."""
    where = os.path.join(t.dir, "letters")
    os.mkdir(where)
    names = ["1-a\"\x1b[31m\u202e.json", "2.json"]
    for name, letter in zip(names, ({
            "status": ESC, "kind": ESC, "runId": ESC, "batch": ESC},
            {"runId": None, "status": None, "kind": None, "events": None})):
        with open(os.path.join(where, name), "w", encoding="utf-8") as f:
            json.dump(letter, f)

    def dead(*argv, status=0):
        done = ctl(t, "dead", "--dir", where, *argv, status=status)
        for text in done.stdout, done.stderr:
            t.true(not set("\x1b\x9b\u202e") & set(text), repr(text))
        return done.stdout
    t.equal(len(dead("list").splitlines()), 2)
    got = [json.loads(x) for x in dead("list", "--json").splitlines()]
    t.equal([x["letter"] for x in got], names)
    for name in names:
        dead("show", name)
        dead("retry", name, status=1)
    dead("show", "\x1b[31m", status=1)
    t.equal(json.loads(dead("delete", "--json", names[0])),
            {"deleted": names[0]})
    t.equal(dead("delete", names[1]), "deleted 2.json\n")


# --- tail ---------------------------------------------------------------------

def test_tail(t):
    start(t)
    tail = Tail(t, "--json")
    tail.begun()
    n = len(tail.lines)
    send(t, "a", 2, text=ESC)
    wait_for("both events", lambda: sum(
        '"runId":"a"' in x for x in tail.lines[n:]) == 2)
    last = json.loads(tail.lines[-1])
    t.equal((last["runId"], last["event"]["n"], last["event"]["text"]),
            ("a", 1, ESC))
    t.true(not set("\x1b\x9b\u202e") & set(tail.lines[-1]), "raw escapes")


def test_tail_filters(t):
    start(t)
    tails = [Tail(t, "--run", "begin"), Tail(t, "--type", "begin"),
             Tail(t, "--status", "begin"), Tail(t, "-t", "no\"such")]
    for tail in tails[:3]:
        tail.begun()
    send(t, "other", 3, type="t", status="s", nested={"type": "begin"})
    send(t, "begin", 1, type="begin", status="begin", mark="last")
    for tail in tails[:3]:
        wait_for("the last", lambda tail=tail: any(
            "last" in x for x in tail.lines))
        t.equal([x for x in tail.lines if "begin" not in x], [])
        t.true(not any("other" in x for x in tail.lines), tail.lines)
    t.equal(tails[3].lines, [])


def test_tail_count(t):
    """It ends by itself; and with lumnid; and where nobody reads."""
    start(t)
    tail = Tail(t, "--count", "2")
    other = Tail(t)
    other.begun()
    tail.begun()
    send(t, "a", 5)
    t.equal(tail.p.wait(20), 0)
    t.equal(len(tail.lines), 2)
    t.daemon.stop()
    t.equal(other.p.wait(20), 3)
    t.true("stopping" in other.p.stderr.read(), "no reason")
    ctl(t, "tail", "--count", "x", status=2)


def test_tail_load(t):
    """Tails that nobody reads cost the intake next to nothing, and tell at last
    how much they skipped. LUMNID_TAIL_EVENTS=N runs it longer, and prints the
    figures."""
    events = int(os.environ.get("LUMNID_TAIL_EVENTS", "30000"))
    t.upstream()
    t.lumnid(log={"level": "info"})
    seeds = itertools.count(1)

    def load():
        """(lumnid's CPU, wall) seconds for a load that is acknowledged."""
        cpu = t.daemon.cpu_seconds()
        report = t.loadgen("--stream", t.stream_path, "--events", events,
                           "--connections", 8, "--ack", "each", "--window",
                           2000, "--seed", next(seeds))
        t.equal((report["acks"], report["errors"]), (events, 0))
        return t.daemon.cpu_seconds() - cpu, report["seconds"]
    load()
    alone = min(load() for _ in range(2))
    # lumnid's buffer, the kernel's, and the pipe: all are full soon.
    stuck = [subprocess.Popen(
        [program("lumnictl"), "--socket", t.stream_path, "tail", "--json"],
        stdout=subprocess.PIPE, bufsize=0) for _ in range(3)]
    for p in stuck:
        t.files.callback(p.stdout.close)
        t.files.callback(p.wait)
        t.files.callback(p.kill)

    def told():
        send(t, "begin")
        return all(select.select([p.stdout], [], [], 0)[0] for p in stuck)
    wait_for("the tails", told)
    besides = min(load() for _ in range(2))
    if "LUMNID_TAIL_EVENTS" in os.environ:
        for name, (cpu, wall) in (("alone", alone), ("3 stuck", besides)):
            print(f"{name}: {cpu / events * 1e6:.2f} us of CPU an event, "
                  f"{events / wall:.0f} events/s", flush=True)
    t.true(besides[0] < alone[0] * 1.5 + 0.3, (alone, besides))
    # On a slow machine there are several gaps.
    skipped = shown = 0
    rest = b""
    while skipped <= events // 2:
        t.true(select.select([stuck[0].stdout], [], [],
                             20 * lumnid_it.SLOW)[0], (shown, skipped))
        *whole, rest = (rest + stuck[0].stdout.read(65536)).split(b"\n")
        for line in map(json.loads, whole):
            skipped += line.get("skipped", 0)
            shown += "skipped" not in line
    t.true(shown > 0, (shown, skipped))


def test_man_examples(t):
    """What lumnictl(1) shows can be typed, and prints what the page says."""
    start(t)
    bin_dir = os.path.join(t.dir, "bin")
    os.mkdir(bin_dir)
    os.symlink(program("lumnictl"), os.path.join(bin_dir, "lumnictl"))
    with open(os.path.join(t.dir, "bin", "agent"), "w", encoding="ascii") as f:
        f.write('#!/bin/sh\necho \'{"type":"a"}\'\n')
    os.chmod(f.name, 0o755)
    env = {"PATH": bin_dir + ":/usr/bin:/bin",
           "LUMNID_ADDRESS": "unix://" + t.stream_path}
    with open(os.path.join(lumnid_it.SOURCE, "doc", "lumnictl.1"),
              encoding="utf-8") as f:
        page = f.read().split(".Sh EXAMPLES")[1].replace("\\(dq", '"')
    shown = [block for block in re.findall(
        r"(?s)\.Bd -literal[^\n]*\n(.*?)\.Ed", page) if "lumnictl" in block]
    t.true(len(shown) >= 5, shown)
    for block in shown:
        want = None
        for line in block.splitlines():
            if not line.startswith(("$ ", "# ")):
                want.append(line)
                continue
            if want:
                t.equal(done.stdout.splitlines(), want, command)
            command, want = line[2:], []
            if command.startswith("cat steps.jsonl"):
                # What it prints is what is sent.
                rows = [x for x in block.splitlines() if x.startswith("{")]
                with open(os.path.join(t.dir, "steps.jsonl"), "w",
                          encoding="utf-8") as f:
                    f.write("".join(x + "\n" for x in rows))
            if command.startswith("lumnictl tail"):
                command += " --count 1 & p=$!; while kill -0 $p; do " \
                    "lumnictl send -q -r x -t tool_call status=failed; done " \
                    "2>/dev/null"
            if "--dir /mnt" in command:
                other = t.sub("other")
                other.upstream(script="status=503\n")
                other.lumnid()
                ctl(other, "send", "-q", "-e", "-r", "z", "-t", "a", "n=1")
                ctl(other, "flush", "--wait", "0", status=4)
                other.daemon.kill()
                command = command.replace("/mnt/var/lib/lumnid",
                                          os.path.join(other.dir, "data"))
            done = t.run("sh", "-c", command, env=env)
            t.equal(done.returncode, 0, command + done.stderr)
            if command.startswith("lumnictl drain"):
                want = None
                t.true(re.fullmatch(r"delivered [\d,]+ events\n",
                                    done.stdout), done.stdout)
                break
        if want:
            t.equal(done.stdout.splitlines(), want, command)


def test_usage(t):
    """Every command has its help, and refuses what it does not know."""
    names = re.findall(r"(?m)^  ([a-z-]+) +\S", t.run(
        program("lumnictl"), "--help").stdout.split("Options")[0])
    t.true(len(names) >= 16, names)
    for name in names:
        done = ctl(t, name, "--help")
        t.true(done.stdout.startswith("usage: lumnictl " + name), name)
        t.true("--json" in done.stdout, name)
        ctl(t, name, "--nonsense", status=2)


if __name__ == "__main__":
    lumnid_it.main()
