"""The client: what the socket takes is sent at once, the rest waits in a
bounded queue for a thread, which is made when it is first needed.

Nothing here waits for lumnid but flush() and close(), raises, or prints. What
finds no room is dropped and counted; the count travels as a `lumni_client`
event ahead of the next message that finds room.
"""
from __future__ import annotations

import atexit
import errno
import os
import select
import socket
import sys
import threading
import time
import weakref
from collections import deque
from typing import (Any, Deque, Dict, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple)

from . import _pack

VERSION = "0.1.0"
DEFAULT_ADDRESS = "unix:///run/lumnid/lumnid.sock"
BACKOFF_MIN = 0.01
BACKOFF_MAX = 1.0
SEND_MESSAGES = 64      # in one system call
HEAD_TRIES = 3          # connections that one message may cost
DGRAM_MAX = 65507


class Stats(NamedTuple):
    """events = sent + queued + dropped, at any time."""

    events: int         # given to the client
    sent: int           # handed to the socket
    queued: int
    dropped: int
    reported: int       # of dropped: told to lumnid
    connects: int


class _Message(NamedTuple):
    data: bytes
    events: int


class _Address(NamedTuple):
    family: int
    kind: int
    where: Any


def parse_address(text: str) -> Optional[_Address]:
    """None for what is no address. No name is looked up: that can block."""
    for scheme, kind in (("unix://", socket.SOCK_STREAM),
                         ("unixgram://", socket.SOCK_DGRAM),
                         ("/", socket.SOCK_STREAM)):
        if text.startswith(scheme):
            path = text if scheme == "/" else text[len(scheme):]
            if not path or len(os.fsencode(path)) > 107 or "\0" in path:
                return None
            if path.startswith("@"):
                path = "\0" + path[1:]
            return _Address(socket.AF_UNIX, kind, path)
    if not text.startswith("udp://"):
        return None
    host, colon, port = text[6:].rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() \
            or not 0 < int(port) < 65536:
        return None
    family = socket.AF_INET
    if host.startswith("[") and host.endswith("]"):
        family, host = socket.AF_INET6, host[1:-1]
    elif host == "localhost":
        host = "127.0.0.1"
    try:
        socket.inet_pton(family, host)
    except (OSError, UnicodeError):
        return None
    return _Address(family, socket.SOCK_DGRAM, (host, int(port)))


class _Sender:
    """The socket, and what is being sent. Of one thread at a time."""

    def __init__(self, address: _Address) -> None:
        self.address = address
        self.stream = address.kind == socket.SOCK_STREAM
        self.sock: Optional[socket.socket] = None
        self.backoff = BACKOFF_MIN
        self.next_try = 0.0
        self.connected = 0.0
        self.connects = 0
        # Taken from the queue; `offset` bytes of the first are sent.
        self.current: Deque[_Message] = deque()
        self.offset = 0
        self.tries = 0

    def connect(self) -> bool:
        """Tries at most once in a back-off."""
        if self.sock is not None:
            return True
        now = time.monotonic()
        if now < self.next_try:
            return False
        self.next_try = now + self.backoff
        self.backoff = min(self.backoff * 2, BACKOFF_MAX)
        try:
            sock = socket.socket(self.address.family, self.address.kind)
        except OSError:
            return False
        try:
            sock.setblocking(False)
            sock.connect(self.address.where)
        except OSError:
            sock.close()
            return False
        self.sock = sock
        self.connected = now
        self.connects += 1
        return True

    def disconnect(self) -> None:
        if self.sock is not None:
            self.sock.close()
        self.sock = None
        self.offset = 0         # what was cut off is sent again, whole
        now = time.monotonic()
        if now - self.connected >= BACKOFF_MAX:
            self.backoff = BACKOFF_MIN
            self.next_try = now
        else:
            self.next_try = now + self.backoff

    def wait(self, seconds: float) -> None:
        """Until there is room, or a connection may be tried again."""
        seconds = max(seconds, 0.001)
        sock = self.sock
        if sock is None:
            time.sleep(min(seconds, max(
                0.001, self.next_try - time.monotonic())))
            return
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        poll.poll(seconds * 1000)

    def send(self) -> Tuple[int, Dict[str, int]]:
        """Send what is current. Returns how many events went, and the drops
        by reason; self.current is empty, or one must wait."""
        sent = 0
        drops: Dict[str, int] = {}
        while self.current and self.connect():
            assert self.sock is not None
            first = self.current[0]
            try:
                if self.stream:
                    parts: List[Any] = [m.data for m in self.current]
                    parts[0] = memoryview(first.data)[self.offset:]
                    done = self.sock.sendmsg(parts, (), socket.MSG_NOSIGNAL)
                else:
                    self.sock.send(first.data, socket.MSG_NOSIGNAL)
                    done = len(first.data)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                    break
                reason = self._failed(error)
                if reason is not None:
                    # Of a datagram before this one, or this message itself.
                    gone = 1
                    if reason != "socket":
                        gone = self._pop()
                    else:
                        sent -= 1
                    drops[reason] = drops.get(reason, 0) + gone
                continue
            done += self.offset
            self.offset = 0
            while self.current and done >= len(self.current[0].data):
                done -= len(self.current[0].data)
                sent += self._pop()
            self.offset = done
        return sent, drops

    def _pop(self) -> int:
        self.offset = 0
        self.tries = 0
        return self.current.popleft().events

    def _failed(self, error: OSError) -> Optional[str]:
        """The reason of a drop, where the error means one."""
        if error.errno == errno.EMSGSIZE:
            return "too_large"
        if error.errno == errno.ECONNREFUSED \
                and self.address.family != socket.AF_UNIX:
            return "socket"     # an earlier datagram found nobody
        begun = self.offset != 0
        self.disconnect()
        if begun:
            # Does lumnid hang up because of this very message?
            self.tries += 1
            if self.tries >= HEAD_TRIES:
                return "refused"
        return None


