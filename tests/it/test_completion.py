#!/usr/bin/python3
"""The completions for bash and zsh, in the real shells: what they offer, what
they know of a running lumnid, and that no command or option is forgotten."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import lumnid_it
from lumnid_it import SOURCE, Failure, Skip, deadline, program

BASH = os.path.join(SOURCE, "conf", "completions", "bash", "lumnictl")
ZSH = os.path.join(SOURCE, "conf", "completions", "zsh")

ASK = r'''
source "$1"; shift
complete -p lumnictl >/dev/null || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
_lumnictl lumnictl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
'''


def environment(t):
    """lumnictl by its name, and of lumnid only the test's."""
    where = os.path.join(t.dir, "bin")
    if not os.path.exists(where):
        os.mkdir(where)
        os.symlink(program("lumnictl"), os.path.join(where, "lumnictl"))
    return {"PATH": where + ":/usr/bin:/bin", "LC_ALL": "C.UTF-8",
            "LUMNID_CONTROL": os.path.join(t.dir, "control.sock"),
            "HOME": t.dir, "TERM": "xterm"}


def bash(t, *words):
    done = t.run("bash", "--norc", "--noprofile", "-c", ASK, "ask", BASH,
                 "lumnictl", *words, env=environment(t))
    t.equal(done.returncode, 0, done.stderr)
    t.equal(done.stderr, "", words)
    return done.stdout.split()


def start(t):
    t.upstream(script="marker=poison status=422\n")
    t.lumnid(runs={"idle": "5min"})
    s = t.stream()
    for run in ("deploy_1", "deploy_2", "other"):
        s.ask({"runId": run, "events": [{"n": 1}], "ack": 1})


def commands(t):
    return re.findall(r"(?m)^  ([a-z-]+) +\S", t.run(
        program("lumnictl"), "--help").stdout.split("Options")[0])


def options(t, command):
    text = t.run(program("lumnictl"), command, "--help").stdout
    return set(re.findall(r"(?m)^ +(?:-\w, )?(--[a-z-]+)", text))


def test_bash(t):
    start(t)
    t.equal(bash(t, "p"), ["pause", "policy"])
    t.equal(bash(t, "spool", ""), ["export", "ls", "show"])
    t.equal(bash(t, "--timeout", "1s", "log-level", "d"), ["debug"])
    t.equal(bash(t, "runs", "--by", ""), ["age", "recent", "events", "bytes"])
    t.equal(bash(t, "run", "dep"), ["deploy_1", "deploy_2"])
    t.equal(bash(t, "tail", "--run", "o"), ["other"])
    t.equal(bash(t, "change", "-k", "p"), ["policy"])
    t.equal(bash(t, "flush", "--wait", "1"), ["1s", "10s", "1min", "10min"])
    t.lumnictl("pause", env=environment(t))
    t.lumnictl("flush", env=environment(t))
    batches = bash(t, "spool", "show", "")
    t.equal(len(batches), 3, batches)
    t.daemon.stop()
    t.equal(bash(t, "run", "dep"), [], "without a lumnid")


def test_bash_other_socket(t):
    """It asks the lumnid that the command line names."""
    start(t)
    env = dict(environment(t), LUMNID_CONTROL="/nonexistent")
    done = t.run("bash", "--norc", "--noprofile", "-c", ASK, "ask", BASH,
                 "lumnictl", "--socket", t.stream_path, "run", "dep", env=env)
    t.equal(done.stdout.split(), ["deploy_1", "deploy_2"], done.stderr)


def test_bash_whole(t):
    """Every command and every long option is offered."""
    names = commands(t)
    t.equal(sorted(bash(t, "")), sorted([*names, "help"]))
    for name in names:
        offered = set(bash(t, name, "--"))
        t.equal(offered ^ options(t, name), set(), name)


def test_install(t):
    """make install puts them where both shells look."""
    to = os.path.join(t.dir, "dest")
    done = t.run("make", "-s", "-C", lumnid_it.BUILD, "DESTDIR=" + to,
                 "install-dist_bashcompletionDATA",
                 "install-dist_zshcompletionDATA",
                 env={"MAKEFLAGS": "", "MFLAGS": "", "MAKELEVEL": ""})
    t.equal(done.returncode, 0, done.stderr)
    found = {os.path.join(where, name) for where, _, names in os.walk(to)
             for name in names}
    for tail, source in (("/share/bash-completion/completions/lumnictl", BASH),
                         ("/zsh/site-functions/_lumnictl",
                          os.path.join(ZSH, "_lumnictl"))):
        path = [x for x in found if x.endswith(tail)]
        t.equal(len(path), 1, found)
        with open(path[0], "rb") as a, open(source, "rb") as b:
            t.equal(a.read(), b.read(), tail)


