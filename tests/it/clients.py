"""Clients that go on for as long as they are let, and remember what they sent
and what was acknowledged. They outlive lumnid: when the connection breaks they
come back, and what had no answer is what may or may not have been kept."""

import contextlib
import random
import threading

from lumnid_it import Failure, Stream


class Client(threading.Thread):
    """Some runs over one connection, `window` messages unanswered at most."""

    def __init__(self, path, name, seed, runs=6, window=16):
        super().__init__(name=name, daemon=True)
        self.path = path
        self.random = random.Random(seed)
        self.window = window
        self.sent = {f"{name}-{i}": [] for i in range(runs)}
        self.acked = 0
        self.unknown = set()        # (run, n) that had no answer
        self.refused = []
        self.lost_connections = 0
        self._due = {}              # ack id -> (run, n)
        self._next = 0
        self._halt = threading.Event()
        self.fault = None

    def halt(self):
        """No more; answers that are due are waited for."""
        self._halt.set()

    def run(self):
        try:
            while not self._halt.is_set():
                with contextlib.suppress(FileNotFoundError,
                                         ConnectionRefusedError):
                    self._session(Stream(self.path))
                self._halt.wait(0.01)
        except Exception as e:  # pylint: disable=broad-except
            self.fault = e

    def _session(self, stream):
        try:
            while not self._halt.is_set():
                self._send(stream)
                if len(self._due) >= self.window and \
                        not self._answer(stream):
                    break
            while self._halt.is_set() and self._due and self._answer(stream):
                pass
        except (BrokenPipeError, ConnectionResetError):
            self.lost_connections += 1
        finally:
            # Answers that were sent before the end still count.
            with contextlib.suppress(OSError):
                while self._due and self._answer(stream):
                    pass
            self.unknown.update(self._due.values())
            self._due.clear()
            stream.close()

    def _send(self, stream):
        run = self.random.choice(list(self.sent))
        n = len(self.sent[run])
        event = {"n": n, "text": "x" * self.random.randrange(600)}
        self.sent[run].append(n)
        message = {"runId": run, "events": [event], "ack": self._next}
        if self.random.random() < 0.05:
            message["end"] = True
        self._due[self._next] = (run, n)
        self._next += 1
        stream.send(message)

    def _answer(self, stream):
        answer = stream.answer()
        if answer is None:
            return False
        if "ack" not in answer:
            raise Failure(f"a strange answer: {answer}")
        key = self._due.pop(answer["ack"])
        if "error" in answer:
            self.refused.append((key, answer))
        else:
            self.acked += 1
        return True


class Crowd:
    """Several clients, and what they did."""

    def __init__(self, case, n=8, seed=1, **kw):
        self.case = case
        self.clients = [Client(case.stream_path, f"c{i}", seed * 1000 + i,
                               **kw) for i in range(n)]
        for c in self.clients:
            c.start()

    def acked(self):
        for c in self.clients:
            if c.fault:
                raise c.fault
        return sum(c.acked for c in self.clients)

    def count(self):
        return sum(len(v) for c in self.clients for v in c.sent.values())

    def finish(self):
        for c in self.clients:
            c.halt()
        for c in self.clients:
            c.join(30)
            if c.is_alive():
                raise Failure(f"client {c.name} does not end\n"
                              + self.case.logs())
        self.acked()

    def sent(self):
        return {run: v for c in self.clients for run, v in c.sent.items()
                if v}

    def may_lack(self):
        """What had no answer, or was refused."""
        out = set()
        for c in self.clients:
            out |= c.unknown
            out |= {key for key, _ in c.refused}
        return out
