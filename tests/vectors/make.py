#!/usr/bin/python3
"""Write pack.json and messages.json, or check them (--check).

msgpack is the package python3-msgpack: the bytes come from an implementation
that shares nothing with the clients under test.
"""
import base64
import json
import os
import sys

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))
DEPTH_MAX = 32
ENVELOPE = ("runId", "traceId", "events", "end", "ack", "change", "policy")


def b64(data):
    return base64.b64encode(data).decode("ascii")


def plain(value, depth=1):
    """The Python value that the JSON form stands for."""
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("$"):
            key, arg = next(iter(value.items()))
            if key == "$bin":
                return base64.b64decode(arg)
            if key == "$ext":
                return msgpack.ExtType(arg[0], base64.b64decode(arg[1])) \
                    if arg[0] >= 0 else Raw(arg[0], base64.b64decode(arg[1]))
            if key == "$time":
                return msgpack.Timestamp(arg[0], arg[1])
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
                return plain(inner, depth)
            raise ValueError(key)
        if depth > DEPTH_MAX:
            return "[too deep]"
        return {plain(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        if depth > DEPTH_MAX:
            return "[too deep]"
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode(
            "utf-16", "replace")
    return value


class Raw:
    """An extension type that msgpack.ExtType refuses (it knows 0..127)."""

    def __init__(self, code, data):
        self.code, self.data = code, data


def pack(value):
    if isinstance(value, Raw):
        out = msgpack.packb(msgpack.ExtType(0, value.data))
        # The type follows the head: d4..d8 and c7, c8, c9.
        at = {0xc7: 2, 0xc8: 3, 0xc9: 5}.get(out[0], 1)
        return out[:at] + bytes([value.code & 0xff]) + out[at + 1:]
    if isinstance(value, dict):
        out = msgpack.Packer().pack_map_header(len(value))
        for k, v in value.items():
            out += pack(k) + pack(v)
        return out
    if isinstance(value, list):
        out = msgpack.Packer().pack_array_header(len(value))
        return out + b"".join(pack(v) for v in value)
    return msgpack.packb(value, use_bin_type=True)


def pack_cases():
    yield "nil", None
    yield "true", True
    yield "false", False
    for n in (0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296,
              9007199254740991, -1, -32, -33, -128, -129, -32768, -32769,
              -2147483648, -2147483649, -9007199254740991):
        yield "int %d" % n, n
    for n in (9007199254740993, 9223372036854775807, 9223372036854775808,
              18446744073709551615, -9223372036854775808):
        yield "big int %d" % n, {"$int": str(n)}
    for f in (0.5, -0.25, 3.141592653589793, 1e-300, 1.7976931348623157e308,
              0.1, 5e-324):
        yield "float %r" % f, f
    for f in ("nan", "inf", "-inf", "-0.0"):
        yield "float " + f, {"$float": f}
    yield "float 1.0 is no integer", {"$float": "1.0"}, ["node"]
    yield "empty string", ""
    yield "fixstr, 31 bytes", {"$repeat": ["a", 31]}
    yield "str 8, 32 bytes", {"$repeat": ["a", 32]}
    yield "str 8, 255 bytes", {"$repeat": ["b", 255]}
    yield "str 16, 256 bytes", {"$repeat": ["c", 256]}
    yield "string in many scripts", "na\u00efve \u6f22\u5b57 \U0001f600"
    yield "str 8 by its bytes, not its characters", {"$repeat": ["\u00e9", 16]}
    yield "control characters and NUL", "a\u0000b\u001b[31m\n"
    yield "lone high surrogate", "a\ud800b", ["c"]
    yield "lone low surrogate at the end", "a\udc00", ["c"]
    yield "empty bytes", {"$bin": ""}
    yield "bin 8", {"$bin": b64(bytes(range(256))[:255])}
    yield "bin 16", {"$bin": b64(bytes(range(256)))}
    for size in (1, 2, 4, 8, 16, 3, 17, 0):
        yield "ext of %d" % size, {"$ext": [5, b64(b"\x01" * size)]}
    yield "ext 16", {"$ext": [127, b64(b"x" * 300)]}
    yield "ext of a negative type", {"$ext": [-128, b64(b"abc")]}
    yield "time, 32 bits", {"$time": [1795437296, 0]}
    yield "time, 64 bits", {"$time": [1795437296, 123456789]}
    yield "time, 64 bits for the seconds", {"$time": [4294967296, 0]}
    yield "time, 96 bits", {"$time": [17179869184, 1]}
    yield "time before 1970", {"$time": [-1, 999000000]}
    yield "empty array", []
    yield "fixarray of 15", list(range(15))
    yield "array 16 of 16", list(range(16))
    yield "empty map", {}
    yield "fixmap of 15", {"k%d" % i: i for i in range(15)}
    yield "map 16 of 16", {"k%d" % i: i for i in range(16)}
    yield "keys keep their order", {"z": 1, "a": 2, "m": 3}
    yield "empty key", {"": 0}
    yield "nested", {"a": [{"b": [[], {}, None]}, {"c": {"d": "e"}}]}
    yield "32 deep", {"$deep": 32}
    yield "33 deep", {"$deep": 33}, ["c"]
    yield "40 deep", {"$deep": 40}, ["c"]
    yield "a step", {
        "type": "tool_call", "name": "issue_refund",
        "args": {"order": "A-1009", "amount": 49.9, "items": [1, 2]},
        "status": "failed", "error": "502 Bad Gateway", "durationMs": 812.4,
        "stepId": "s2", "parentId": "s1", "origin": True,
        "at": {"$time": [1795437296, 250000000]},
    }


REFUND = {"type": "tool_call", "name": "issue_refund", "status": "failed",
          "error": "502 Bad Gateway"}
OUTPUT = {"type": "model_output", "text": "Your refund has been processed."}


def message_cases():
    yield "flat", {"runId": "run_8842", "events": [REFUND]}
    yield "flat, empty event", {"runId": "r", "events": [{}]}
    yield "two events", {"runId": "run_8842", "events": [REFUND, OUTPUT]}
    yield "end", {"runId": "run_8842", "events": [OUTPUT], "end": True}
    yield "end false is no end", \
        {"runId": "run_8842", "events": [OUTPUT], "end": False}
    yield "end alone", {"runId": "run_8842", "events": [], "end": True}
    yield "ack, a string", \
        {"runId": "run_8842", "events": [OUTPUT], "ack": "a1"}
    yield "ack, an integer", \
        {"runId": "run_8842", "events": [OUTPUT], "ack": 7}
    yield "ack, zero", {"runId": "run_8842", "events": [OUTPUT], "ack": 0}
    yield "ack, bytes", \
        {"runId": "run_8842", "events": [OUTPUT], "ack": {"$bin": "AQID"}}
    yield "end and ack", {"runId": "run_8842", "events": [REFUND, OUTPUT],
                          "end": True, "ack": "done"}
    yield "run id in many scripts", \
        {"runId": "l\u00e4uft-\u6f22\u5b57", "events": [OUTPUT]}
    for key in ENVELOPE:
        yield "an event's own %s" % key, {
            "runId": "r", "events": [{"type": "x", key: "mine"}]}
    yield "20 events", {"runId": "r", "events": [
        {"type": "agent_step", "name": "n", "step": i} for i in range(20)]}


def message_value(case):
    events = case["events"]
    if len(events) == 1 and not case.get("end") and "ack" not in case \
            and not any(k in events[0] for k in ENVELOPE):
        return {"runId": case["runId"], **events[0]}
    value = {"runId": case["runId"], "events": events}
    if case.get("end"):
        value["end"] = True
    if "ack" in case:
        value["ack"] = case["ack"]
    return value


def packed(value):
    return pack(plain(value)).hex()


def write(name, cases, check):
    text = "[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n"
    path = os.path.join(HERE, name)
    if check:
        with open(path, encoding="ascii") as file:
            if file.read() != text:
                sys.exit(name + " is not what make.py writes")
        return
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def main():
    check = sys.argv[1:] == ["--check"]
    cases = []
    for name, value, *rest in pack_cases():
        case = {"name": name, "event": value, "msgpack_hex": packed(value)}
        if rest:
            case["not"] = rest[0]
        cases.append(case)
    write("pack.json", cases, check)
    cases = [{"name": name, **case, "msgpack_hex": packed(message_value(case))}
             for name, case in message_cases()]
    write("messages.json", cases, check)


if __name__ == "__main__":
    main()
