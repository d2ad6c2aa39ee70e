#!/usr/bin/python3
"""The Fluentd forward protocol, in all its modes, and what it cannot do to
lumnid. The clients that exist for it are in test_forward_clients.py."""

import base64
import gzip
import os
import re
import socket
import struct
import time

import lumnid_it
import msgpack
from lumnid_it import SLOW, pack

T0 = 1795435200     # 2026-11-23T12:00:00Z


def event_time(sec, ns=0):
    return msgpack.ExtType(0, struct.pack(">II", sec, ns))


def record(run, n, **more):
    return {"runId": run, "type": "step", "n": n, **more}


def chunk(n):
    return base64.b64encode(n.to_bytes(16, "big")).decode()


def packed(entries):
    return b"".join(pack(list(e)) for e in entries)


def members(data, sizes):
    """gzip in several members."""
    out, at = b"", 0
    for size in (*sizes, len(data)):
        out += gzip.compress(data[at:at + size])
        at += size
    return out


def refusals(t, code):
    m = re.search(rf'lumnid_messages_refused_total{{code="{code}"}} (\d+)',
                  t.daemon.get("/metrics")[1])
    return int(m.group(1))


def test_modes(t):
    """Each mode, with and without a chunk, by one client; acks in order."""
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    n = 0

    def entries(k):
        nonlocal n
        n += k
        return [[event_time(T0 + i, i), record("m", i)]
                for i in range(n - k, n)]
    for round_ in range(2):
        def option(i, **more):
            return {**more, "chunk": chunk(i)} if round_ else more
        (e,) = entries(1)
        tail = [option(1)] if round_ else []
        s.send(["app.agent", e[0], e[1], *tail])
        s.send(["app.agent", entries(3), option(2, size=3)])
        s.send(["app.agent", packed(entries(500)), option(3, size=500)])
        # Older clients pack them as a string.
        s.send(b"\x92" + pack("app.agent") +
               msgpack.packb(packed(entries(2)), use_bin_type=False))
        data = packed(entries(500))
        s.send(["app.agent", members(data, (1, 1000, 7)),
                option(4, size=500, compressed="gzip")])
        s.send(["app.agent", lumnid_it.zstd(packed(entries(5))),
                option(5, compressed="zstd")])
        s.send(["app.agent", packed(entries(1)), option(6, compressed="text")])
        if round_:
            t.equal([s.answer() for _ in range(6)],
                    [{"ack": chunk(i)} for i in range(1, 7)])
    # The road of maps is open beside it.
    t.equal(s.ask({"runId": "m", "events": [], "end": True, "ack": 1}),
            {"ack": 1})
    up.wait_sums(events=n)
    t.check_runs({"m": list(range(n))})
    got = t.runs()["m"][2]
    t.equal((got["at"], got["tag"], "runId" in got),
            ("2026-11-23T12:00:02.000000002Z", "app.agent", False))


