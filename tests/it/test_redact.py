#!/usr/bin/python3
"""Redaction: what the configuration says must go is found nowhere: not in
the storage directory, not in the logs, not at the upstream, whatever input it
came by and however deep it was; lumnictl redact-test shows it beforehand."""

import http.client
import json
import os
import signal
import zlib

import lumnid_it
from lumnid_it import wait_for
import msgpack

RULES = {
    "keys": ["password", "*secret*", {"key": "ssn", "action": "hash"},
             {"key": "drop", "action": "remove"}],
    "paths": ["events.args.token", "*.by.name",
              "policy.rules.*.args.token"],
    "patterns": ["all", {"name": "order", "regex": r"ORD-[0-9]+"}],
    "max_string": "4KiB",
}
# What may be seen nowhere.
HUNTER = "hunter2-is-the-password"
EMAIL = "bob.hidden@example.com"
CARD = "4111111111111111"
TOKEN = "sk-ant-api03-abcdefghijklmnop"
ORDER = "ORD-20261125"
SSN = "078-05-1120"
SECRETS = [HUNTER, EMAIL, CARD, "4111 1111 1111 1111", TOKEN, ORDER, SSN,
           "bob.hidden"]


def hash_key(t, name="hash_key", text="0123456789abcdef0123"):
    path = os.path.join(t.dir, name)
    with open(path, "w", encoding="ascii") as f:
        f.write(text + "\n")
    os.chmod(path, 0o600)
    return path


def rules(t, **over):
    return dict(RULES, hash_key_file=hash_key(t), **over)


def event():
    """Secrets in all shapes."""
    inner = {"password": HUNTER, "q": [1, {"SSN": SSN}],
             "text": f"write to {EMAIL}\n{TOKEN}", "n": int(CARD)}
    return {
        "type": "tool_call", "Password": HUNTER, "ssn": SSN, "drop": TOKEN,
        "args": {"token": HUNTER, "deep": [[[{"client_secret": HUNTER}]]]},
        "text": f"card 4111 1111 1111 1111 12/28 of {EMAIL}, {ORDER}",
        "card": int(CARD), "cardf": float(CARD),
        EMAIL: {"k": "v"},
        "string": json.dumps(inner),
        "twice": json.dumps({"a": json.dumps(inner)}),
        "escaped": "{\"p\\u0061ssword\":\"" + HUNTER + "\",\"e\":\""
                   + EMAIL.replace("@", "\\u0040") + "\"}",
        "cut": '```json\n{"password": "' + HUNTER,
        "python": str({"password": HUNTER, "n": None}),
        "log": 'args="' + json.dumps({"password": HUNTER})
               .replace('"', '\\"') + '"',
        "long": "x" * 2040 + f" {EMAIL} " + "y" * 40000 + f" {TOKEN} z",
        "n": 1,
    }


def check_event(t, e):
    t.equal(e["Password"], "[redacted:password]", "a key")
    t.true(e["ssn"].startswith("[redacted:ssn:"), f"ssn: {e['ssn']}")
    t.true("drop" not in e, "what is removed is there")
    t.equal(e["args"]["token"], "[redacted:events.args.token]", "a path")
    t.equal(e["text"], "card [redacted:card] 12/28 of [redacted:email], "
            "[redacted:order]", "text")
    t.equal(e["[redacted:email]"], {"k": "v"}, "a key that matches")
    t.equal(e["card"], "[redacted:card]", "a number")
    inner = json.loads(e["string"])
    t.equal(inner["password"], "[redacted:password]", "a key in a string")
    t.equal(inner["text"], "write to [redacted:email]\n"
            "[redacted:anthropic_key]", "text in a string")
    # The same value has the same hash, wherever it stands.
    t.equal(inner["q"][1]["SSN"], e["ssn"], "hashes")
    t.true(len(e["long"]) <= 4096 and "[cut:4" in e["long"], "max_string")
    t.equal(e["n"], 1, "what no rule names")


