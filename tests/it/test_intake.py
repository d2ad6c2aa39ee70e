#!/usr/bin/python3
"""The ways in: messages however they are cut, bad input of every kind, the
sockets themselves, and what keeps lumnid from starting."""

import fcntl
import grp
import os
import re
import resource
import signal
import socket
import stat
import time

import lumnid_it
from lumnid_it import KEY, deadline, pack, program, wait_for


def event(run, n, **more):
    return {"runId": run, "type": "step", "n": n, **more}


# --- messages ---------------------------------------------------------------

def test_split_at_every_byte(t):
    """Two messages, the first cut at every byte by a write of its own."""
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    size = len(pack(event("split", 100, ack="x"))) + 40
    sent = 0
    for cut in range(1, size):
        data = pack({"runId": "split", "events": [{"n": sent}], "ack": sent})
        second = pack({"runId": "split", "events": [{"n": sent + 1}],
                       "ack": sent + 1})
        data += second
        if cut >= len(data):
            break
        s.sock.sendall(data[:cut])
        if cut < len(data) - len(second):
            # Nothing whole was sent: a round trip shows it was read.
            other = t.stream()
            other.ask({"runId": "other", "events": [], "ack": 1})
            other.close()
        s.sock.sendall(data[cut:])
        t.equal((s.answer(), s.answer()), ({"ack": sent}, {"ack": sent + 1}))
        sent += 2
    s.send({"runId": "split", "events": [], "end": True})
    up.wait_sums(events=sent)
    t.check_runs({"split": list(range(sent))})


def test_many_in_one_write(t):
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    s.send(*[event("many", n) for n in range(5000)],
           {"runId": "many", "events": [{"n": 5000}], "end": True, "ack": 7})
    t.equal(s.answer(), {"ack": 7})
    up.wait_sums(events=5001)
    t.check_runs({"many": list(range(5001))})


def test_half_closed_client(t):
    """Write all, shut down, read the acks: as `lumnictl send` in a pipe."""
    t.upstream()
    t.lumnid()
    s = t.stream()
    s.send(*[{"runId": "h", "events": [{"n": n}], "ack": n}
             for n in range(300)])
    s.sock.shutdown(socket.SHUT_WR)
    t.equal([s.answer() for _ in range(300)],
            [{"ack": n} for n in range(300)])
    t.equal(s.answer(), None, "the end")


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


REFUSED = [
    ("a number", 5, None),
    ("no run", {"type": "step"}, None),
    ("no run, with an ack", {"events": [], "ack": 1}, "no_run_id"),
    ("empty run", {"runId": "", "events": [], "ack": 1}, "bad_run_id"),
    ("run of 257", {"runId": "r" * 257, "events": [], "ack": 1},
     "bad_run_id"),
    ("run with a newline", {"runId": "a\nb", "events": [], "ack": 1},
     "bad_run_id"),
    ("run is a list", {"runId": [1], "events": [], "ack": 1}, "bad_run_id"),
    ("events is no array", {"runId": "r", "events": 5, "ack": 1},
     "bad_events"),
    ("an event is no map", {"runId": "r", "events": [1], "ack": 1},
     "bad_events"),
    ("end is no boolean", {"runId": "r", "events": [], "end": 1, "ack": 1},
     "bad_end"),
    ("unknown key", {"runId": "r", "events": [], "evnets": 1, "ack": 1},
     "unknown_key"),
    ("too deep", {"runId": "r", **nested(33)}, None),
]


def test_refused_alone(t):
    """A well-formed value that is no valid message costs nobody else."""
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    n = 0
    for what, message, code in REFUSED:
        s.send(event("good", n), message)
        n += 1
        if code:
            answer = s.answer()
            t.equal((answer.get("code"), answer.get("ack")), (code, 1), what)
            t.true(answer.get("error"), f"{what}: a sentence")
    t.equal(s.ask({"runId": "good", "events": [{"n": n}], "end": True,
                   "ack": "last"}), {"ack": "last"})
    up.wait_sums(events=n + 1)
    t.check_runs({"good": list(range(n + 1))})