def test_times_and_tags(t):
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    times = [
        (T0, "2026-11-23T12:00:00.000Z"),
        (T0 * 1000 + 7, "2026-11-23T12:00:00.007Z"),
        (event_time(T0, 5), "2026-11-23T12:00:00.000000005Z"),
        (b"\xd6\xff" + struct.pack(">I", T0),
         "2026-11-23T12:00:00.000000000Z"),
        (T0 + 0.5, "2026-11-23T12:00:00.500000000Z"),
        ([event_time(T0), {"meta": 1}], "2026-11-23T12:00:00.000000000Z"),
        (0, "1970-01-01T00:00:00.000Z"),
    ]
    for n, (at, _) in enumerate(times):
        s.send(b"\x92\xa1a\x91\x92" + pack(at) + pack(record("r", n)))
    n = len(times)
    # No time: that of the receipt. The record's own at and tag stay.
    for bad in (None, "soon", -5, 2 ** 63, float("nan"), []):
        s.send(["a", [[bad, record("r", n)]]])
        n += 1
    s.send(["a", T0, record("r", n, at="then", tag="mine")])
    # traceId serves, and stays.
    s.send(["a", T0, {"traceId": "r", "type": "run_end", "n": n + 1}])
    up.wait_sums(events=n + 2)
    t.check_runs({"r": list(range(n + 2))})
    got = t.runs()["r"]
    for i, (_, want) in enumerate(times):
        t.equal(got[i]["at"], want)
    for e in got[len(times):n]:
        t.true(abs(time.mktime(time.strptime(
            e["at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
            - time.time()) < 600, e["at"])
    t.equal((got[n]["at"], got[n]["tag"]), ("then", "mine"))
    t.equal((got[n + 1]["traceId"], got[n + 1]["tag"]), ("r", "a"))


def test_what_is_refused(t):
    """A record without a run is counted; its neighbours are taken, and the
    chunk is acknowledged, as a client would send it again for ever."""
    up = t.upstream()
    t.lumnid(listen={"http": "127.0.0.1:0"})
    s = t.stream()
    mixed = [[T0, record("r", 0)], [T0, {"message": "no run"}], [T0], 5,
             [T0, "no map"], [T0, {"runId": "a\nb"}], [T0, record("r", 1)]]
    for n, entries in enumerate((mixed, [[T0, {"message": "no run"}]], [])):
        s.send(["a", entries, {"chunk": chunk(n)}])
        t.equal(s.answer(), {"ack": chunk(n)})
    t.equal((refusals(t, "no_run_id"), refusals(t, "bad_events"),
             refusals(t, "bad_run_id")), (2, 3, 1))
    _, at = t.daemon.wait_line(r"forward_refused.*code=no_run_id")
    # Entries that end too early or are no gzip: what came before is taken.
    data = gzip.compress(packed([[T0, record("r", i)] for i in range(2, 60)]))
    whole = packed([[T0, record("r", 60)]])
    lost = (
        ({}, whole[:-1]), ({"compressed": "gzip"}, b"no gzip"),
        ({"compressed": "gzip"}, data[:-9]),
        ({"compressed": "gzip"}, b""),
        ({"compressed": "gzip"}, gzip.compress(b"\xc1")),
        ({"compressed": "lzma"}, whole), ({"compressed": 5}, whole),
    )
    for n, (option, bad) in enumerate(lost):
        s.send(["a", bad, {**option, "chunk": chunk(n)}])
        t.equal(s.answer(), {"ack": chunk(n)})
    # What is no message of the protocol; without a chunk nothing is answered.
    for bad in ([], ["a"], [5, T0, {}], ["a", T0, {}, {}, {}], ["a", T0],
                ["a", T0, {}, 5], ["t" * 1025, T0, {"runId": "r"}],
                ["a", [], {"chunk": "x" * 65}]):
        s.send(bad)
    t.equal(s.ask({"runId": "r", "events": [{"n": 60}], "end": True,
                   "ack": 1}), {"ack": 1})
    up.wait_sums(events=3)
    ns = [e["n"] for e in t.runs()["r"]]
    t.equal((ns[:2], ns[-1], ns), ([0, 1], 60, sorted(set(ns))))
    t.check_books(accepted=len(ns))


def test_no_room(t):
    """What finds no room waits, and is then taken from there on, once."""
    up = t.upstream()
    t.lumnid(runs={"max_open": 3, "idle": "200ms"},
             listen={"http": "127.0.0.1:0"})
    s = t.stream()
    runs = [f"r{i}" for i in range(5)]
    for mode in ({}, {"compressed": "gzip"}):
        data = packed([[T0, record(r + str(len(mode)), n)]
                       for r in runs for n in range(3)])
        if mode:
            data = gzip.compress(data)
        s.send(["a", data, {**mode, "chunk": chunk(len(mode))}])
    s.send(["a", [[T0, record(r + "2", n)] for r in runs for n in range(3)],
            {"chunk": chunk(2)}])
    for n in range(3):
        t.equal(s.answer(), {"ack": chunk(n)})
    up.wait_sums(events=3 * 15)
    t.check_runs({r + m: [0, 1, 2] for r in runs for m in "012"})
    t.equal(refusals(t, "too_many_runs"), 0)


def test_stop_within_a_message(t):
    """A stop takes in what was sent, though it was much for one turn."""
    up = t.upstream()
    t.lumnid()
    s = t.stream()
    n = 20000
    s.send(["a", gzip.compress(packed([[T0, record("r", i)]
                                       for i in range(n)])),
            {"compressed": "gzip", "chunk": chunk(1)}])
    s.send({"runId": "r", "events": [], "end": True})
    t.daemon.stop()
    t.equal(s.answer(), {"ack": chunk(1)})
    t.lumnid()
    up.wait_sums(events=n)
    t.check_runs({"r": list(range(n))})


def test_bombs(t):
    """Bounded memory, bounded time, and others are served meanwhile."""
    t.upstream()
    t.lumnid(listen={"http": "127.0.0.1:0"}, log={"level": "info"})
    s, other = t.stream(), t.stream()

    def calm(what, base):
        if not os.environ.get("LUMNID_SLOW"):
            now = t.daemon.private_kib()
            t.true(now < base + 4096, f"{what}: {base} KiB became {now}")

    def send(data, n):
        s.send(["a", data, {"compressed": "gzip", "chunk": chunk(n)}])
        for k in range(20):
            start = time.monotonic()
            t.equal(other.ask({"runId": "o", "events": [], "ack": k}),
                    {"ack": k})
            t.true(time.monotonic() - start < 2 * SLOW, "others wait")
        t.equal(s.answer(), {"ack": chunk(n)})
    send(gzip.compress(b""), 0)
    base = t.daemon.private_kib()
    # Gigabytes of one string; of small entries without a run; of nothing.
    big = gzip.compress(b"\x92\x00\xdb\x7f\xff\xff\xff" + b"x" * (64 << 20), 9)
    send(big, 1)
    calm("a string", base)
    send(gzip.compress(b"\x92\x00\x80" * 1100000, 9), 2)
    calm("small entries", base)
    entry = pack([0, {"m": "x" * 2000}])
    send(gzip.compress(entry * 5000, 9) * 100, 5)
    calm("entries", base)
    send(gzip.compress(b"") * 300000, 3)
    calm("empty members", base)
    send(gzip.compress(b"\x91" * (1 << 20), 9), 4)
    t.true(refusals(t, "too_large") >= 2 and refusals(t, "too_deep") == 1 and
           refusals(t, "no_run_id") > 10 ** 6, "counted")


# --- TCP --------------------------------------------------------------------

def tcp_port(t):
    m, _ = t.daemon.wait_line(
        r"listening.*input=forward_tcp.*address=\S*:(\d+)")
    return int(m.group(1))


def tcp(t, port):
    s = lumnid_it.Stream.__new__(lumnid_it.Stream)
    s._counts, s._asked = {"events": 0, "records": 0}, {}
    s.sock = socket.create_connection(("127.0.0.1", port), 20 * SLOW)
    s._unpacker = msgpack.Unpacker(raw=False)
    s.answers = []
    t.files.callback(s.close)
    return s


def test_tcp(t):
    up = t.upstream()
    t.lumnid(listen={"forward_tcp": "127.0.0.1:0", "http": "127.0.0.1:0"})
    port = tcp_port(t)
    s = tcp(t, port)
    s.send(["a", [[T0, record("r", 0)]], {"chunk": chunk(1)}])
    t.equal(s.answer(), {"ack": chunk(1)})
    # No maps there, and nothing that a browser could be made to send.
    for bad in ({"runId": "r", "events": [{"n": 9}], "ack": 1},
                b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" +
                pack(["a", T0, record("r", 9)])):
        x = tcp(t, port)
        x.send(bad)
        t.equal(x.answer()["code"], "not_a_message")
        t.equal(x.answer(), None)
    # A login is declined in the words of the protocol.
    x = tcp(t, port)
    x.send(["PING", "host", "salt", "digest", "", ""])
    pong = x.answer()
    t.equal(pong[:2], ["PONG", False])
    t.true("shared_key" in pong[2], str(pong))
    t.equal(x.answer()["code"], "forbidden")
    t.equal(x.answer(), None)
    s.send(["a", T0, record("r", 1, type="run_end")])
    up.wait_sums(events=2)
    t.check_runs({"r": [0, 1]})
    t.check_books(accepted=2)
    t.true('lumnid_input_events_accepted_total{input="forward"} 2' in
           t.daemon.get("/metrics")[1], "counted by input")
    t.true('lumnid_uid_connections{uid="tcp"} ' in
           t.daemon.get("/metrics")[1], "counted by user")


def test_tcp_alone(t):
    """Without the Unix socket."""
    up = t.upstream()
    t.lumnid(listen={"forward_tcp": "127.0.0.1:0", "unix": {"path": "off"}})
    s = tcp(t, tcp_port(t))
    s.send(["a", T0, record("r", 0, type="run_end")])
    up.wait_sums(events=1)
    t.check_runs({"r": [0]})


if __name__ == "__main__":
    lumnid_it.main()
