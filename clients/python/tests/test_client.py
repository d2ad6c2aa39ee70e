"""The client: order, bounds, counted drops, restarts, forks, the end."""
import asyncio
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from support import WAIT, Server, TestCase, lumni
from unpack import Unpacker

from lumni import _client


def numbers(events, key="n"):
    return [e[key] for e in events if key in e]


def dropped(events):
    return sum(e["dropped"] for e in events if e["type"] == "lumni_client")


class Behaviour(TestCase):
    def test_event_arrives(self):
        self.serve()
        client = self.client()
        self.assertTrue(client.event("r", {"type": "x", "n": 1}))
        event, = self.server.wait(lambda e: len(e) == 1)
        self.assertEqual((event["runId"], event["type"], event["n"]),
                         ("r", "x", 1))
        self.assertEqual(event["at"][:2], ("ext", -1))
        client.event("r", {"type": "run_end", "at": "mine"}, end=True)
        events = self.server.wait(lambda e: len(e) == 2)
        self.assertEqual(events[1], {"runId": "r", "type": "run_end",
                                     "at": "mine", "end": True})
        self.assertTrue(client.flush())
        self.assertEqual(self.check_sum(client).sent, 2)

    def test_absent_then_there(self):
        client = self.client(queue_bytes=65536)
        took = [client.event("r", {"type": "x", "n": n, "t": "." * 100})
                for n in range(2000)]
        lost = took.count(False)
        s = self.check_sum(client)
        self.assertEqual((s.dropped, s.sent, s.reported), (lost, 0, 0))
        self.assertGreater(lost, 0)
        self.serve()
        self.assertTrue(client.flush(WAIT))
        client.event("later", {"type": "x", "n": 2000})
        events = self.server.wait(lambda e: numbers(e)[-1:] == [2000])
        self.assertEqual(numbers(events),
                         [n for n in range(2000) if took[n]] + [2000])
        self.assertEqual(dropped(events), lost)
        report = [e for e in events if e["type"] == "lumni_client"]
        self.assertEqual(len(report), 1)
        self.assertEqual(report[0]["runId"], "later")
        self.assertEqual(report[0]["droppedRunId"], "r")
        self.assertEqual(report[0]["reasons"], {"queue_full": lost})
        self.assertEqual(self.check_sum(client).reported, lost)

    def test_full_then_reading(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(5)
        self.addCleanup(listener.close)
        client = self.client(queue_bytes=1 << 20)
        took = []
        start = time.monotonic()
        while took.count(False) < 100:
            took.append(client.event("r", {
                "type": "x", "n": len(took),
                "t": "." * (len(took) * 7919 % 9000)}))
        self.assertLess(time.monotonic() - start, WAIT)
        conn, _ = listener.accept()
        self.addCleanup(conn.close)
        conn.settimeout(WAIT)
        unpacker, got = Unpacker(), []
        # What was sent last counts as queued for a moment after it came.
        while client.stats().queued:
            if select.select([conn], [], [], 0.01)[0]:
                got += unpacker.feed(conn.recv(1 << 16))
        client.event("r", {"type": "x", "n": len(took)})
        took.append(True)
        while len(numbers(got)) < took.count(True):
            got += unpacker.feed(conn.recv(1 << 16))
        self.assertEqual(numbers(got),
                         [n for n, ok in enumerate(took) if ok])
        self.assertEqual(dropped(got), took.count(False))
        self.check_sum(client)

    def test_restart_in_mid_message(self):
        """What was cut off is sent again, whole, and nothing is torn."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(5)
        client = self.client()
        for n in range(300):
            client.event("r", {"type": "x", "n": n, "t": "." * 8000})
        conn, _ = listener.accept()
        unpacker, got = Unpacker(), []
        while len(got) < 5:
            got += unpacker.feed(conn.recv(10000))
        listener.close()
        os.unlink(self.path)
        conn.close()
        server = self.serve()
        events = server.wait(lambda e: numbers(e)[-1:] == [299])
        first = numbers(events)[0]
        self.assertEqual(numbers(events), list(range(first, 300)))
        self.assertEqual(self.check_sum(client).sent, 300)

    def test_reconnects(self):
        client = self.client()
        for n in range(5):
            server = Server(self.path)
            client.event("r", {"type": "x", "n": n})
            server.wait(lambda e: n in numbers(e))
            server.stop()
        self.assertEqual(self.check_sum(client).dropped, 0)

    def test_invalid_is_counted(self):
        self.serve()
        client = self.client(message_bytes=10000)
        self.assertFalse(client.event("a\nb", {"type": "x"}))
        self.assertFalse(client.event("", {"type": "x"}))
        self.assertFalse(client.event("r", {"type": "x" * 20000}))
        self.assertFalse(client.event("r", None))
        self.assertFalse(client.send("r", 7))
        client.event("r", {"type": "x", "n": 1})
        events = self.server.wait(lambda e: numbers(e) == [1])
        # The last has no number of events.
        self.assertEqual(dropped(events), 4)
        self.assertEqual(events[0]["reasons"],
                         {"invalid": 3, "too_large": 1})

    def test_disabled(self):
        os.environ["LUMNID_DISABLED"] = "1"
        client = lumni.Client("unix://" + self.path)
        self.assertFalse(client.event("r", {"type": "x"}))
        self.assertEqual(client.stats().events, 0)
        del os.environ["LUMNID_DISABLED"]
        client = lumni.Client("tcp://nonsense")
        self.assertFalse(client.address_is_valid)
        self.assertFalse(client.event("r", {"type": "x"}))
        self.assertTrue(client.flush())
        client.close()

    def test_addresses(self):
        parse = _client.parse_address
        for bad in ("", "tcp://127.0.0.1:1", "unix://", "udp://127.0.0.1",
                    "udp://127.0.0.1:0", "udp://127.0.0.1:x",
                    "udp://example.org:1", "udp://[::1:1", "nonsense",
                    "unix:///" + "a" * 108, "udp://\udc80:1"):
            self.assertIsNone(parse(bad), bad)
        self.assertEqual(parse("udp://localhost:9").where, ("127.0.0.1", 9))
        self.assertEqual(parse("udp://[::1]:9").family, socket.AF_INET6)
        self.assertEqual(parse("unix://@name").where, "\0name")
        self.assertEqual(parse("/a/b").where, "/a/b")

    def test_environment(self):
        """Code beats the environment, which beats the default."""
        self.serve()
        os.environ["LUMNID_ADDRESS"] = "unix://" + self.path
        for address in (None, "unix://" + self.path):
            with lumni.Client(address) as client:
                self.assertTrue(client.event("r", {"type": "x"}))
                self.assertTrue(client.flush(WAIT))
            os.environ["LUMNID_ADDRESS"] = "unix:///nowhere"
        self.server.wait(lambda e: len(e) == 2)

    def test_udp(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(WAIT)
        client = lumni.Client("udp://127.0.0.1:%d" % sock.getsockname()[1])
        self.addCleanup(client.close)
        self.assertFalse(client.event("r", {"t": "." * 70000}))
        client.event("r", {"type": "x", "n": 1})
        got = [Unpacker().feed(sock.recv(1 << 16))[0] for _ in range(2)]
        self.assertEqual(got[0]["dropped"], 1)
        self.assertEqual(got[1]["n"], 1)
        sock.close()
        for n in range(100):
            client.event("r", {"type": "x", "n": n})
            client.flush(WAIT)
        self.check_sum(client)

    def test_threads_and_tasks(self):
        self.serve()
        client = self.client()

        def work(name):
            for n in range(500):
                client.event(name, {"type": "x", "n": n})

        async def task(name):
            for n in range(100):
                client.event(name, {"type": "x", "n": n})
                await asyncio.sleep(0)

        async def tasks():
            await asyncio.gather(*[task("a%d" % i) for i in range(20)])

        threads = [threading.Thread(target=work, args=("t%d" % i,))
                   for i in range(8)]
        for t in threads:
            t.start()
        asyncio.run(tasks())
        for t in threads:
            t.join()
        events = self.server.wait(lambda e: len(e) == 6000)
        runs = {}
        for e in events:
            runs.setdefault(e["runId"], []).append(e["n"])
        for name, got in runs.items():
            self.assertEqual(got, list(range(len(got))), name)

    def test_fork(self):
        client = self.client()
        client.event("parent", {"type": "x", "n": 1})
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                client.event("child", {"type": "x", "n": 2})
                if client.stats().events == 1 and client.flush(WAIT):
                    status = 0
            finally:
                os._exit(status)
        server = self.serve()
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        events = server.wait(lambda e: len(e) == 2)
        self.assertEqual(sorted(numbers(events)), [1, 2])

    def test_multiprocessing(self):
        """Its children end without atexit, and send what they have."""
        server = self.serve()
        client = self.client()
        client.event("parent", {"type": "x", "n": -1})
        context = multiprocessing.get_context("fork")
        children = [context.Process(
            target=lambda n: client.event("child", {"type": "x", "n": n}),
            args=(n,)) for n in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join(WAIT)
        events = server.wait(lambda e: len(e) == 5)
        self.assertEqual(sorted(numbers(events)), [-1, 0, 1, 2, 3])

    def test_signal_handler(self):
        """An event from a handler that interrupts an event."""
        self.serve()
        client = self.client()
        hits = []

        def handler(*_):
            hits.append(client.event("s", {"type": "x", "s": len(hits)}))

        old = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            for n in range(5000):
                client.event("r", {"type": "x", "n": n})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        events = self.server.wait(lambda e: len(e) == 5000 + len(hits))
        self.assertEqual(numbers(events), list(range(5000)))


PROGRAM = """
import sys
sys.path.insert(0, {path!r})
import lumni
with lumni.run("r") as run:
    run.tool_call("t", {{"a": 1}}, error="no")
"""


class Programs(TestCase):
    """What a program of its own does, above all at its end."""

    def run_program(self, text, **env):
        path = os.path.dirname(os.path.dirname(lumni.__file__))
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", text.format(path=path)],
            env={**os.environ, **env}, capture_output=True, timeout=WAIT,
            check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, b"", b""))
        return time.monotonic() - start

    def test_end_flushes(self):
        self.serve()
        self.run_program(PROGRAM, LUMNID_ADDRESS="unix://" + self.path)
        events = self.server.wait(lambda e: len(e) == 3)
        self.assertEqual([e["type"] for e in events],
                         ["run_start", "tool_call", "run_end"])
        self.assertTrue(events[2]["end"])

    def test_silent_when_absent(self):
        self.run_program(PROGRAM, LUMNID_ADDRESS="unix:///nowhere/sock")
        self.run_program(PROGRAM, LUMNID_ADDRESS="nonsense")
        self.run_program(PROGRAM, LUMNID_DISABLED="1")

    def test_event_at_exit(self):
        """No thread can be started any more; the event goes all the same."""
        self.serve()
        self.run_program("""
import atexit, sys
sys.path.insert(0, {path!r})
import lumni
def last():
    lumni.default_client().event("r", {{"type": "last"}})
    lumni.flush()
atexit.register(last)
""", LUMNID_ADDRESS="unix://" + self.path)
        self.server.wait(lambda e: len(e) == 1)

    def test_full_at_exit(self):
        """A lumnid that does not read holds the end up for no long."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(5)
        self.addCleanup(listener.close)
        plain = self.run_program("pass")
        seconds = self.run_program("""
import sys
sys.path.insert(0, {path!r})
import lumni
for n in range(1000):
    lumni.default_client().event("r", {{"type": "x", "t": "." * 5000}})
""", LUMNID_ADDRESS="unix://" + self.path)
        self.assertLess(seconds, plain + 5)


if __name__ == "__main__":
    unittest.main()
