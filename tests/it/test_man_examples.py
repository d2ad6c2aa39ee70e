#!/usr/bin/python3
"""Every literal block of the man pages, and what the README shows of
configuring, is run as it stands. The EXAMPLES of lumnictl(1) are in
test_control.py, those of sending events in test_readme.py."""

import glob
import grp
import json
import os
import re
import shlex
import shutil

import msgpack

import lumnid_it
from lumnid_it import BUILD, SOURCE, Failure, Skip


def literals(page, inside):
    """The literal blocks of the section EXAMPLES, or those outside of it, as
    lists of lines."""
    with open(os.path.join(SOURCE, "doc", page), encoding="utf-8") as f:
        parts = re.split(r"^(?=\.Sh )", f.read(), flags=re.M)
    return [[x.replace("\\-", "-").replace("\\e", "\\")
             for x in b.rstrip("\n").split("\n")]
            for part in parts
            if part.startswith(".Sh EXAMPLES\n") == inside
            for b in re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", part,
                                re.M | re.S)]


def examples(page):
    blocks = literals(page, True)
    if not blocks:
        raise Failure(f"{page} has no examples")
    return blocks


# Page -> how many literal blocks the tests here run that stand outside of
# EXAMPLES. Another one needs a test, too.
OUTSIDE = {"lumnid.yaml.5": 4, "lumnictl.1": 2, "lumni-events.7": 1}
# All blocks in EXAMPLES of these are run, here or in test_control.py.
INSIDE = {"lumnid.8", "lumnid.yaml.5", "lumnid-protocol.7",
          "lumnid-metrics.7", "lumnictl.1"}


def test_no_example_is_left_out(t):
    """Each page is known, and so is each block; each part of the README that
    shows something to type."""
    pages = [os.path.basename(p) for p in
             glob.glob(os.path.join(SOURCE, "doc", "*.[1578]"))]
    t.true(len(pages) >= 6, pages)
    for page in pages:
        t.equal(len(literals(page, False)), OUTSIDE.get(page, 0),
                f"blocks of {page} outside of EXAMPLES that are run")
        t.equal(bool(literals(page, True)), page in INSIDE,
                f"EXAMPLES of {page}")
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
        parts = re.split(r"^(\S[^\n]*)\n[-=]+\n", f.read(), flags=re.M)
    shows = {name: re.findall(r"^    (\S.*)", text, re.M) for name, text in
             zip(parts[1::2], parts[2::2])}
    # "lumnid" and "Install" are what scripts/test itself does; the last is a
    # list of files.
    t.equal([k for k, v in shows.items() if v],
            ["lumnid", "Install", "Configure", "Send events",
             "Where to look further"], "parts of the README")
    for line in shows["lumnid"] + shows["Install"][:1]:
        name = line.split()[0]
        if name.startswith("scripts/"):
            t.true(os.access(os.path.join(SOURCE, name), os.X_OK), name)
    for line in shows["Where to look further"]:
        for name in re.findall(r"^(?:src|doc|conf|clients|tests)/\S*[^\s,]",
                               line):
            t.true(os.path.exists(os.path.join(SOURCE, name)), name)


def test_lumnid_8(t):
    """Each command ends well; what the page shows of its output comes."""
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    t.upstream()
    t.lumnid(listen={"http": "127.0.0.1:0"})
    port = t.daemon.wait_line(r"listening input=http .*:(\d+)")[0].group(1)
    ran = 0
    for block in examples("lumnid.8"):
        shown, out = [], ""
        for line in [*block, "$ true"]:
            if not line.startswith("$ "):
                shown.append(line)
                continue
            for want in shown:
                t.true(want in out.split("\n"), f"{want} in {out}")
            shown = []
            done = t.run("sh", "-c", line[2:].replace(":8842", ":" + port),
                         env={"PATH": BUILD + ":" + os.environ["PATH"],
                              "LUMNI_API_KEY": lumnid_it.KEY,
                              "LUMNID_ADDRESS": "unix://" + t.stream_path})
            t.equal((done.returncode, done.stderr), (0, ""), line)
            out = done.stdout
            ran += 1
    t.true(ran >= 5, f"{ran} commands")


