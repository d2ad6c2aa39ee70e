#!/usr/bin/python3
"""What takes half a minute of waiting, and no work."""

import socket
import time

import lumnid_it
from lumnid_it import SLOW, wait_for


def test_byte_by_byte(t):
    """A body of which a byte comes now and then is cut; it was not for as long
    as one came within 30 s."""
    t.upstream()
    t.lumnid(listen={"http": "127.0.0.1:0"})
    port = wait_for("the listener", t.daemon.http_port)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60 * SLOW) as s:
        s.sendall(b"POST /v1/ingest/events HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: application/json\r\n"
                  b"Content-Length: 100000\r\n\r\n")
        s.settimeout(5)
        answer = b""
        while not answer and time.monotonic() - begun < 60 * SLOW:
            s.sendall(b" ")
            try:
                answer = s.recv(65536)
            except TimeoutError:
                pass
    took = time.monotonic() - begun
    t.true(29 < took < 60 * SLOW and answer.startswith(b"HTTP/1.1 408 ") and
           b'"code":"too_slow"' in answer, f"{took}: {answer}")


if __name__ == "__main__":
    lumnid_it.main()
