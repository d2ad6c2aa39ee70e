#!/usr/bin/python3
"""The load generator: what it says it sent is what arrives."""

import os
import socket
import statistics
import threading

import lumnid_it
import msgpack


class Taker(threading.Thread):
    """Stands where lumnid would, and acknowledges what asks for it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.messages = []          # (connection, message)
        self.raw = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.start()

    def run(self):
        readers = []
        while True:
            try:
                con, _ = self.listener.accept()
            except OSError:
                break
            reader = threading.Thread(target=self._read,
                                      args=(con, len(readers)), daemon=True)
            reader.start()
            readers.append(reader)
        for reader in readers:
            reader.join()

    def _read(self, con, number):
        unpacker = msgpack.Unpacker(raw=False)
        raw = self.raw[number] = bytearray()
        while data := con.recv(65536):
            raw += data
            unpacker.feed(data)
            for m in unpacker:
                self.messages.append((number, m))
                if "ack" in m:
                    con.sendall(msgpack.packb({"ack": m["ack"]}))
        con.close()

    def finish(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()


def load(t, *args):
    path = os.path.join(t.dir, "taker.sock")
    taker = Taker(path)
    report = t.loadgen("--stream", path, *args)
    taker.finish()
    os.unlink(path)
    return report, taker


def test_runs_are_whole(t):
    report, taker = load(t, "--events", 20000, "--connections", 7)
    t.equal(len(taker.messages), 20000)
    runs, homes, sizes = {}, {}, []
    for con, m in taker.messages:
        runs.setdefault(m["runId"], []).append(m)
        homes.setdefault(m["runId"], set()).add(con)
        sizes.append(len(msgpack.packb(m)))
    t.equal(len(runs), report["runs"])
    t.equal({len(x) for x in homes.values()}, {1}, "connections of a run")
    for run, events in runs.items():
        t.equal([e["n"] for e in events], list(range(len(events))), run)
        t.equal([e["type"] == "run_end" for e in events],
                [False] * (len(events) - 1) + [True], run)
    t.true(max(map(len, runs.values())) <= 20, "length of runs")
    sizes.sort()
    t.true(230 < statistics.median(sizes) < 300, "median size")
    t.true(400 < statistics.mean(sizes) < 490, "mean size")
    t.true(3700 < sizes[len(sizes) * 99 // 100] < 4900, "99th percentile")


def test_one_seed_is_one_load(t):
    a = load(t, "--events", 3000, "--seed", 5)[1]
    b = load(t, "--events", 3000, "--seed", 5)[1]
    c = load(t, "--events", 3000, "--seed", 6)[1]
    t.true(a.raw == b.raw and a.raw != c.raw, "repeatable")


def test_acks(t):
    report, taker = load(t, "--events", 5000, "--ack", "each",
                         "--window", 50)
    t.equal((report["acks"], report["errors"]), (5000, 0))
    t.true(0 < report["ack_p50_us"] <= report["ack_p99_us"]
           <= report["ack_max_us"], "latencies")
    t.equal(len(taker.messages), 5000)
    report, taker = load(t, "--events", 5000, "--ack", "end")
    t.equal(report["acks"], report["runs"])
    t.equal(sum(m.get("end", False) for _, m in taker.messages),
            report["runs"], "ends")


def test_rate(t):
    report, _ = load(t, "--events", 1000, "--rate", 5000)
    t.true(report["seconds"] > 0.19, "not faster than it is told to be")


if __name__ == "__main__":
    lumnid_it.main()