LOST = [
    ("no msgpack", b"\xc1", "not_msgpack"),
    ("array of 2^32", b"\xdd\xff\xff\xff\xff", "too_large"),
    ("map of 2^32", b"\xdf\xff\xff\xff\xff", "too_large"),
    ("string of 2^31", b"\xdb\x7f\xff\xff\xff", "too_large"),
    ("bin in an event", pack({"runId": "r"})[:-1] + b"\xa1" + b"r" +
     b"\xc6\xff\xff\xff\xff", "too_large"),
    ("1000 arrays deep", b"\x91" * 1000, "too_deep"),
    ("33 maps in an event", pack({"runId": "r", "events": [nested(33)]}),
     "too_deep"),
]


def test_lost_streams(t):
    """An error answer, then the end; what came before is kept."""
    up = t.upstream()
    t.lumnid()
    before = t.daemon.private_kib()
    want = []
    for n, (what, data, code) in enumerate(LOST):
        s = t.stream()
        s.send({"runId": "kept", "events": [{"n": n}], "ack": n}, data,
               b"\x01" * 1000)
        want.append(n)
        answers = [s.answer(), s.answer()]
        t.true({"ack": n} in answers, f"{what}: {answers}")
        t.true(code in [a.get("code") for a in answers], f"{what}: {answers}")
        t.equal(s.answer(), None, f"{what}: the end")
    up.wait_sums(events=len(want))
    t.check_runs({"kept": want})
    after = t.daemon.private_kib()
    if not os.environ.get("LUMNID_SLOW"):
        t.true(after < before + 2048, f"{before} KiB became {after} KiB")


def test_message_limit(t):
    up = t.upstream()
    t.lumnid(events={"max_message": "64KiB"})
    fits = "x" * (65536 - len(pack(event("r", 1, text=""))) - 10)
    s = t.stream()
    s.send(event("r", 1, text=fits))
    t.equal(s.ask({"runId": "r", "events": [], "end": True, "ack": 1}),
            {"ack": 1})
    s.send(event("r", 2, text=fits + "y" * 100))
    t.equal(s.answer()["code"], "too_large")
    t.equal(s.answer(), None)
    up.wait_sums(events=1)
    t.check_runs({"r": [1]})


def test_large_message(t):
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    text = "0123456789abcdef" * (7 * 65536)
    t.equal(s.ask({"runId": "r", "events": [{"n": 1, "text": text}],
                   "end": True, "ack": 1}), {"ack": 1})
    up.wait_sums(events=1)
    t.equal(t.runs()["r"][0]["text"], text)


def test_connection_limit(t):
    t.upstream()
    t.lumnid(limits={"connections": 3})
    held = [t.stream() for _ in range(3)]
    for n, s in enumerate(held):
        t.equal(s.ask({"runId": "r", "events": [], "ack": n}), {"ack": n})
    late = t.stream()
    t.equal(late.answer()["code"], "too_many_connections")
    t.equal(late.answer(), None)
    held[0].close()

    def served():
        s = t.stream()
        try:
            return s.ask({"runId": "r", "events": [], "ack": 9}) == {"ack": 9}
        except (BrokenPipeError, ConnectionResetError):
            return False
    wait_for("a place to be free", served)


# --- datagrams --------------------------------------------------------------

def test_datagrams(t):
    up = t.upstream()
    t.lumnid()
    for name, to in ("d", t.dgram()), ("u", t.udp()):
        to.send(event(name, 0))
        to.send(event(name, 1), event(name, 2), event(name, 3))
        # What precedes a fault is kept; the next datagram is another matter.
        to.send(event(name, 4), b"\xc1", event(name, 99))
        to.send(pack(event(name, 98))[:-1])
        to.send(b"")
        to.send({"runId": "", "type": "step"}, event(name, 5))
        # An ack has no way back.
        to.send({"runId": name, "events": [{"n": 6, "t": "x" * 50000}],
                 "ack": 1, "end": True})
    up.wait_sums(events=14)
    t.check_runs({"d": list(range(7)), "u": list(range(7))})


def test_truncated_datagram(t):
    up = t.upstream()
    t.lumnid()
    d = t.dgram()
    d.send(event("r", 1, text="x" * 70000))
    d.send(event("r", 2, type="run_end"))
    t.daemon.wait_line("datagram_refused.*truncated")
    up.wait_sums(events=1)
    t.check_runs({"r": [2]})


def test_receive_buffer_is_told(t):
    t.upstream()
    t.lumnid()
    for name in "udp", "dgram":
        m, _ = t.daemon.wait_line(
            rf"listening.*input={name}.*receive_buffer=(\d+)")
        t.true(int(m.group(1)) >= 200000, m.group(0))