# What zsh writes as it begins to read keys. Before that the terminal is in line
# mode, in which ^D and ^U are the kernel's.
READS = r"[^\0]*?\x1b\[\?2004h"


class Zsh:
    """An interactive zsh with our completion, in a pty."""

    def __init__(self, t):
        if shutil.which("zsh") is None:
            raise Skip("zsh is not installed")
        self.t = t
        self.text = ""
        self.master, slave = pty.openpty()
        self.p = subprocess.Popen(
            ["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave,
            env=environment(t), cwd=t.dir, start_new_session=True)
        os.close(slave)
        t.files.callback(self.close)
        self.run("PS1='%%%% '; unsetopt zle_bracketed_paste prompt_sp "
                 "prompt_cr auto_list; zle_highlight=(none)")
        self.run(f"fpath=({ZSH} $fpath); autoload -Uz compinit")
        self.run("compinit -D -u; zstyle ':completion:*' verbose no")
        self.run("zstyle ':completion:*' list-separator '  '; LISTMAX=1000")

    def write(self, keys):
        os.write(self.master, keys.encode())

    def wait(self, what, after, seconds=30):
        end = deadline(seconds)
        while True:
            m = re.compile(what).search(self.text, after)
            if m:
                return m.end()
            if time.monotonic() > end:
                raise Failure(f"zsh shows no {what!r}: {self.text!r}")
            if select.select([self.master], [], [], 0.05)[0]:
                self.text += os.read(self.master, 65536).decode("utf-8",
                                                                "replace")

    def run(self, command):
        """Run a command; returns when it has ended."""
        mark = f"done{len(self.text)}"
        at = len(self.text)
        self.write(f"{command}; echo {mark[:4]}''{mark[4:]}\r")
        self.wait(mark + r"\r\n" + READS, at)

    def line(self, keys):
        """Type keys; the command line after a TAB, as a widget shows it."""
        at = len(self.text)
        self.run("show() { print -r -- \"<<$BUFFER>>\"; BUFFER=; }; "
                 "zle -N show; bindkey '^X' show")
        at = len(self.text)
        self.write(keys + "\t")
        self.write("\x18")
        end = self.wait(r"<<[^\n]*>>", at)
        return re.findall(r"<<(.*)>>", self.text[at:end])[-1].rstrip()

    def offers(self, keys):
        """What ^D lists behind these keys."""
        at = len(self.text)
        self.write(keys + "\x04")
        self.write("\x15echo ''listed\r")
        end = self.wait(r"(?<!')listed\r\n" + READS, at)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text[at:end])

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        os.close(self.master)


def test_zsh(t):
    start(t)
    z = Zsh(t)
    t.equal(z.line("lumnictl rel"), "lumnictl reload")
    t.equal(z.line("lumnictl spool ex"), "lumnictl spool export")
    t.equal(z.line("lumnictl log-level w"), "lumnictl log-level warn")
    t.equal(z.line("lumnictl run oth"), "lumnictl run other")
    t.equal(z.line("lumnictl flush dep"), "lumnictl flush deploy_")
    t.equal(z.line("lumnictl tail --run oth"), "lumnictl tail --run other")
    t.equal(z.line("lumnictl runs --by rec"), "lumnictl runs --by recent")
    t.equal(z.line(f"lumnictl --socket {t.stream_path} run oth"),
            f"lumnictl --socket {t.stream_path} run other")


def test_zsh_whole(t):
    """Every command and every long option is offered."""
    z = Zsh(t)
    names = commands(t)
    shown = z.offers("lumnictl ")
    for name in names:
        t.true(re.search(rf"\b{name}\b", shown), (name, shown))
    for name in names:
        shown = z.offers(f"lumnictl {name} --")
        for option in options(t, name):
            t.true(option in shown, (name, option, shown))


if __name__ == "__main__":
    lumnid_it.main()