def post(t, path, body, headers=None):
    con = http.client.HTTPConnection("127.0.0.1", t.daemon.http_port(),
                                     timeout=20 * lumnid_it.SLOW)
    con.request("POST", path, body, {"content-type": "application/json",
                                     **(headers or {})})
    answer = con.getresponse()
    text = answer.read()
    con.close()
    t.equal(answer.status, 202, f"POST {path}: {text!r}")


def send_all(t):
    """One event by each input, to runs of their names, and records."""
    s = t.stream()
    t.equal(s.ask({"runId": "env", "events": [event()], "ack": 1}),
            {"ack": 1}, "the answer")
    s.send({"runId": "flat", **event()})
    s.send({"traceId": "trace-1", **event()})
    # The forward protocol: Message, Forward, PackedForward, compressed.
    s.send(msgpack.packb(["tag." + EMAIL, 1700000000,
                          {"runId": "fwd", **event()}]))
    entry = msgpack.packb([1700000000, {"runId": "fwd", **event()}])
    s.send(msgpack.packb(["t", [[1700000000, {"runId": "fwd", **event()}]]]))
    s.send(msgpack.packb(["t", entry, {"size": 1}]))
    gz = zlib.compressobj(wbits=31)
    packed = gz.compress(entry) + gz.flush()
    s.send(msgpack.packb(["t", packed, {"compressed": "gzip"}]))
    t.udp().send({"runId": "udp", **event()})
    t.dgram().send({"runId": "dgram", "events": [event()]})
    body = json.dumps({"runId": "http", "events": [event()]})
    post(t, "/v1/ingest/events", body)
    # The same with every letter of keys and values escaped.
    post(t, "/v1/ingest/events", json.dumps(
        {"runId": "http2", "events": [event()]}).replace(
            "password", "p\\u0061ssword"))
    post(t, "/v1/ingest/changes", json.dumps(
        {"kind": "code", "ref": "r", "summary": f"by {EMAIL}",
         "by": {"name": HUNTER}}))
    post(t, "/v1/ingest/policies", json.dumps({"rules": [event()]}))
    t.equal(s.ask({"change": {"kind": "code", "ref": ORDER, "summary": "s",
                              "password": {"a": [HUNTER]}}, "ack": 2}),
            {"ack": 2}, "the answer")
    # Refusals name no keys.
    for bad in ({"runId": "x", "events": [], EMAIL: HUNTER, "ack": 3},
                {"change": {}, HUNTER: 1, "ack": 4}):
        s.send(bad)
        answer = s.answer()
        t.true("error" in answer and EMAIL not in str(answer)
               and HUNTER not in str(answer), f"the answer {answer}")


def stored(t):
    """All bytes below the storage directory."""
    data = b""
    for where, _, names in os.walk(os.path.join(t.dir, "data")):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    data += f.read()
    return data


RUNS = ("env", "flat", "trace-1", "fwd", "udp", "dgram", "http", "http2")


def test_nothing_on_disk(t):
    """While the upstream is away all of it lies in journal and spool."""
    t.secrets.update(SECRETS)
    t.upstream()
    daemon = t.lumnid(redact=rules(t), listen={"http": "127.0.0.1:0"},
                      runs={"idle": "1h"},
                      upstream={"compression": "none"})
    send_all(t)
    wait_for("all events", lambda: t.daemon.status()["open"]["events"] >= 11,
             context=t.logs)
    data = stored(t)
    for secret in SECRETS:
        t.true(secret.encode() not in data, f"the disk holds {secret}")
    # The test sees what is there.
    t.true(data.count(b"[redacted:password]") >= 20 and
           b"tool_call" in data, "the journal cannot be read")
    # A crash and a recovery bring nothing back.
    daemon.kill()
    t.lumnid(redact=rules(t), listen={"http": "127.0.0.1:0"},
             runs={"idle": "50ms"})
    up = t.processes[0]
    up.wait_sums(events=11, records=3)
    runs = t.runs()
    t.equal(set(runs), set(RUNS), "runs")
    for events in runs.values():
        for e in events:
            check_event(t, e)
    with open(t.out, encoding="utf-8") as f:
        text = f.read()
    for secret in SECRETS:
        at = text.find(secret)
        t.true(at < 0, f"the upstream got {secret}: "
               f"{text[max(at - 200, 0):at + 80]}")
    _, metrics = t.daemon.get("/metrics")
    t.true('lumnid_redactions_total{rule="email"}' in metrics,
           "no counter of the rule email")
    t.daemon.stop()