def test_ipv6(t):
    up = t.upstream()
    try:
        probe = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        probe.bind(("::1", 0))
        probe.close()
    except OSError as e:
        raise lumnid_it.Skip(f"no IPv6: {e}") from None
    t.lumnid(listen={"udp": "[::1]:0"})
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    t.files.callback(s.close)
    s.connect(("::1", t.daemon.udp_port()))
    s.send(pack(event("six", 1, type="run_end")))
    up.wait_sums(events=1)
    t.check_runs({"six": [1]})


# --- the sockets ------------------------------------------------------------

def test_modes(t):
    t.upstream()
    group = grp.getgrgid(os.getgroups()[0] if os.getgroups()
                         else os.getgid()).gr_name
    t.lumnid(listen={"unix": {"mode": "0620", "group": group},
                     "dgram": {"mode": "0606"}})
    st = os.stat(t.stream_path)
    t.equal(stat.S_IMODE(st.st_mode), 0o620)
    t.equal(grp.getgrgid(st.st_gid).gr_name, group)
    t.equal(stat.S_IMODE(os.stat(t.dgram_path).st_mode), 0o606)


def test_stale_socket(t):
    """SIGKILL leaves the socket files; the next start takes their place."""
    t.upstream()
    t.lumnid().kill()
    t.true(os.path.exists(t.stream_path), "the socket is left behind")
    t.lumnid()
    t.equal(t.stream().ask({"runId": "r", "events": [], "ack": 1}),
            {"ack": 1})
    t.daemon.stop()
    t.true(not os.path.exists(t.stream_path), "the socket is removed")
    t.true(not os.path.exists(t.dgram_path), "the other, too")


def fails(t, status, *texts, env=None, args=(), **sections):
    """lumnid with this configuration ends with status and says texts."""
    if sections or t.conf is None:
        t.configure(**sections)
    argv = [program("lumnid"), "-c", t.conf, *args]
    full = {"LUMNI_API_KEY": KEY}
    full.update(env or {})
    done = t.run(*argv, env=full)
    t.equal(done.returncode, status, done.stderr)
    for text in texts:
        t.true(text in done.stderr, f"no {text!r} in {done.stderr!r}")
    t.true(KEY not in done.stderr, "the key is in the log")


def test_live_socket(t):
    t.upstream()
    t.lumnid()
    other = t.sub("second")
    other.upstream()
    fails(other, 1, t.stream_path, "running lumnid",
          listen={"unix": {"path": t.stream_path}})
    fails(other, 1, t.dgram_path, "running lumnid",
          listen={"dgram": {"path": t.dgram_path}})
    # The first one was not disturbed.
    t.equal(t.stream().ask({"runId": "r", "events": [], "ack": 1}),
            {"ack": 1})


def test_file_in_the_way(t):
    t.upstream()
    with open(t.stream_path, "w", encoding="ascii") as f:
        f.write("precious")
    fails(t, 1, t.stream_path, "no socket")
    with open(t.stream_path, encoding="ascii") as f:
        t.equal(f.read(), "precious")


def place_listeners(listeners):
    """Make them the descriptors from 3 on, whatever theirs were."""
    high = [fcntl.fcntl(x.fileno(), fcntl.F_DUPFD, 100) for x in listeners]
    for to, fd in enumerate(high, 3):
        os.dup2(fd, to)
        os.close(fd)


def activated(t, *listeners):
    """lumnid with these listeners from its service manager."""
    ready = os.path.join(t.dir, "notify-activated")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    t.files.callback(notify.close)
    if os.path.exists(ready):
        os.unlink(ready)
    notify.bind(ready)
    notify.settimeout(20 * lumnid_it.SLOW)
    p = lumnid_it.Process(
        t, ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh",
            program("lumnid"), "-c", t.conf], "lumnid",
        {"LUMNI_API_KEY": KEY, "NOTIFY_SOCKET": ready,
         "LISTEN_FDS": str(len(listeners))},
        preexec_fn=lambda: place_listeners(listeners),
        pass_fds=range(3, 3 + len(listeners)))
    while b"READY=1" not in notify.recv(4096).split(b"\n"):
        pass
    return p