def check_config(t, text):
    """Is it a good configuration? The group has to be one of this host."""
    group = grp.getgrgid(os.getgid()).gr_name
    path = os.path.join(t.dir, "example.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(re.sub(r"(group: )\S+", r"\1" + group, text) + "\n")
    done = t.run(lumnid_it.program("lumnid"), "-c", path, "--check-config")
    t.equal((done.returncode, done.stdout), (0, path + ": ok\n"), done.stderr)


def test_lumnid_yaml_5(t):
    for block in examples("lumnid.yaml.5"):
        check_config(t, "\n".join(block))
    whole, idle, fault, redact = ["\n".join(b) for b in
                                  literals("lumnid.yaml.5", False)]
    check_config(t, whole)
    check_config(t, whole + "\n" + idle)
    key = os.path.join(t.dir, "redact_key")
    with open(key, "w", encoding="ascii") as f:
        f.write("0123456789abcdef0123456789abcdef\n")
    os.chmod(key, 0o600)
    check_config(t, whole + "\n" + redact.replace("/etc/lumnid/redact_key",
                                                  key))
    # The fault that the page shows, on its line 6.
    path = os.path.join(t.dir, "fault.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(whole + "\n\n" + idle.replace("idle", "idel") + "\n")
    done = t.run(lumnid_it.program("lumnid"), "-c", path, "--check-config")
    t.equal(done.returncode, 2, done.stderr)
    t.equal(done.stderr.strip(), "lumnid: " + fault.replace(
        "/etc/lumnid/lumnid.yaml", path))


def test_lumnictl_1(t):
    """What may stand in a line of a file, and what is said of bad ones."""
    t.upstream()
    t.lumnid()
    good, bad = literals("lumnictl.1", False)
    path = os.path.join(t.dir, "steps.jsonl")

    def send(lines):
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(x + "\n" for x in lines))
        return t.lumnictl("--socket", t.stream_path, "send", "steps.jsonl")
    done = send(good)
    t.equal((done.returncode, done.stdout),
            (0, "acknowledged 3 events of 1 run\n"), done.stderr)
    done = send(["", good[0], '{"runId": "r", "n": 01}'])
    t.true(re.match(re.sub(r":18:", r":\\d+:", re.escape(bad[0]).split(
        r"\ a\ bad")[0]), done.stderr), done.stderr)
    t.daemon.stop()
    t.lumnid(storage={"free_min": "1TiB"})
    t.daemon.wait_line("storage_full")
    done = send([""] * 8 + [good[0]])
    t.equal(done.returncode, 1)
    t.true(re.fullmatch(re.sub(r"\d{5,}", r"\\d+", re.escape(bad[1])) + "\n",
                        done.stderr), done.stderr)


def test_lumni_events_7(t):
    up = t.upstream()
    t.lumnid()
    body = json.loads("\n".join(literals("lumni-events.7", False)[0]))
    done = t.lumnictl("--socket", t.stream_path, "send", "--end",
                      stdin=json.dumps(body) + "\n")
    t.equal(done.returncode, 0, done.stderr)
    up.wait_sums(events=len(body["events"]))
    got = t.taken()[0]["body"]
    for e in got["events"]:
        del e["at"]
    t.equal(got, body)


def test_the_readme_configures(t):
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
        section = re.search(r"^Configure\n-+\n(.*?)^\S[^\n]*\n---", f.read(),
                            re.M | re.S).group(1)
    blocks = [b for b in re.split(r"\n\n", section) if b.startswith("    ")]
    text = "\n".join(x[4:] for x in blocks[0].split("\n"))
    check_config(t, text)
    # Its commands, with its key and its file in a directory of the test's.
    key = os.path.join(t.dir, "key")
    with open(key, "w", encoding="ascii") as f:
        f.write(lumnid_it.KEY)
    conf = os.path.join(t.dir, "lumnid.yaml")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(text.replace("/etc/lumnid/key", key) + "\n")
    commands = [shlex.split(x) for b in blocks[1:] for x in b.split("\n")]
    t.equal([c[0] for c in commands], ["chmod", "lumnid", "lumnid"])
    for c in commands[:2]:
        if c[0] == "lumnid":
            c = [lumnid_it.program("lumnid"), "-c", conf, *c[1:]]
        done = t.run(*[x.replace("/etc/lumnid/key", key) for x in c])
        t.equal(done.returncode, 0, done.stderr)
    t.equal(os.stat(key).st_mode & 0o777, 0o600, "the key's mode")
    done = t.run(lumnid_it.program("lumnid"), "-c", conf, "--print-config")
    t.true("https://lumni.example" in done.stdout, done.stdout)


def hexbytes(block):
    """The bytes at the beginning of each line."""
    return b"".join(bytes.fromhex(re.match(
        r"((?:[0-9a-f]{2} ?)+)(?: |$)", x).group(1)) for x in block)


def test_lumnid_protocol_7(t):
    """The bytes are sent as they are drawn; the answers and the body are
    those of the page."""
    up = t.upstream()
    t.lumnid()
    message, answer, body, bad = examples("lumnid-protocol.7")
    s = t.stream()
    s.sock.sendall(hexbytes(message))
    want = hexbytes(answer)
    got = b""
    while len(got) < len(want):
        data = s.sock.recv(100)
        t.true(data, "the connection was closed")
        got += data
    t.equal(got, want)
    up.wait_sums(events=1)
    got = t.taken()[0]["body"]
    want = json.loads("\n".join(body))
    t.equal(list(got["events"][0]), list(want["events"][0]), "keys")
    t.true(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                        got["events"][0]["at"]), got)
    got["events"][0]["at"] = want["events"][0]["at"]
    t.equal(got, want, "the body")
    sent, *answer = bad
    s.sock.sendall(msgpack.packb(json.loads(sent)))
    t.equal(s.answer(), json.loads("\n".join(answer)))


def test_lumnid_metrics_7(t):
    """Prometheus takes each expression, of metrics that are there."""
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed (package prometheus)")
    t.upstream()
    t.lumnid(listen={"http": "127.0.0.1:0"})
    text = t.daemon.get("/metrics")[1]
    exprs = [x for b in examples("lumnid-metrics.7") for x in b]
    path = os.path.join(t.dir, "rules.yml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"groups": [{"name": "g", "rules": [
            {"alert": f"A{i}", "expr": x} for i, x in enumerate(exprs)]}]}, f)
    done = t.run("promtool", "check", "rules", path, seconds=60)
    t.equal(done.returncode, 0, done.stdout + done.stderr)
    for x in exprs:
        for name in re.findall(r"\blumnid_\w+", x):
            t.true(f"# TYPE {name} " in text, name)


if __name__ == "__main__":
    lumnid_it.main()
