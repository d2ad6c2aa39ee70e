#!/usr/bin/python3
"""What the README shows of sending events is in clients/*/examples, word for
word, and each of these examples is run against lumnid."""

import glob
import os
import re
import shutil

import lumnid_it
from lumnid_it import BUILD, SOURCE, Failure, Skip

CLIENTS = os.path.join(SOURCE, "clients")
FLAGS = os.environ.get("LUMNID_SAN_CFLAGS", "").split()


def words(text):
    """Without its indentation, which differs."""
    return re.sub(r"\s+", " ", text).strip()


def test_readme_shows_the_examples(t):
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
        section = re.search(r"^Send events\n-+\n(.*?)^\S[^\n]*\n---", f.read(),
                            re.M | re.S).group(1)
    files = glob.glob(os.path.join(CLIENTS, "*", "examples", "send.*")) + \
        [os.path.join(CLIENTS, "shell", "examples", "curl.sh")]
    examples = {}
    for path in files:
        with open(path, encoding="utf-8") as f:
            examples[os.path.relpath(path, CLIENTS)] = words(f.read())
    blocks, shown = [], set()
    for line in section.split("\n"):
        if line.startswith("    "):
            if blocks and blocks[-1] is not None:
                blocks[-1] += line + "\n"
            else:
                blocks.append(line + "\n")
        else:
            blocks.append(None)
    # A blank line within a program parts it; its halves are looked for.
    for block in filter(None, blocks):
        found = [n for n, text in examples.items() if words(block) in text]
        if not found:
            raise Failure(f"in no example: {block}")
        shown.update(found)
    t.equal(shown, set(examples), "examples that are shown")


def start(t, **listen):
    up = t.upstream()
    t.lumnid(runs={"idle": "500ms"}, listen=listen)
    return up


def arrives(t, up, argv, **env):
    """Run an example; return the events of the run that comes of it."""
    done = t.run(*argv, env={"LUMNID_ADDRESS": "unix://" + t.stream_path,
                             **env}, seconds=60)
    t.equal((done.returncode, done.stderr), (0, ""), str(argv))
    up.wait_sums(batches=1)
    runs = t.runs()
    t.equal(list(runs), ["run_8842"])
    return runs["run_8842"]


REFUND = ("tool_call", "issue_refund", "failed", "502 Bad Gateway")


def check(t, events, types, refund=True):
    t.equal([e["type"] for e in events], types)
    for e in events:
        if refund and e["type"] == "tool_call":
            t.equal((e["type"], e["name"], e["status"], e["error"]), REFUND)
        if e["type"] == "model_output":
            t.equal(e["text"], "Your refund has been processed.")


def test_python(t):
    up = start(t)
    path = os.path.join(CLIENTS, "python")
    check(t, arrives(t, up, ["/usr/bin/python3", "-B", os.path.join(
        path, "examples", "send.py")], PYTHONPATH=path),
        ["run_start", "tool_call", "model_output", "run_end"])


def test_node(t):
    if not shutil.which("node"):
        raise Skip("node is not installed")
    up = start(t)
    source = os.path.join(CLIENTS, "node")
    shutil.copytree(source, os.path.join(t.dir, "node_modules", "lumni"),
                    ignore=shutil.ignore_patterns("node_modules", "test"))
    path = os.path.join(t.dir, "send.mjs")
    shutil.copy(os.path.join(source, "examples", "send.mjs"), path)
    check(t, arrives(t, up, ["node", path]),
          ["run_start", "tool_call", "model_output", "run_end"])


def test_c(t):
    up = start(t)
    out = os.path.join(t.dir, "send")
    cc = os.environ.get("LUMNID_CC", "cc").split()
    path = os.path.join(CLIENTS, "c")
    done = t.run(*cc, *FLAGS, "-I", path,
                 os.path.join(path, "examples", "send.c"), os.path.join(
                     BUILD, "clients", "c", "liblumni.a"), "-o", out,
                 "-lpthread", seconds=120)
    t.equal(done.returncode, 0, done.stderr)
    check(t, arrives(t, up, [out]), ["tool_call", "run_end"])


def test_shell(t):
    up = start(t)
    lumnid_it.program("lumnictl")
    events = arrives(t, up, [os.path.join(
        CLIENTS, "shell", "examples", "send.sh")],
        PATH=BUILD + ":" + os.environ["PATH"])
    check(t, events, ["tool_call", "model_output"])


def test_curl(t):
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    up = start(t, http="127.0.0.1:0")
    port = t.daemon.wait_line(r"listening input=http .*:(\d+)")[0].group(1)
    with open(os.path.join(CLIENTS, "shell", "examples", "curl.sh"),
              encoding="utf-8") as f:
        text = f.read().replace("127.0.0.1:8842", "127.0.0.1:" + port)
    check(t, arrives(t, up, ["sh", "-c", text]),
          ["model_output", "run_end"])


if __name__ == "__main__":
    lumnid_it.main()