def count_of(t, rule):
    for line in t.daemon.get("/metrics")[1].splitlines():
        if line.startswith(f'lumnid_redactions_total{{rule="{rule}"}}'):
            return int(line.split()[-1])
    return None


def test_reload(t):
    """Rules are swapped whole; bad ones leave the old ones in force."""
    t.upstream()
    sections = {"listen": {"http": "127.0.0.1:0"}, "runs": {"idle": "50ms"}}
    daemon = t.lumnid(redact={"keys": ["password"]}, **sections)
    s = t.stream()
    n = 0

    def ask():
        nonlocal n
        n += 1
        s.ask({"runId": f"r{n}", "ack": n, "events": [
            {"password": "x", "token": "y"}]})
        t.processes[0].wait_sums(events=n)
        return t.runs()[f"r{n}"][0]

    def reload(word, **redact):
        t.configure(redact=redact, **sections)
        at = len(daemon.lines)
        daemon.signal(signal.SIGHUP)
        return daemon.wait_line(word, after=at)[0].string

    e = ask()
    t.equal((e["password"], e["token"]), ("[redacted:password]", "y"), "one")
    line = reload("reload_failed", patterns=[{"name": "b", "regex": "("}])
    t.true("missing closing parenthesis" in line and ":12:" not in line and
           "at letter 2" in line and "lumnid.yaml:" in line, line)
    t.equal(ask()["password"], "[redacted:password]", "the old rules")
    reload("reloaded", keys=["token", {"key": "password",
                                       "action": "remove"}])
    e = ask()
    t.true("password" not in e and e["token"] == "[redacted:token]", str(e))
    # The counter of a name goes on.
    t.equal(count_of(t, "password"), 3, "redactions of password")
    reload("reloaded")
    t.equal(ask()["password"], "x", "no rules")


def test_hash_key(t):
    """A missing, short or public key is told at the start."""
    t.upstream()
    conf = {"keys": [{"key": "k", "action": "hash"}]}
    for text, mode, word in (("short", 0o600, "fewer than 16"),
                             ("0123456789abcdef", 0o604, "chmod o-rwx")):
        path = hash_key(t, text=text)
        os.chmod(path, mode)
        t.configure(redact=dict(conf, hash_key_file=path))
        done = t.run(lumnid_it.program("lumnid"), "-c", t.conf,
                     "--check-config", env={"LUMNI_API_KEY": "k"})
        t.equal(done.returncode, 2, "the exit status")
        t.true(word in done.stderr and text not in done.stderr.split(": ")[-1],
               done.stderr)