class Client:
    """Hands events to lumnid. Of any number of threads and tasks.

    address: unix:///path, unixgram:///path or udp://127.0.0.1:8842; where
    None, $LUMNID_ADDRESS, else unix:///run/lumnid/lumnid.sock.
    queue_bytes: what may wait. message_bytes: the largest message.
    exit_seconds: for close() and the end of the program.
    disabled: where None, what LUMNID_DISABLED=1 says.
    """

    def __init__(self, address: Optional[str] = None, *,
                 queue_bytes: int = 8 << 20, message_bytes: int = 1 << 20,
                 exit_seconds: float = 0.25,
                 disabled: Optional[bool] = None) -> None:
        if disabled is None:
            disabled = os.environ.get("LUMNID_DISABLED") == "1"
        parsed = parse_address(address or os.environ.get("LUMNID_ADDRESS")
                               or DEFAULT_ADDRESS)
        # An address that is none disables: an agent must not fail by it.
        self.disabled = disabled or parsed is None
        self.address_is_valid = parsed is not None
        self._address = parsed or _Address(0, 0, None)
        self._message_max = message_bytes
        if self._address.kind == socket.SOCK_DGRAM:
            self._message_max = min(message_bytes, DGRAM_MAX)
        self._queue_max = queue_bytes
        self._exit_seconds = exit_seconds
        self._reset()
        if not self.disabled:
            _clients.add(self)

    def _reset(self) -> None:
        # Reentrant: a signal handler or a finalizer may send an event.
        self._lock = threading.RLock()
        self._sending = threading.RLock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._idle = False
        self._thread: Optional[threading.Thread] = None
        self._queue: Deque[_Message] = deque()
        self._bytes = 0         # in _queue
        self._queued = 0        # events, in _queue and being sent
        self._events = self._sent = self._dropped = self._reported = 0
        self._unreported: Dict[str, int] = {}
        self._drop_run = ""
        self._sender = _Sender(self._address)

    # --- what agents call ---

    def event(self, run_id: str, event: Mapping[str, Any], *,
              end: bool = False) -> bool:
        """Hand over one event; see send(). `at` is added where absent."""
        return self.send(run_id, (event,), end=end)

    def send(self, run_id: str, events: Sequence[Mapping[str, Any]], *,
             end: bool = False) -> bool:
        """Hand over events of a run. end: the run is complete after them.
        Returns whether they were taken; what was not is counted."""
        if self.disabled:
            return False
        reason, data = "invalid", b""
        count = 0
        try:
            count = len(events)
            run_id = str(run_id)
            if _pack.is_run_id(run_id):
                now = _pack.Time.of_ns(time.time_ns())
                data = _pack.pack_message(run_id, [
                    e if "at" in e else {**e, "at": now} for e in events],
                    end)
                reason = ""
            else:
                run_id = ""
        except _pack.TooLarge:
            reason = "too_large"
        except Exception:
            run_id = run_id if isinstance(run_id, str) else ""
        try:
            return self._take(run_id, _Message(data, count), reason)
        except Exception:
            return False

    def flush(self, seconds: float = 1.0) -> bool:
        """Wait until nothing is queued; returns whether that is so."""
        if self.disabled:
            return True
        return self._flush(time.monotonic() + seconds, False)

    def close(self) -> None:
        """Send what is queued, for at most exit_seconds, and end."""
        if self.disabled:
            return
        self._flush(time.monotonic() + self._exit_seconds, True)
        _clients.discard(self)
        with self._lock:
            thread = self._thread
            self._wake.set()
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1)
        with self._sending:
            self._sender.disconnect()
        self.disabled = True

    def stats(self) -> Stats:
        with self._lock:
            return Stats(self._events, self._sent, self._queued,
                         self._dropped, self._reported,
                         self._sender.connects)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # --- the queue ---

    def _take(self, run_id: str, message: _Message, reason: str) -> bool:
        size = len(message.data)
        with self._lock:
            self._events += message.events
            if not reason and size > self._message_max:
                reason = "too_large"
            if not reason and self._unreported:
                self._report(run_id)
            if not reason and self._bytes + size > self._queue_max:
                reason = "queue_full"
            if reason:
                self._drop(reason, message.events, run_id)
                return False
            if not self._send_now(message):
                self._put(message)
            if self._queue or self._sender.current:
                self._call_sender()
        return True

    def _send_now(self, message: _Message) -> bool:
        """Send past the queue, where it is empty. Returns whether the message
        is the sender's now, sent or not."""
        if self._queue or not self._sending.acquire(blocking=False):
            return False
        try:
            sender = self._sender
            if sender.current or not sender.connect():
                return False
            sender.current.append(message)
            self._queued += message.events
            self._count(*sender.send())
            return True
        finally:
            self._sending.release()

    def _call_sender(self) -> None:
        # One that waits for lumnid needs no call.
        if self._idle:
            self._idle = False
            self._wake.set()
        if self._thread is None:
            self._start()

    def _count(self, sent: int, drops: Dict[str, int]) -> None:
        self._sent += sent
        self._queued -= sent + sum(drops.values())
        for reason, count in drops.items():
            self._drop(reason, count, "")

    def _put(self, message: _Message) -> None:
        self._queue.append(message)
        self._bytes += len(message.data)
        self._queued += message.events

    def _drop(self, reason: str, events: int, run_id: str) -> None:
        self._dropped += events
        self._unreported[reason] = self._unreported.get(reason, 0) + events
        if run_id:
            self._drop_run = run_id

    def _report(self, run_id: str) -> None:
        """Tell lumnid in this run what was dropped."""
        if self._bytes > self._queue_max // 2 or not run_id:
            return
        count = sum(self._unreported.values())
        event: Dict[str, Any] = {
            "type": "lumni_client",
            "at": _pack.Time.of_ns(time.time_ns()),
            "client": "lumni-python/" + VERSION,
            "pid": os.getpid(),
            "dropped": count,
            "droppedTotal": self._dropped,
            "reasons": self._unreported,
        }
        if self._drop_run:
            event["droppedRunId"] = self._drop_run
        self._put(_Message(_pack.pack_message(run_id, [event]), 0))
        self._reported += count
        self._unreported = {}

    # --- the sender ---

    def _start(self) -> None:
        thread = threading.Thread(target=_send_forever, name="lumni",
                                  args=(self,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be had, as when the interpreter ends.
            self._pump()
            return
        self._thread = thread

    def _pump(self) -> bool:
        """Send what the socket takes; returns whether nothing is left."""
        with self._sending:
            sender = self._sender
            while True:
                with self._lock:
                    while self._queue and \
                            len(sender.current) < SEND_MESSAGES:
                        message = self._queue.popleft()
                        self._bytes -= len(message.data)
                        sender.current.append(message)
                if not sender.current:
                    return True
                sent, drops = sender.send()
                with self._lock:
                    self._count(sent, drops)
                    if sender.current:
                        return False

    def _flush(self, deadline: float, leaving: bool) -> bool:
        """leaving: give up where nobody listens, and tell of drops."""
        if not self._sending.acquire(
                timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            if leaving and self._sender.sock is None:
                self._sender.next_try = 0
            while not self._pump():
                left = deadline - time.monotonic()
                if left <= 0 or (leaving and self._sender.sock is None):
                    return False
                self._sender.wait(min(left, 0.05))
            if leaving and self._unreported and \
                    self._sender.sock is not None:
                with self._lock:
                    self._report(self._drop_run)
                return self._pump()
            return True
        finally:
            self._sending.release()


def _send_forever(client: Client) -> None:
    """The sender thread."""
    # A fork replaces them; this thread stays with its own.
    wake, stop = client._wake, client._stop
    while not stop.is_set():
        try:
            done = client._pump()
            with client._lock:
                done = done and not client._queue
                if done:
                    client._idle = True
                    wake.clear()
            if done:
                if not stop.is_set():
                    wake.wait()
            elif client._sender.sock is None:
                stop.wait(max(0.001, client._sender.next_try
                              - time.monotonic()))
            else:
                client._sender.wait(0.1)
        except Exception:
            stop.wait(0.05)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    """What is queued is the parent's to send; the child begins anew."""
    for client in list(_clients):
        sock = client._sender.sock
        client._reset()
        if sock is not None:
            sock.close()
    # Its children end without atexit; what they clear at their beginning they
    # have cleared before they call this.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        for client in list(_clients):
            util.register_after_fork(client, _finalize)


def _finalize(_: Client) -> None:
    util = sys.modules["multiprocessing.util"]
    util.Finalize(None, _at_exit, exitpriority=0)


def _at_exit() -> None:
    for client in list(_clients):
        try:
            client._flush(time.monotonic() + client._exit_seconds, True)
        except Exception:
            pass


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
