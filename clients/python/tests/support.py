"""A lumnid for the tests: a socket, and what came over it."""
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
VECTORS = os.path.join(HERE, "..", "..", "..", "tests", "vectors")

import lumni  # noqa: E402
from unpack import Unpacker  # noqa: E402

WAIT = 20


class Server:
    """Takes connections one after the other, and unpacks what comes."""

    def __init__(self, path):
        self.path = path
        self.messages = []
        self.connections = 0
        self._news = threading.Condition()
        self._stop = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        unpackers = {}
        while not self._stop:
            ready, _, _ = select.select(
                [self.listener] + list(unpackers), [], [], 0.02)
            for sock in ready:
                if sock is self.listener:
                    conn, _ = sock.accept()
                    unpackers[conn] = Unpacker()
                    self.connections += 1
                    continue
                data = sock.recv(1 << 16)
                if not data:
                    sock.close()
                    del unpackers[sock]
                    continue
                found = unpackers[sock].feed(data)
                with self._news:
                    self.messages += found
                    self._news.notify_all()
        for sock in unpackers:
            sock.close()

    def stop(self):
        self._stop = True
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)

    def events(self):
        """All events, each with its runId, and `end` where its message
        ended the run."""
        with self._news:
            messages = list(self.messages)
        found = []
        for m in messages:
            if "events" not in m:
                found.append(m)
                continue
            for e in m["events"]:
                found.append({"runId": m["runId"], **e})
            if m.get("end"):
                found[-1]["end"] = True
        return found

    def wait(self, what):
        """Wait until what(events) is true; return the events."""
        deadline = time.monotonic() + WAIT
        while True:
            events = self.events()
            if what(events):
                return events
            with self._news:
                if time.monotonic() > deadline:
                    raise AssertionError("in vain: %r" % events[-5:])
                self._news.wait(0.05)


class TestCase(unittest.TestCase):
    def setUp(self):
        for name in ("LUMNID_ADDRESS", "LUMNID_DISABLED"):
            os.environ.pop(name, None)
        self.dir = tempfile.mkdtemp(prefix="lumni.")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "sock")
        self.server = None

    def serve(self):
        self.server = Server(self.path)
        self.addCleanup(self.server.stop)
        return self.server

    def client(self, **options):
        client = lumni.Client("unix://" + self.path, **options)
        self.addCleanup(client.close)
        return client

    def check_sum(self, client):
        s = client.stats()
        self.assertEqual(s.events, s.sent + s.queued + s.dropped, s)
        return s