def test_inherited_differs(t):
    """What is set for a socket that the service manager has opened has no
    effect, and that is told; defaults and what is so are not."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for s in (stream, udp):
        t.files.callback(s.close)
    stream.bind(t.stream_path)
    os.chmod(t.stream_path, 0o640)
    stream.listen(1)
    udp.bind(("127.0.0.1", 0))
    here = f"127.0.0.1:{udp.getsockname()[1]}"
    gid = str(os.stat(t.stream_path).st_gid)

    def differences(**listen):
        t.configure(upstream={"url": "http://127.0.0.1:1"}, listen=listen)
        p = activated(t, stream, udp)
        p.stop()
        return sorted(re.findall(
            r"socket_differs key=(\S+) configured=(\S+) open=(\S+)",
            p.log(1000)))
    base = {"dgram": {"path": "off"}}
    t.equal(differences(**base, udp=here, unix={
        "path": t.stream_path, "mode": "0640", "group": gid}), [],
        "nothing differs")
    t.equal(differences(**base, udp="off", unix={
        "path": t.stream_path + "2", "mode": "0666", "group": "54321"}), [
            ("listen.udp", "off", here),
            ("listen.unix.group", "54321", gid),
            ("listen.unix.mode", "0666", "0640"),
            ("listen.unix.path", t.stream_path + "2", t.stream_path)],
        "everything differs")

    # A reload tells it, too.
    t.configure(upstream={"url": "http://127.0.0.1:1"}, listen=base)
    p = activated(t, stream, udp)
    t.configure(upstream={"url": "http://127.0.0.1:1"}, listen=dict(
        base, udp="off", unix={"path": t.stream_path}))
    p.signal(signal.SIGHUP)
    p.wait_line("socket_differs key=listen.udp configured=off")
    p.stop()


def test_inherited_listener(t):
    """Over a restart nobody finds the socket absent: who connects while
    nothing runs is served by the next lumnid."""
    up = t.upstream()
    t.configure()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    t.files.callback(listener.close)
    listener.bind(t.stream_path)
    listener.listen(100)
    for n in range(5):
        s = t.stream()
        s.send({"runId": "r", "events": [{"n": n}], "ack": n})
        p = activated(t, listener)
        t.equal(s.answer(), {"ack": n})
        p.stop()
        t.true(os.path.exists(t.stream_path), "the socket is not ours")
    s = t.stream()
    s.send({"runId": "r", "events": [], "end": True})
    activated(t, listener)
    up.wait_sums(events=5)
    t.check_runs({"r": list(range(5))})


def test_unix_upstream(t):
    path = os.path.join(t.dir, "upstream.sock")
    up = t.upstream(unix_path=path)
    t.lumnid(upstream={"url": "http://localhost", "unix_socket": path})
    t.stream().send({"runId": "r", "events": [{"n": 1}], "end": True})
    up.wait_sums(events=1)
    t.check_runs({"r": [1]})


def test_a_stop_answers_http(t):
    """What a request brings in the last turn is answered: where that was the
    turn of the stop, too, the connection was closed instead."""
    t.upstream()
    body = b'{"runId":"r","events":[{"n":1}]}'
    post = b"POST /v1/ingest/events HTTP/1.1\r\nHost: localhost\r\n" \
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
            len(body), body)
    for _ in range(3):
        t.lumnid(listen={"http": "127.0.0.1:0"},
                 storage={"durability": "never"})
        port = wait_for("HTTP", t.daemon.http_port, context=t.logs)
        with socket.create_connection(("127.0.0.1", port),
                                      timeout=20 * lumnid_it.SLOW) as con:
            con.sendall(post)
            t.true(con.recv(4096).startswith(b"HTTP/1.1 202 "), "an answer")
            # Both wait for the same turn.
            t.daemon.signal(signal.SIGSTOP)
            con.sendall(post)
            t.daemon.signal(signal.SIGTERM)
            t.daemon.signal(signal.SIGCONT)
            answer = con.recv(4096)
            t.true(answer.startswith(b"HTTP/1.1 202 "), answer)
        t.equal(t.daemon.wait(), 0)


# --- what keeps lumnid from starting ----------------------------------------

def test_start_faults(t):
    t.upstream()
    fails(t, 1, "no directory", "create it",
          listen={"unix": {"path": os.path.join(t.dir, "no/such/sock")}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        fails(t, 1, address, "in use", listen={"udp": address})
    blocked = os.path.join(t.dir, "file")
    with open(blocked, "w", encoding="ascii"):
        pass
    fails(t, 1, blocked, storage={"dir": os.path.join(blocked, "data")})


def test_no_key(t):
    t.upstream()
    fails(t, 2, "api_key_file", env={"LUMNI_API_KEY": ""})
    t.conf = None
    key = os.path.join(t.dir, "absent")
    fails(t, 2, key, "does not exist; write the API key into it",
          env={"LUMNI_API_KEY": ""}, upstream={"api_key_file": key})


def test_key_for_all_to_read(t):
    t.upstream()
    key = os.path.join(t.dir, "key")
    with open(key, "w", encoding="ascii") as f:
        f.write(KEY + "\n")
    os.chmod(key, 0o644)
    fails(t, 2, key, "can be read by everyone; chmod o-rwx",
          env={"LUMNI_API_KEY": ""}, upstream={"api_key_file": key})


def test_credential_that_comes_later(t):
    """A service is installed before its key: what comes is kept, and sent
    once the key is there, without a restart."""
    up = t.upstream()
    key = os.path.join(t.dir, "api_key")
    with open(key, "w", encoding="ascii") as f:
        f.write("\n")
    os.chmod(key, 0o600)
    t.lumnid(env={"LUMNI_API_KEY": "", "CREDENTIALS_DIRECTORY": t.dir})
    t.daemon.wait_line("no_api_key.*there is no API key")
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [{"n": 1}], "end": True,
                   "ack": 1}), {"ack": 1})
    with open(key + ".new", "w", encoding="ascii") as f:
        f.write(KEY + "\n")
    os.chmod(key + ".new", 0o600)
    os.rename(key + ".new", key)
    up.wait_sums(events=1)
    t.check_runs({"r": [1]})
    t.true(KEY not in t.daemon.log(10000), "the key is in the log")


def test_a_bad_ack_is_told(t):
    """Who asks for an ack with an id that is none waited until its own
    time-out: no answer came."""
    t.upstream()
    t.lumnid()
    s = t.stream()
    for bad in ("a" * 65, {"a": 1}, 1.5, None):
        got = s.ask({"runId": "r", "events": [{"n": 1}], "ack": bad})
        t.equal(got["code"], "bad_ack")
        t.true("ack" not in got, str(got))
    t.equal(s.ask({"runId": "r", "events": [{"n": 1}], "ack": 7}), {"ack": 7})


def test_storage_in_use(t):
    t.upstream()
    t.lumnid()
    data = os.path.join(t.dir, "data")
    other = t.sub("second")
    other.upstream()
    fails(other, 1, data, storage={"dir": data})


def test_config_faults(t):
    t.upstream()
    fails(t, 2, "lumnid.yaml", "runs.idle", runs={"idle": "soon"})
    fails(t, 2, "lumnid.yaml", "did you mean", runs={"idel": "1s"})
    fails(t, 2, "0.0.0.0", "allow_remote", listen={"udp": "0.0.0.0:0"})
    fails(t, 2, "no group \"nosuchgroup\"",
          listen={"unix": {"group": "nosuchgroup"}})
    t.conf = os.path.join(t.dir, "absent.yaml")
    fails(t, 2, "absent.yaml")


def test_command_line(t):
    t.upstream()
    lumnid = program("lumnid")
    done = t.run(lumnid, "--version")
    t.equal((done.returncode, done.stdout[:7]), (0, "lumnid "))
    done = t.run(lumnid, "--help")
    t.true(done.returncode == 0 and "--check-config" in done.stdout, "help")
    done = t.run(lumnid, "--no-such-option")
    t.equal(done.returncode, 2)
    done = t.run(lumnid, "surplus")
    t.equal(done.returncode, 2)
    conf = t.configure()
    done = t.run(lumnid, "-c", conf, "--check-config")
    t.equal((done.returncode, done.stdout), (0, f"{conf}: ok\n"))
    done = t.run(lumnid, "-c", conf, "--print-config",
                 env={"LUMNI_API_KEY": KEY})
    t.equal(done.returncode, 0)
    t.true(t.url() in done.stdout and KEY not in done.stdout, "print-config")
    example = os.path.join(t.dir, "example.yaml")
    done = t.run(lumnid, "--print-example")
    with open(example, "w", encoding="utf-8") as f:
        f.write(done.stdout)
    done = t.run(lumnid, "-c", example, "--upstream", t.url(),
                 "--check-config")
    t.equal(done.returncode, 0, done.stderr)
    done = t.run(lumnid, "-c", conf, "--upstream", "ftp://x",
                 "--check-config")
    t.equal(done.returncode, 2)


def test_remote_address_is_warned_of(t):
    t.upstream()
    t.lumnid(listen={"udp": "0.0.0.0:0", "allow_remote": True})
    t.daemon.wait_line("listening_to_the_network")


# --- reload -----------------------------------------------------------------

def test_reload(t):
    up = t.upstream()
    t.lumnid(runs={"idle": "1h"})
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [{"n": 1}], "ack": 1}),
            {"ack": 1})
    # A fault keeps what is in force, and says where it is.
    t.configure(runs={"idle": "soon"})
    t.daemon.signal(signal.SIGHUP)
    _, at = t.daemon.wait_line(r"reload_failed.*lumnid\.yaml:\d+")
    t.equal(s.ask({"runId": "r", "events": [{"n": 2}], "ack": 2}),
            {"ack": 2})
    t.configure(runs={"idle": "50ms"},
                storage={"dir": os.path.join(t.dir, "elsewhere")})
    t.daemon.signal(signal.SIGHUP)
    t.daemon.wait_line(r"restart_needed.*storage\.dir", after=at)
    t.daemon.wait_line(r"reloaded", after=at)
    wait_for("notification", lambda: t.daemon.notified("READY=1"))
    t.true(t.daemon.notified("RELOADING=1"), "RELOADING=1 was sent")
    up.wait_sums(events=2)
    t.check_runs({"r": [1, 2]})


def test_reloads_under_load(t):
    up = t.upstream()
    t.lumnid(log={"level": "warn"})
    s = t.stream()
    for n in range(200):
        s.send(*[event("r", n * 20 + i) for i in range(20)])
        t.daemon.signal(signal.SIGHUP)
        t.equal(s.ask({"runId": "x", "events": [], "ack": n}), {"ack": n})
    s.send({"runId": "r", "events": [], "end": True})
    up.wait_sums(events=4000)
    t.check_runs({"r": list(range(4000))})


# --- idle -------------------------------------------------------------------

def switches(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("voluntary_ctxt"):
                    total += int(line.split()[1])
    return total


def test_idle_costs_nothing(t):
    """An open run, a held connection, a connection to the upstream: and at
    most one wake-up a second."""
    up = t.upstream()
    t.lumnid(runs={"idle": "1h", "max_age": "2h"})
    s = t.stream()
    t.equal(s.ask({"runId": "open", "events": [{"n": 1}], "ack": 1}),
            {"ack": 1})
    s.send({"runId": "done", "events": [{"n": 1}], "end": True})
    up.wait_sums(events=1)

    def quiet():
        """Over three seconds, which is what is measured here."""
        before = switches(t.daemon.pid)
        time.sleep(3)
        return switches(t.daemon.pid) - before <= 4
    wait_for("three quiet seconds", quiet, 30)


def test_idle_connections_are_small(t):
    """Six hundred of them, after three hundred that bring in what is
    there once."""
    t.upstream()
    t.lumnid(log={"level": "info"}, limits={"connections_per_uid": 1000})
    held = []

    def hundreds(n):
        for i in range(n * 100):
            s = t.stream()
            s.send(event("r", i))
            held.append(s)
        for s in held:
            t.equal(s.ask({"runId": "r", "events": [], "ack": 1}),
                    {"ack": 1})
        return t.daemon.private_kib()
    before = hundreds(3)
    after = hundreds(6)
    if not os.environ.get("LUMNID_SLOW"):
        t.true(after - before <= 600 + 64, f"{after - before} KiB for 600")


def test_out_of_descriptors(t):
    """Accepting rests and comes back; nothing spins, nothing is lost."""
    t.upstream()
    t.lumnid(limits={"connections": 1000, "connections_per_uid": 1000})
    limit = len(os.listdir(f"/proc/{t.daemon.pid}/fd")) + 5
    resource.prlimit(t.daemon.pid, resource.RLIMIT_NOFILE, (limit, 4096))
    held = [t.stream() for _ in range(12)]
    t.daemon.wait_line("accept_failed")
    before = t.daemon.cpu_seconds()
    end = deadline(2)
    while time.monotonic() < end:
        time.sleep(0.1)
    t.true(t.daemon.cpu_seconds() - before < 0.5, "it spins")
    for s in held[:5]:
        s.close()
    resource.prlimit(t.daemon.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    t.equal(held[11].ask({"runId": "r", "events": [], "ack": 1}), {"ack": 1})


if __name__ == "__main__":
    lumnid_it.main()
