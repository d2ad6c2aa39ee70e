"""What is packed, held to tests/vectors; with and without msgpack."""
import base64
import datetime
import decimal
import enum
import json
import os
import unittest
import uuid

from support import VECTORS
from unpack import Unpacker

from lumni import _pack


def value_of(v):
    """See tests/vectors/README."""
    if isinstance(v, dict):
        if len(v) == 1 and next(iter(v)).startswith("$"):
            (key, arg), = v.items()
            if key == "$bin":
                return base64.b64decode(arg)
            if key == "$ext":
                return _pack.Ext(arg[0], base64.b64decode(arg[1]))
            if key == "$time":
                return _pack.Time(*arg)
            if key == "$int":
                return int(arg)
            if key == "$float":
                return float(arg)
            if key == "$repeat":
                return arg[0] * arg[1]
            if key == "$deep":
                inner = []
                for _ in range(arg - 1):
                    inner = [inner]
                return inner
            raise ValueError(key)
        return {k: value_of(x) for k, x in v.items()}
    if isinstance(v, list):
        return [value_of(x) for x in v]
    return v


def load(name):
    with open(os.path.join(VECTORS, name), encoding="ascii") as file:
        return [c for c in json.load(file)
                if "python" not in c.get("not", ())]


PACKERS = {"ours": _pack.pack_pure}
if _pack.pack is not _pack.pack_pure:
    PACKERS["msgpack's"] = _pack.pack


class Vectors(unittest.TestCase):
    def test_pack(self):
        for case in load("pack.json"):
            value = value_of(case["event"])
            for name, pack in PACKERS.items():
                with self.subTest(case["name"], packer=name):
                    self.assertEqual(pack(value).hex(), case["msgpack_hex"])

    def test_messages(self):
        for case in load("messages.json"):
            ack = value_of(case["ack"]) if "ack" in case else None
            with self.subTest(case["name"]):
                self.assertEqual(_pack.pack_message(
                    case["runId"], case["events"], case.get("end", False),
                    ack).hex(), case["msgpack_hex"])


class Color(enum.Enum):
    RED = "red"
    ODD = object()


class Text(str, enum.Enum):
    A = "a"


class Number(enum.IntEnum):
    SEVEN = 7


class Rude:
    def __str__(self):
        raise RuntimeError("no")


class Item:
    def item(self):
        return 2.5


UTC = datetime.timezone.utc


class Odd(unittest.TestCase):
    """What msgpack has no form for."""

    CASES = [
        (Color.RED, "red"), (Color.ODD, "ODD"), (Text.A, "a"),
        (Number.SEVEN, 7), (Rude(), "<Rude>"), (Item(), 2.5),
        (1 << 64, "18446744073709551616"), (-1 - (1 << 63),
                                            "-9223372036854775809"),
        ({3}, [3]), (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ValueError("x"), "x"), ((1, 2), [1, 2]), (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"), ({1: {2: 3}}, {1: {2: 3}}),
        ([Color.RED, {"k": {4}}],
                                     ["red", {"k": [4]}]),
        (datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
         ("ext", -1, b"\0\0\0\1")),
        (datetime.date(2026, 11, 23), "2026-11-23"),
    ]

    def test_values(self):
        for value, want in self.CASES:
            for name, pack in PACKERS.items():
                with self.subTest(repr(type(value)), packer=name):
                    got, = Unpacker().feed(pack(value))
                    self.assertEqual(got, want)

    def test_naive_time_is_local(self):
        naive = datetime.datetime(2026, 11, 23, 12)
        for pack in PACKERS.values():
            self.assertEqual(pack(naive), pack(naive.astimezone(UTC)))

    def test_values_without_end(self):
        ring = []
        ring.append(ring)
        twice = []
        for _ in range(40):
            twice = [twice, twice]
        for pack in PACKERS.values():
            self.assertIn(b"[too deep]", pack(ring))
            with self.assertRaises(_pack.TooLarge):
                pack(twice)

    def test_run_ids(self):
        for good in ("r", "run_8842", "l\u00e4uft", "\u6f22", "a b",
                     "a" * 256):
            self.assertTrue(_pack.is_run_id(good), good)
        for bad in ("", "a\nb", "\x7f", "\x85", "\ud800", "a" * 257,
                    "\u6f22" * 86):
            self.assertFalse(_pack.is_run_id(bad), bad)


if __name__ == "__main__":
    unittest.main()