def test_redact_test(t):
    """lumnictl redact-test, offline."""
    t.configure(redact=rules(t))
    sample = "\n".join([
        json.dumps({"type": "x", "password": HUNTER, "to": EMAIL}),
        json.dumps({"runId": "r", "events": [{"a": ORDER}, {"b": 1}]}),
        "", json.dumps({"change": {"kind": "code", "by": {"name": "x"}}}),
        json.dumps({"t": "\x1b[31m\x9b31m"}),
    ]) + "\n"
    done = t.lumnictl("redact-test", "-c", t.conf, stdin=sample)
    t.equal(done.returncode, 0, done.stderr)
    lines = done.stdout.splitlines()
    t.equal([json.loads(x) for x in lines], [
        {"type": "x", "password": "[redacted:password]",
         "to": "[redacted:email]"},
        {"a": "[redacted:order]"}, {"b": 1},
        {"kind": "code", "by": {"name": "[redacted:by.name]"}},
        {"t": "\x1b[31m\x9b31m"}], "the events")
    t.true("\x1b" not in done.stdout and "\x9b" not in done.stdout,
           "a control character for the terminal")
    for line in ("1  password", "1  email", "1  order", "1  by.name"):
        t.true(line in done.stderr, done.stderr)

    path = os.path.join(t.dir, "sample")
    with open(path, "w", encoding="utf-8") as f:
        f.write(sample + "no json\n[1]\n")
    done = t.lumnictl("redact-test", "-c", t.conf, "--json", path)
    t.equal(done.returncode, 1, "the exit status")
    t.true(f"{path}:6: " in done.stderr and f"{path}:7: " in done.stderr,
           done.stderr)
    first = json.loads(done.stdout.splitlines()[0])
    t.equal(first, {"line": 1, "events": [
        {"type": "x", "password": "[redacted:password]",
         "to": "[redacted:email]"}], "hits": {"password": 1, "email": 1}},
            "the first line")

    t.configure(redact={"patterns": ["nothing"]})
    done = t.lumnictl("redact-test", "-c", t.conf, stdin=sample)
    t.equal((done.returncode, done.stdout), (2, ""), "a bad configuration")
    t.true('no built-in pattern "nothing"' in done.stderr, done.stderr)
    t.equal(t.lumnictl("redact-test", "--nothing").returncode, 2, "usage")
    t.configure()
    done = t.lumnictl("redact-test", "-c", t.conf, stdin='{"a": 1}')
    t.equal((done.returncode, done.stdout), (0, '{"a":1}\n'), "no rules")


def test_hostile(t):
    """Inputs that would take long, or much memory, take neither."""
    t.upstream()
    daemon = t.lumnid(
        redact=rules(t, patterns=[
            "all", {"name": "slow", "regex": "(a+)+$"},
            {"name": "square", "regex": "[a-z]+[0-9]"}]),
        listen={"http": "127.0.0.1:0"}, runs={"idle": "1h"})
    s = t.stream()
    t.equal(s.ask({"runId": "r", "events": [{"a": 1}], "ack": 0}),
            {"ack": 0}, "the first")
    before = daemon.private_kib()
    size = 4 << 20
    texts = [
        "[" * size, '{"a":' * (size // 5), "{\\" * (size // 2),
        '"' + "\\" * size, "a@" * (size // 2), "a@bb.cc " * (size // 8),
        "eyJaaaaaaaaa." * (size // 13), "4 " * (size // 2),
        "sk-" * (size // 3), "://" * (size // 3), "b" * size,
        "-----BEGIN PRIVATE" * (size // 18), "{'" * (size // 2),
        "a" * 40 + "!",
    ]
    for i, text in enumerate(texts):
        cpu = daemon.cpu_seconds()
        answer = s.ask({"runId": "r", "events": [{"t": text}],
                        "ack": i + 1})
        t.true("ack" in answer, f"{text[:20]}: {answer}")
        took = daemon.cpu_seconds() - cpu
        if os.environ.get("LUMNID_SHOW"):
            print(f"# {text[:20]!r}: {took:.2f} s", flush=True)
        t.true(took < 2 * lumnid_it.SLOW * 3, f"{text[:20]}: {took} s")
    answer = s.ask({"runId": "end", "events": [{"b": 1}], "ack": 99})
    t.equal(answer, {"ack": 99}, "the last")
    if "asan" not in daemon.log() and not os.environ.get("ASAN_OPTIONS"):
        grown = daemon.private_kib() - before
        t.true(grown < 24 * 1024, f"{grown} KiB more than before")


if __name__ == "__main__":
    lumnid_it.main()
