"""Packs values as msgpack, as tests/vectors/README says.

Nothing raises: what has no form in msgpack becomes a string. The C extension
of the package `msgpack` is used where it is there; it gives the same bytes,
faster.
"""
from __future__ import annotations

import datetime
import enum
import importlib
import struct
import threading
from typing import Any, Callable, Iterable, List, Mapping, Optional

DEPTH_MAX = 32
TOO_DEEP = "[too deep]"
TEXT_MAX = 1000     # of what is packed as its str()
# Values that share parts, or hold themselves, can be small and pack without
# end.
PARTS_MAX = 1000000

# The keys that mean something beside `runId` in a message.
ENVELOPE = frozenset(
    ("runId", "traceId", "events", "end", "ack", "change", "policy"))


class Ext:
    """An extension value."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        if not -128 <= code <= 127:
            raise ValueError("an extension type is -128 to 127")
        self.code = code
        self.data = data


class Time:
    """A time: seconds and nanoseconds since 1970, in UTC."""

    __slots__ = ("sec", "nsec")

    def __init__(self, sec: int, nsec: int) -> None:
        self.sec = sec
        self.nsec = nsec

    @classmethod
    def of_ns(cls, ns: int) -> Time:
        return cls(ns // 1000000000, ns % 1000000000)

    def packed(self) -> bytes:
        """The payload of the timestamp extension."""
        if 0 <= self.sec < 1 << 34:
            if self.nsec == 0 and self.sec < 1 << 32:
                return struct.pack(">I", self.sec)
            return struct.pack(">Q", self.nsec << 34 | self.sec)
        return struct.pack(">Iq", self.nsec, self.sec)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A pair of surrogates is a character, a lone one is U+FFFD.
        return text.encode("utf-16-le", "surrogatepass").decode(
            "utf-16-le", "replace").encode("utf-8")


def _of_time(value: datetime.datetime) -> Time:
    delta = value.astimezone(datetime.timezone.utc) - datetime.datetime(
        1970, 1, 1, tzinfo=datetime.timezone.utc)
    return Time(delta.days * 86400 + delta.seconds, delta.microseconds * 1000)


def convert(value: Any) -> Any:
    """A value of no type of msgpack becomes one that is."""
    try:
        if isinstance(value, datetime.datetime):
            return _of_time(value)
        if isinstance(value, enum.Enum):
            inner = value.value
            return inner if isinstance(inner, (str, int, float)) \
                else value.name
        if isinstance(value, (set, frozenset)):
            return list(value)
        if isinstance(value, Mapping):
            return dict(value)
        if not isinstance(value, (int, BaseException, type)):
            for method in ("item", "model_dump"):  # numpy, pydantic
                call = getattr(value, method, None)
                if callable(call):
                    plain = call()
                    if isinstance(plain, (str, int, float, dict, list)):
                        return plain
        text = str(value)
    except Exception:
        text = "<%s>" % type(value).__name__
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX] + "... [cut, %d characters]" % len(text)
    return text


def _put_int(out: List[bytes], value: int) -> bool:
    if 0 <= value < 0x80:
        out.append(bytes((value,)))
    elif -32 <= value < 0:
        out.append(struct.pack("b", value))
    elif value >= 0:
        for code, form, top in ((0xcc, ">BB", 8), (0xcd, ">BH", 16),
                                (0xce, ">BI", 32), (0xcf, ">BQ", 64)):
            if value < 1 << top:
                out.append(struct.pack(form, code, value))
                return True
        return False
    else:
        for code, form, top in ((0xd0, ">Bb", 7), (0xd1, ">Bh", 15),
                                (0xd2, ">Bi", 31), (0xd3, ">Bq", 63)):
            if value >= -1 << top:
                out.append(struct.pack(form, code, value))
                return True
        return False
    return True


def _put_sized(out: List[bytes], data: bytes, codes: Iterable[int]) -> None:
    """The head with 8, 16 or 32 bits of length, and the data."""
    for code, form, top in zip(codes, (">BB", ">BH", ">BI"), (8, 16, 32)):
        if len(data) < 1 << top:
            out.append(struct.pack(form, code, len(data)))
            out.append(data)
            return
    raise ValueError("over 4 GiB")


def _put_str(out: List[bytes], text: str) -> None:
    data = _utf8(text)
    if len(data) < 32:
        out.append(bytes((0xa0 | len(data),)))
        out.append(data)
    else:
        _put_sized(out, data, (0xd9, 0xda, 0xdb))


def _put_ext(out: List[bytes], code: int, data: bytes) -> None:
    size = len(data)
    raw = struct.pack("b", code)
    if size in (1, 2, 4, 8, 16):
        out.append(bytes((0xd4 + size.bit_length() - 1,)) + raw + data)
        return
    for head, form, top in ((0xc7, ">BB", 8), (0xc8, ">BH", 16),
                            (0xc9, ">BI", 32)):
        if size < 1 << top:
            out.append(struct.pack(form, head, size) + raw + data)
            return
    raise ValueError("over 4 GiB")


def count_head(fix: int, code: int, n: int) -> bytes:
    """The head of an array (0x90, 0xdc) or a map (0x80, 0xde)."""
    if n < 16:
        return bytes((fix | n,))
    if n < 1 << 16:
        return struct.pack(">BH", code, n)
    return struct.pack(">BI", code + 1, n)


class TooLarge(ValueError):
    """The value has too many parts."""


def _put(out: List[bytes], value: Any, depth: int) -> None:
    if len(out) > PARTS_MAX:
        raise TooLarge
    # The order is that of how often they come.
    if isinstance(value, str):
        _put_str(out, value)
    elif value is None:
        out.append(b"\xc0")
    elif value is True:
        out.append(b"\xc3")
    elif value is False:
        out.append(b"\xc2")
    elif isinstance(value, int):
        if not _put_int(out, value):
            _put_str(out, str(value))
    elif isinstance(value, float):
        out.append(struct.pack(">Bd", 0xcb, value))
    elif isinstance(value, dict):
        if depth > DEPTH_MAX:
            _put_str(out, TOO_DEEP)
            return
        out.append(count_head(0x80, 0xde, len(value)))
        for key, item in value.items():
            _put(out, key, DEPTH_MAX + 1)
            _put(out, item, depth + 1)
    elif isinstance(value, (list, tuple)):
        if depth > DEPTH_MAX:
            _put_str(out, TOO_DEEP)
            return
        out.append(count_head(0x90, 0xdc, len(value)))
        for item in value:
            _put(out, item, depth + 1)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _put_sized(out, bytes(value), (0xc4, 0xc5, 0xc6))
    elif isinstance(value, Time):
        _put_ext(out, -1, value.packed())
    elif isinstance(value, Ext):
        _put_ext(out, value.code, value.data)
    else:
        plain = convert(value)
        if isinstance(plain, (dict, list)) and depth > DEPTH_MAX:
            plain = TOO_DEEP
        _put(out, plain, depth)


def pack_pure(value: Any) -> bytes:
    out: List[bytes] = []
    _put(out, value, 1)
    return b"".join(out)


class _Refuse(Exception):
    """The extension cannot pack this as we do."""


def _find_fast() -> Optional[Callable[[Any], bytes]]:
    try:
        msgpack = importlib.import_module("msgpack")
        if "_cmsgpack" not in msgpack.Packer.__module__:
            return None
        if msgpack.version < (1, 0, 0):
            return None
        timestamp = msgpack.Timestamp
    except Exception:
        return None

    def default(value: Any) -> Any:
        if isinstance(value, Time):
            return timestamp(value.sec, value.nsec)
        # Containers in what is converted have not been measured.
        if isinstance(value, (int, str, Ext)):
            raise _Refuse
        plain = convert(value)
        if isinstance(plain, Time):
            return timestamp(plain.sec, plain.nsec)
        if isinstance(plain, (str, int, float)):
            return plain
        raise _Refuse

    def shallow(value: Any, depth: int, seen: List[None]) -> bool:
        """No container is too deep, no key is one."""
        seen.append(None)
        if len(seen) > PARTS_MAX // 10:
            return False
        if isinstance(value, dict):
            if depth > DEPTH_MAX:
                return False
            for key, item in value.items():
                if not isinstance(key, (str, int)):
                    return False
                if isinstance(item, (dict, list, tuple)) and \
                        not shallow(item, depth + 1, seen):
                    return False
        elif isinstance(value, (list, tuple)):
            if depth > DEPTH_MAX:
                return False
            for item in value:
                if isinstance(item, (dict, list, tuple)) and \
                        not shallow(item, depth + 1, seen):
                    return False
        return True

    local = threading.local()

    def pack_fast(value: Any) -> bytes:
        # No packer is shared, not even with a signal handler.
        packer = local.__dict__.pop("packer", None)
        if packer is None:
            packer = msgpack.Packer(use_bin_type=True, default=default)
        try:
            if not shallow(value, 1, []):
                return pack_pure(value)
            data: bytes = packer.pack(value)
            local.packer = packer
            return data
        except Exception:
            return pack_pure(value)

    return pack_fast


pack: Callable[[Any], bytes] = _find_fast() or pack_pure


def is_run_id(run_id: str) -> bool:
    """1 to 256 bytes of UTF-8 without control characters."""
    if not run_id or len(run_id) > 256:
        return False
    if run_id.isascii():
        return run_id.isprintable()
    try:
        if len(run_id.encode("utf-8")) > 256:
            return False
    except UnicodeEncodeError:
        return False
    return not any(c < "\x20" or "\x7f" <= c <= "\x9f" for c in run_id)


def pack_message(run_id: str, events: List[Mapping[str, Any]],
                 end: bool = False, ack: Any = None) -> bytes:
    """A whole message for lumnid, flat where it can be."""
    if len(events) == 1 and not end and ack is None:
        event = events[0]
        if not ENVELOPE.intersection(event):
            return pack({"runId": run_id, **event})
    out = [count_head(0x80, 0xde, 2 + end + (ack is not None)),
           b"\xa5runId", pack(run_id), b"\xa6events",
           count_head(0x90, 0xdc, len(events))]
    # Each by itself: its depth is its own.
    out += [pack(event if isinstance(event, dict) else dict(event))
            for event in events]
    if end:
        out.append(b"\xa3end\xc3")
    if ack is not None:
        out.append(b"\xa3ack" + pack(ack))
    return b"".join(out)
