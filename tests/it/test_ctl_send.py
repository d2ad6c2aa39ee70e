#!/usr/bin/python3
"""lumnictl send: against a server of the test's own, which sees every byte,
and against the real lumnid."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import threading

import msgpack

import lumnid_it
from lumnid_it import SLOW, Failure, Skip, program, wait_for

class Server:
    """Takes one connection and keeps the messages; `answer` makes the answer
    to each, None for none."""

    def __init__(self, t, answer=None, close_after=None, read=True):
        self.path = os.path.join(t.dir, "fake.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.messages = []
        self.answer = answer or (lambda m: {"ack": m["ack"]})
        self.close_after = close_after
        self._read = read
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(self.path)
        self._sock.listen(1)
        self._sock.settimeout(20 * SLOW)
        self.error = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._serve()
        except Exception as e:      # pylint: disable=broad-except
            self.error = e

    def _serve(self):
        with contextlib.closing(self._sock.accept()[0]) as con:
            con.settimeout(20 * SLOW)
            if not self._read:
                self._ended.wait(20 * SLOW)
                return
            unpacker = msgpack.Unpacker(raw=False, max_buffer_size=2**30)
            while data := con.recv(65536):
                unpacker.feed(data)
                for m in unpacker:
                    self.messages.append(m)
                    if "ack" in m:
                        answer = self.answer(m)
                        if answer is not None:
                            con.sendall(answer if isinstance(answer, bytes)
                                        else msgpack.packb(answer))
                    if len(self.messages) == self.close_after:
                        return

    def end(self):
        self._ended.set()
        self._thread.join(20 * SLOW)
        self._sock.close()
        if self.error is not None:
            raise Failure(f"the server: {self.error!r}")
        return self.messages


def send(t, server, *args, stdin="", **kw):
    done = t.lumnictl("send", "--socket", server.path, *args, stdin=stdin,
                      **kw)
    if server.close_after is None:
        server.end()
    return done


def check(t, done, status, out, err=""):
    t.equal((done.returncode, done.stdout, done.stderr), (status, out, err),
            "exit status, output, errors")


def test_lines(t):
    """Flat events and events with an envelope, in every JSON type."""
    value = {"i": -2**63, "u": 2**64 - 1, "f": 1.5, "z": 0.1, "t": True,
             "n": None, "s": "ä\u0000\U0001f600", "a": [1, [2, {}]],
             "o": {"k": {"k": 1}}}
    lines = [
        {"runId": "a", "type": "x", **value},
        {"runId": "b", "events": [{"type": "1"}, {"type": "2"}]},
        {"runId": 7, "type": "number"},
        {"traceId": "tr", "type": "traced"},
        {"traceId": "tr", "events": [{"type": "t"}]},
        {"runId": "a", "traceId": "kept", "ack": "mine"},
        {"runId": "b", "events": [], "end": True},
    ]
    text = "\n\n".join(json.dumps(x) for x in lines) + "\r\n  \n"
    server = Server(t)
    done = send(t, server, stdin=text)
    check(t, done, 0, "acknowledged 7 events of 4 runs\n")
    t.equal(server.messages, [
        {"runId": "a", "events": [{"type": "x", **value}], "ack": 1},
        {**lines[1], "ack": 2},
        {"runId": 7, "events": [{"type": "number"}], "ack": 3},
        {"runId": "tr", "events": [lines[3]], "ack": 4},
        {"runId": "tr", "events": [{"type": "t"}], "ack": 5},
        {"runId": "a", "events": [{"traceId": "kept", "ack": "mine"}],
         "ack": 6},
        {**lines[6], "ack": 7},
    ])


def test_arguments(t):
    server = Server(t)
    done = send(t, server, "--run", "r", "--type", "tool_call", "a=text",
                "n=12", "big=18446744073709551615", "f=1.50", "t=true",
                "null=null", "o={\"k\": [1]}", "s=\"quoted\"", "empty=",
                "zero=01", "j:=\"quoted\"", "eq=a=b", "nan=NaN", "--end")
    check(t, done, 0, "acknowledged 1 event of 1 run\n")
    t.equal(server.messages, [{"runId": "r", "events": [{
        "type": "tool_call", "a": "text", "n": 12, "big": 2**64 - 1, "f": 1.5,
        "t": True, "null": None, "o": {"k": [1]}, "s": "\"quoted\"",
        "empty": "", "zero": "01", "j": "quoted", "eq": "a=b", "nan": "NaN",
    }], "end": True, "ack": 1}])


def test_run_and_end(t):
    server = Server(t)
    done = send(t, server, "--run", "given", "--end",
                stdin='{"type":"a"}\n{"runId":"own","type":"b"}\n'
                      '{"type":"c","traceId":"x"}')
    check(t, done, 0, "acknowledged 3 events of 2 runs\n")
    t.equal(server.messages, [
        {"runId": "given", "events": [{"type": "a"}], "ack": 1},
        {"runId": "own", "events": [{"type": "b"}], "ack": 2},
        {"runId": "given", "events": [{"type": "c", "traceId": "x"}],
         "ack": 3},
        {"events": [], "runId": "given", "end": True, "ack": 4},
        {"events": [], "runId": "own", "end": True, "ack": 5},
    ])
    # An end alone, without an event.
    server = Server(t)
    done = send(t, server, "--run", "given", "--end")
    check(t, done, 0, "acknowledged 0 events of 1 run\n")
    t.equal(server.messages, [
        {"events": [], "runId": "given", "end": True, "ack": 1}])
    server = Server(t)
    check(t, send(t, server), 0, "acknowledged 0 events of 0 runs\n")
    server = Server(t)
    check(t, send(t, server, "-q", stdin='{"runId":"a"}'), 0, "")


BAD = [
    # line, place and words of the error
    ('{"runId":"r","a":tru}', "18: not JSON: strings and keys stand in "
     "double quotes"),
    ("{'runId':1}", "2: not JSON: strings and keys stand in double quotes"),
    ('{"ä":1', "7: not JSON: it ends too early"),
    ('{"a":1} x', "9: not JSON: strings and keys stand in double quotes"),
    ('{"a":1}{}', "8: not JSON: text after the value"),
    ('{"a":1,}', "8: not JSON: "),
    ('[1]', "1: no JSON object; an event is written "
     '{"runId": "...", "type": "...", ...}'),
    ('1', "1: no JSON object; "),
    ('null', "1: no JSON object; "),
    ('{"type":"x"}', '1: no "runId" in it; add one, or give --run ID'),
    ('{"runId":"r","n":18446744073709551616}', "18: a number beyond 64 bits; "
     "write it as a string"),
    ('{"runId":"r","n":-9223372036854775809}', "18: a number beyond 64 bits"),
    ('{"runId":"r","n":1e999}', "18: a number beyond a double's range"),
    ('{"runId":"r","n":01}', "18: not JSON: a bad number"),
    ('{"runId":"r","n":1.}', "18: not JSON: a bad number"),
    ('{"runId":"r","n":NaN}', "18: not JSON: "),
    ('{"runId":"r","n":"\t"}', "18: not JSON: a control character in a "
     "string"),
    ('{"runId":"r","a\\u0000":1}', "14: a key with a NUL character"),
    ("[" * 100, "65: not JSON: nesting too deep"),
]


def test_bad_lines(t):
    """Each is named with its place; what is good around it goes on."""
    path = os.path.join(t.dir, "f.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\ufeff")
        for i, (line, _) in enumerate(BAD):
            f.write(json.dumps({"runId": "r", "n": i}) + "\n" + line + "\n")
    server = Server(t)
    done = send(t, server, path)
    t.equal(done.returncode, 1, "exit status")
    t.equal(done.stdout, f"acknowledged {len(BAD)} events of 1 run\n")
    got = done.stderr.splitlines()
    t.equal(len(got), len(BAD), "errors")
    for i, (line, (_, error)) in enumerate(zip(got, BAD)):
        want = f"lumnictl: {path}:{2 * i + 2}:{error}"
        t.true(line.startswith(want), f"got {line!r}, want {want!r}")
    t.equal([m["events"][0]["n"] for m in server.messages],
            list(range(len(BAD))))

    server = Server(t)
    done = send(t, server, "--strict", path)
    t.equal(done.returncode, 1, "exit status with --strict")
    t.equal(done.stdout, "acknowledged 1 event of 1 run\n")
    t.equal(len(done.stderr.splitlines()), 1, "errors with --strict")


def test_files(t):
    one, two = (os.path.join(t.dir, x) for x in ("one", "two"))
    with open(one, "w", encoding="utf-8") as f:
        f.write('{"runId":"r","n":1}')      # no newline at its end
    with open(two, "w", encoding="utf-8") as f:
        f.write('{"runId":"r","n":3}\nbad\n')
    server = Server(t)
    done = send(t, server, one, "-", os.path.join(t.dir, "none"), t.dir, two,
                stdin='{"runId":"r","n":2}\n')
    check(t, done, 1, "acknowledged 3 events of 1 run\n",
          f"lumnictl: {t.dir}/none: No such file or directory\n"
          f"lumnictl: {t.dir}: Is a directory\n"
          f"lumnictl: {two}:2:1: not JSON: strings and keys stand in double "
          "quotes\n")
    t.equal([m["events"][0]["n"] for m in server.messages], [1, 2, 3])


def test_refused(t):
    """The words of lumnid, with the line; terminals are not steered."""
    def answer(m):
        if m["ack"] % 2 == 0:
            return {"error": "no \x1b[31m\u009broom", "code": "full",
                    "ack": m["ack"]}
        return {"ack": m["ack"]}
    server = Server(t, answer)
    done = send(t, server, stdin='{"runId":"r"}\n' * 4)
    check(t, done, 1, "acknowledged 2 events of 1 run\n", "".join(
        f"lumnictl: standard input:{n}: refused: no ?[31m?room (full)\n"
        for n in (2, 4)))
    server = Server(t, lambda m: {"error": "no", "code": "stopping",
                                  "ack": m["ack"]})
    done = send(t, server, "--run", "r", "--end")
    check(t, done, 1, "acknowledged 0 events of 0 runs\n",
          "lumnictl: the end of run r: refused: no (stopping)\n")


def test_unreachable(t):
    def try_path(path, error, status=3, env=None):
        done = t.lumnictl("send", *(["--socket", path] if path else []),
                          stdin='{"runId":"r"}\n', env=env)
        check(t, done, status, "", f"lumnictl: {error}\n")

    path = os.path.join(t.dir, "none.sock")
    try_path(path, f"{path} does not exist; is lumnid running?")
    try_path(None, f"{path} does not exist; is lumnid running?",
             env={"LUMNID_ADDRESS": f"unix://{path}"})
    try_path(None, 'LUMNID_ADDRESS is "udp://127.0.0.1:1", which is no '
             "unix:///path; name lumnid's socket with --socket", 2,
             env={"LUMNID_ADDRESS": "udp://127.0.0.1:1"})
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind(path)
    try_path(path, f"nobody listens on {path}; is lumnid running?")
    os.unlink(path)
    with contextlib.closing(socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM)) as s:
        s.bind(path)
        try_path(path, f"{path} is a datagram socket; name the one of "
                 "listen.unix.path")
    try_path("/" + "x" * 200, '"/' + "x" * 200 + '" is no path for a socket')


def test_permission(t):
    """Who may not connect is told which group may."""
    if os.geteuid() != 0:
        raise Skip("needs root, to be somebody else")
    server = Server(t)
    os.chmod(t.dir, 0o755)
    os.chmod(server.path, stat.S_IRWXU | stat.S_IRWXG)
    ctl = program("lumnictl")
    for up in (ctl, os.path.dirname(ctl)):
        if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups",
                           "--", "test", "-x", up], check=False).returncode:
            raise Skip("the build is closed to others")

    def as_nobody():
        return t.run("setpriv", "--reuid=65534", "--regid=65534",
                     "--clear-groups", "--", ctl, "send", "--socket",
                     server.path, stdin="")
    check(t, as_nobody(), 3, "",
          f'lumnictl: {server.path}: only the group "root" may connect; join '
          'it with "usermod -aG root USER" and log in anew\n')
    os.chmod(server.path, stat.S_IRWXU)
    check(t, as_nobody(), 3, "",
          f"lumnictl: {server.path}: you may not connect; see "
          "listen.unix.group and listen.unix.mode in lumnid.yaml(5)\n")
    os.chmod(t.dir, 0o700)
    check(t, as_nobody(), 3, "", f"lumnictl: {server.path}: its directory is "
          "closed to you\n")
    check(t, send(t, server), 0, "acknowledged 0 events of 0 runs\n")


def test_lost(t):
    """lumnid goes away: what it has acknowledged is said."""
    server = Server(t, close_after=3)
    done = send(t, server, stdin='{"runId":"r"}\n' * 5)
    server.end()
    check(t, done, 3, "", "lumnictl: lumnid closed the connection\n"
          "acknowledged 3 events of 1 run\n"
          "lumnictl: 2 messages were not acknowledged; lumnid may have taken "
          "some of them\n")
    # It says why.
    server = Server(t, lambda m: {"error": "too many", "code": "too_large"},
                    close_after=1)
    done = send(t, server, stdin='{"runId":"r"}\n')
    server.end()
    check(t, done, 3, "", "lumnictl: lumnid closed the connection: too many "
          "(too_large)\nacknowledged 0 events of 0 runs\n"
          "lumnictl: 1 message was not acknowledged; lumnid may have taken "
          "it\n")
    # It speaks something else.
    for junk in (b"\xc1", b"\x01", b"\x80", b"HTTP/1.1 400 Bad\r\n"):
        server = Server(t, lambda m, junk=junk: junk, close_after=1)
        done = send(t, server, stdin='{"runId":"r"}\n')
        server.end()
        t.equal(done.returncode, 3, f"exit status after {junk!r}")
        t.true("an answer that " in done.stderr, done.stderr)


def test_timeout(t):
    server = Server(t, read=False)
    done = send(t, server, "--timeout", "200ms", stdin='{"runId":"r"}\n')
    check(t, done, 3, "", "lumnictl: lumnid has taken and answered nothing for "
          "200ms; is it stopped, or its storage full?\n"
          "acknowledged 0 events of 0 runs\n"
          "lumnictl: 1 message was not acknowledged; lumnid may have taken "
          "it\n")
    # More than the socket takes: the time counts for writing too.
    server = Server(t, read=False)
    done = send(t, server, "--timeout", "200ms",
                stdin=json.dumps({"runId": "r", "x": "y" * 2000000}) + "\n")
    t.equal(done.returncode, 3)


def test_no_ack(t):
    server = Server(t)
    done = send(t, server, "--no-ack", "--end",
                stdin='{"runId":"a","n":1}\n{"runId":"b","n":2}\n')
    check(t, done, 0, "sent 2 events of 2 runs; nothing was acknowledged\n")
    t.equal(server.messages, [
        {"runId": "a", "events": [{"n": 1}]},
        {"runId": "b", "events": [{"n": 2}]},
        {"runId": "a", "events": [], "end": True},
        {"runId": "b", "events": [], "end": True}])


def test_window(t):
    """More messages than may wait, and answers in another order."""
    n, held = 20000, []

    def answer(m):
        # Each hundred backwards; what is held is less than the window.
        held.append(m["ack"])
        if len(held) < 100:
            return None
        out = b"".join(msgpack.packb({"ack": x}) for x in reversed(held))
        held.clear()
        return out
    server = Server(t, answer)
    done = send(t, server, stdin="".join(
        f'{{"runId":"r{i % 7}","n":{i}}}\n' for i in range(n)))
    check(t, done, 0, f"acknowledged {n} events of 7 runs\n")
    t.equal([m["events"][0]["n"] for m in server.messages], list(range(n)))


def test_large(t):
    """A line of many megabytes, and one that is too long."""
    server = Server(t)
    done = send(t, server, stdin=json.dumps(
        {"runId": "r", "x": "y" * 20000000}) + '\n{"runId":"r"}\n')
    check(t, done, 0, "acknowledged 2 events of 1 run\n")
    server = Server(t)
    done = send(t, server, stdin=" " * (66 << 20) + '{}\n{"runId":"r"}\n')
    check(t, done, 1, "acknowledged 1 event of 1 run\n", "lumnictl: standard "
          "input:1: a line of more than 67108864 bytes\n")


def test_stream(t):
    """A pipe that stays open: a line goes out when it comes."""
    server = Server(t)
    # It must outlast the timeout while nothing is asked of lumnid.
    with subprocess.Popen(
            [program("lumnictl"), "send", "--socket", server.path,
             "--timeout", "100ms"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=t.dir) as p:
        for i in range(3):
            p.stdin.write(f'{{"runId":"r","n":{i}}}\n')
            p.stdin.flush()
            wait_for("the line", lambda i=i: len(server.messages) == i + 1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(0.3)
        p.stdin.close()
        t.equal(p.stdout.read(), "acknowledged 3 events of 1 run\n")
        t.equal(p.wait(20 * SLOW), 0)
    server.end()


def test_usage(t):
    def usage(error, *args, command=" send"):
        done = t.lumnictl(*args, stdin="")
        check(t, done, 2, "", f"lumnictl{error}\nTry 'lumnictl{command} "
              "--help'.\n")
    usage(": no command is given", command="")
    usage(': there is no command "sned"', "sned", command="")
    usage(": unrecognized option '--sock-it'", "--sock-it", command="")
    usage(" send: unrecognized option '--typo'", "send", "--typo")
    usage(" send: option '--run' requires an argument", "send", "--run")
    usage(": --type needs --run ID", "send", "--type", "x")
    usage(': "name" is no key=value', "send", "--run", "r", "--type", "x",
          "name")
    usage(': "=1" is no key=value', "send", "--run", "r", "--type", "x", "=1")
    usage(': ":=1" is no key=value', "send", "--run", "r", "--type", "x",
          ":=1")
    usage(': "a:=b": not JSON: strings and keys stand in double quotes, at '
          "letter 1", "send", "--run", "r", "--type", "x", "a:=b")
    usage(': --timeout: "soon" is no duration, such as 500ms, 30s or 1h30m',
          "send", "--timeout", "soon")
    for args in (["--help"], ["-h"], ["help"], ["send", "--help"],
                 ["send", "-h"]):
        done = t.lumnictl(*args)
        t.equal((done.returncode, done.stderr), (0, ""), repr(args))
        t.true(done.stdout.startswith("usage: lumnictl"), done.stdout)
        t.true("--timeout" in done.stdout, done.stdout)
    done = t.lumnictl("--version")
    t.equal((done.returncode, done.stdout.split()[0]), (0, "lumnid"))


def test_lumnid(t):
    """The real one: acknowledged, delivered, in order; refusals in words."""
    up = t.upstream()
    t.lumnid(runs={"idle": "60s"})
    n = 3000
    lines = [{"runId": f"r{i % 5}", "n": i, "x": [i, -i, i / 2, str(i)]}
             for i in range(n)]
    done = t.lumnictl("--socket", t.stream_path, "send", "--end", "-",
                      stdin="".join(json.dumps(x) + "\n" for x in lines))
    check(t, done, 0, f"acknowledged {n} events of 5 runs\n")
    up.wait_sums(events=n)
    t.check_runs({f"r{k}": list(range(k, n, 5)) for k in range(5)})
    for event in t.runs()["r3"]:
        i = event["n"]
        t.equal(event["x"], [i, -i, i / 2, str(i)])

    done = t.lumnictl("--socket", t.stream_path, "send", stdin=(
        '{"runId":"","n":1}\n{"runId":"good","events":[{"n":1}],"x":1}\n'
        '{"runId":"good","type":"run_end","n":-1}\n'))
    t.equal(done.returncode, 1, done.stderr)
    t.true("standard input:1: refused: " in done.stderr and
           "(bad_run_id)" in done.stderr, done.stderr)
    t.true("standard input:2: refused: " in done.stderr and
           "(unknown_key)" in done.stderr, done.stderr)
    t.equal(done.stdout, "acknowledged 1 event of 1 run\n")
    up.wait_sums(events=n + 1)
    done = t.lumnictl("--socket", t.stream_path, "send", "--no-ack", "--run",
                      "good2", "--type", "x", "n=-2", "--end")
    check(t, done, 0, "sent 1 event of 1 run; nothing was acknowledged\n")
    up.wait_sums(events=n + 2)


if __name__ == "__main__":
    lumnid_it.main()
