#!/usr/bin/python3
"""Changes that are left while lumnid is down, and the examples that make
changes of pushes, deployments and packages."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys

import lumnid_it
from lumnid_it import SOURCE, Skip, pack, program, wait_for

EXAMPLES = os.path.join(SOURCE, "conf", "examples")


def inbox(t, mode=0o770):
    path = os.path.join(t.dir, "inbox")
    if not os.path.isdir(path):
        os.mkdir(path)
        os.chmod(path, mode)
    return path


def rules(t):
    """What lumnictl takes for lumnid's configuration: its path."""
    path = os.path.join(t.dir, "rules.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write("redact: {keys: [password], patterns: [all]}\n")
    return path


def ctl(t, *argv, status=0, **kw):
    done = t.run(program("lumnictl"), "--socket", t.stream_path, *argv,
                 **{"env": {"LUMNID_CONFIG": rules(t)}, **kw})
    t.equal(done.returncode, status, done.stderr + done.stdout)
    return done


def start(t, **sections):
    return t.lumnid(**lumnid_it.merge({
        "listen": {"inbox": inbox(t), "http": "127.0.0.1:0"}}, sections))


def changes(t, route="changes"):
    return [line["body"] for line in t.each_taken() if line["route"] == route]


def refs(t):
    return [c["ref"] for c in changes(t)]


def wait_refs(t, want):
    wait_for(f"the changes {want}", lambda: len(refs(t)) >= len(want),
             context=lambda: f"{refs(t)}\n" + t.logs())
    t.equal(refs(t), want)


def is_empty(t):
    return not any(os.listdir(os.path.join(inbox(t), d))
                   for d in ("new", "cur", "tmp"))


def drop(t, name, data):
    """As somebody else would: tmp, then rename."""
    os.makedirs(os.path.join(inbox(t), "tmp"), exist_ok=True)
    os.makedirs(os.path.join(inbox(t), "new"), exist_ok=True)
    path = os.path.join(inbox(t), "tmp", name)
    with open(path, "wb") as f:
        f.write(data)
    os.rename(path, os.path.join(inbox(t), "new", name))


def test_left_and_taken(t):
    """Left while lumnid is down, in order; and while it runs."""
    t.upstream()
    where = inbox(t)
    for n in range(40):
        done = ctl(t, "change", "-k", "code", "-r", f"git:{n}",
                   "--spool-dir", where)
        t.true("left the change in" in done.stdout, done.stdout)
    left = sorted(os.listdir(os.path.join(where, "new")))
    st = os.stat(os.path.join(where, "new", left[0]))
    t.equal((len(left), stat.S_IMODE(st.st_mode)), (40, 0o640))
    policy = os.path.join(t.dir, "policy.json")
    with open(policy, "w", encoding="ascii") as f:
        json.dump({"max": 5, "at": "2026-11-23T12:00:00Z"}, f)
    ctl(t, "policy", "--spool-dir", where, policy)
    start(t)
    wait_refs(t, [f"git:{n}" for n in range(40)])
    wait_for("the policy", lambda: changes(t, "policies"))
    t.equal(changes(t, "policies"),
            [{"max": 5, "at": "2026-11-23T12:00:00Z"}])
    # When it happened, not when it was found.
    times = [c["at"] for c in changes(t)]
    t.true(times == sorted(times) and len(times[0]) == 24, str(times))
    # While it runs: the file is seen at once; the socket is asked first.
    at = "2026-11-23T12:00:00.000Z"
    drop(t, "1.msgpack", pack({"change": {"kind": "code", "ref": "git:40",
                                          "at": at}}))
    wait_refs(t, [f"git:{n}" for n in range(41)])
    t.equal(changes(t)[40], {"kind": "code", "ref": "git:40", "at": at})
    done = ctl(t, "change", "-k", "code", "-r", "git:41", "--spool-dir",
               where)
    t.equal(done.stdout, "recorded the change\n")
    wait_refs(t, [f"git:{n}" for n in range(42)])
    t.true(is_empty(t), "nothing is left")
    t.check_books(records=True, accepted=43, delivered=43)
    t.true('lumnid_input_records_accepted_total{input="inbox"} 42' in
           t.daemon.get("/metrics")[1], "counted by input")


def test_large_files(t):
    """More than is read in one turn of the loop: all, in order, also when the
    process is killed on the way."""
    t.upstream()
    for n in range(40):
        drop(t, f"{n:02}.msgpack", pack({"change": {
            "kind": "code", "ref": f"git:{n}", "summary": "x" * 200_000,
            "at": "2026-11-23T12:00:00Z"}}))
    start(t).kill()
    start(t)
    wait_refs(t, [f"git:{n}" for n in range(40)])
    wait_for("the inbox to be empty", lambda: is_empty(t))
    t.check_books(records=True, accepted=40, delivered=40)


def test_without_inbox(t):
    """The status is clear where it cannot be left."""
    t.upstream()
    done = ctl(t, "change", "-k", "code", "-r", "git:1", status=3)
    t.true("is lumnid running" in done.stderr, done.stderr)
    done = ctl(t, "change", "-k", "code", "-r", "git:1", "--spool-dir",
               os.path.join(t.dir, "absent"), status=3)
    t.true("nor left in the inbox" in done.stderr and
           "absent" in done.stderr, done.stderr)
    t.configure()
    # Another kind is passed on with a warning, here too.
    done = ctl(t, "change", "-k", "weather", "-r", "rain", "--spool-dir",
               inbox(t))
    t.true("passed on" in done.stderr, done.stderr)


def test_redacted_on_the_disk(t):
    """The inbox is a disk: what must be redacted never lies there."""
    t.upstream()
    where, absent = inbox(t), os.path.join(t.dir, "absent.yaml")
    secret = "hunter2-0123"
    argv = ("change", "-k", "code", "-r", "git:1", "-s",
            f"by jane@example.org, password='{secret}'", "--spool-dir", where)
    ctl(t, *argv)
    policy = os.path.join(t.dir, "policy.json")
    with open(policy, "w", encoding="ascii") as f:
        json.dump({"password": secret, "max": 5}, f)
    ctl(t, "policy", "--spool-dir", where, "-c", rules(t), policy,
        env={"LUMNID_CONFIG": absent})
    new = os.path.join(where, "new")
    data = b""
    for name in os.listdir(new):
        with open(os.path.join(new, name), "rb") as f:
            data += f.read()
    t.true(secret.encode() not in data and b"jane@" not in data, repr(data))
    # Where the rules are not known, nothing is written; the status tells.
    for env, args, why in (
            ({"LUMNID_CONFIG": absent}, argv, "absent.yaml"),
            (None, (*argv, "--config", policy), "policy.json")):
        done = ctl(t, *args, env=env, status=3)
        t.true("--unredacted" in done.stderr and why in done.stderr,
               done.stderr)
        t.equal(len(os.listdir(new)), 2)
    done = ctl(t, *argv[:5], "--spool-dir", where, "--unredacted",
               "--config", absent)
    t.true("unredacted" in done.stderr, done.stderr)
    # lumnid redacts, too; of what is redacted nothing changes.
    start(t, redact={"keys": ["password"], "patterns": ["all"]})
    wait_refs(t, ["git:1", "git:1"])
    t.equal(changes(t)[0]["summary"],
            "by [redacted:email], password='[redacted:password]'")
    wait_for("the policy", lambda: changes(t, "policies"))
    t.equal(changes(t, "policies")[0]["password"], "[redacted:password]")


def test_foreign_files(t):
    t.upstream()
    good = pack({"change": {"kind": "code", "ref": "git:1"}})
    bad = {
        "a": (b"", "empty"),
        "b": (b"hello", "not one whole message"),
        "c": (good[:-1], "not one whole message"),
        "d": (good + good, "not one whole message"),
        "e": (pack({"runId": "r", "events": []}), "changes and policies"),
        "f": (pack({"change": 5}), "change"),
        "g": (b"\xdb\x7f\xff\xff\xff", "not one whole message"),
    }
    for name, (data, _) in bad.items():
        drop(t, name, data)
    new = os.path.join(inbox(t), "new")
    os.symlink("/etc/passwd", os.path.join(new, "h"))
    os.mkdir(os.path.join(new, "i"))
    os.mkfifo(os.path.join(new, "j"))
    with open(os.path.join(new, "k"), "wb") as f:
        f.truncate(9 << 20)
    drop(t, "z", good)
    for name, why in {"h": "symbolic link", "i": "no regular file",
                      "j": "no regular file", "k": "max_message"}.items():
        bad[name] = (None, why)
    start(t)
    wait_refs(t, ["git:1"])
    aside = os.path.join(inbox(t), "bad")
    wait_for("all to be set aside", lambda: is_empty(t))
    for name, (_, why) in bad.items():
        t.true(os.path.lexists(os.path.join(aside, name)), name)
        with open(os.path.join(aside, name + ".reason"),
                  encoding="utf-8") as f:
            reason = f.read()
        t.true(why in reason, f"{name}: {reason}")
    t.daemon.wait_line("inbox_file_refused")
    t.check_books(records=True, accepted=1, delivered=1)


def test_never_twice(t):
    """SIGKILL at any moment: what was left arrives, each once."""
    # Requests that SIGKILL cut off come again, under the same id.
    t.upstream(dedupe=True)
    want = []
    for round_ in range(8):
        for n in range(12):
            ref = f"git:{round_}-{n}"
            ctl(t, "change", "-q", "-k", "code", "-r", ref, "--spool-dir",
                inbox(t))
            want.append(ref)
        start(t)
        # A little later in each round.
        wait_for("some to be taken", lambda: len(
            os.listdir(os.path.join(inbox(t), "new"))) <= 12 - round_)
        t.daemon.kill()
    start(t)
    wait_for("all", lambda: len(set(refs(t))) == len(want),
             context=lambda: f"{len(set(refs(t)))} of {len(want)}" + t.logs())
    t.equal(refs(t), want)
    wait_for("nothing to be left", lambda: is_empty(t))


def test_crash_before_the_file_is_gone(t):
    """The record is durable, its file is there still: it is not taken again,
    and its file goes."""
    up = t.upstream()
    ctl(t, "change", "-q", "-k", "code", "-r", "git:1", "--spool-dir",
        inbox(t))
    (name,) = os.listdir(os.path.join(inbox(t), "new"))
    with open(os.path.join(inbox(t), "new", name), "rb") as f:
        data = f.read()
    up.kill()                       # so that it waits in the spool
    start(t)
    wait_for("it to be taken", lambda: t.daemon.status()["records"][
        "accepted"] == 1 and is_empty(t))
    t.daemon.kill()
    with open(os.path.join(inbox(t), "cur", name), "wb") as f:
        f.write(data)
    # One that was begun with, and not taken.
    other = pack({"change": {"kind": "code", "ref": "git:2"}})
    with open(os.path.join(inbox(t), "cur", name + "2"), "wb") as f:
        f.write(other)
    start(t)
    wait_for("the files to be gone", lambda: is_empty(t), context=t.logs)
    t.equal(t.daemon.status()["records"]["accepted"], 2)
    t.upstream()
    wait_refs(t, ["git:1", "git:2"])
    t.check_books(records=True, accepted=2, delivered=2)


def test_delivered_and_back(t):
    """The power went before the file's removal was on the disk, and after its
    record was delivered: it was taken a second time."""
    t.upstream(dedupe=True)
    ctl(t, "change", "-q", "-k", "code", "-r", "git:1", "--spool-dir",
        inbox(t))
    (name,) = os.listdir(os.path.join(inbox(t), "new"))
    with open(os.path.join(inbox(t), "new", name), "rb") as f:
        data = f.read()
    start(t)
    wait_refs(t, ["git:1"])
    wait_for("the file to be gone", lambda: is_empty(t))
    t.daemon.kill()
    with open(os.path.join(inbox(t), "cur", name), "wb") as f:
        f.write(data)
    start(t)
    drop(t, "z", pack({"change": {"kind": "code", "ref": "git:2"}}))
    wait_refs(t, ["git:1", "git:2"])
    wait_for("the files to be gone", lambda: is_empty(t))
    t.check_books(records=True, accepted=2, delivered=2)


def test_many_and_elsewhere(t):
    """More than one list of names, in order; and an inbox that is removed and
    made anew is the one that counts."""
    t.upstream()
    where = inbox(t)
    os.makedirs(os.path.join(where, "new"))
    count = 1200
    for n in reversed(range(count)):
        with open(os.path.join(where, "new", f"{n:06}"), "wb") as f:
            f.write(pack({"change": {"kind": "code", "ref": f"git:{n}"}}))
    start(t)
    want = [f"git:{n}" for n in range(count)]
    wait_for("all", lambda: len(refs(t)) >= count, seconds=60, step=0.2)
    t.equal(refs(t), want)
    wait_for("the files to be gone", lambda: is_empty(t))

    def gone():     # lumnid may be making its directories there
        shutil.rmtree(where, ignore_errors=True)
        return not os.path.exists(where)
    wait_for("the inbox to be gone", gone)
    t.daemon.wait_line("inbox_failed")
    inbox(t)
    drop(t, "a", pack({"change": {"kind": "code", "ref": "git:new"}}))
    wait_refs(t, want + ["git:new"])
    os.rename(where, where + ".old")
    drop(t, "b", pack({"change": {"kind": "code", "ref": "git:newer"}}))
    wait_refs(t, want + ["git:new", "git:newer"])


def test_file_that_stays(t):
    """A file that could not be removed was looked for in the spool again each
    time; when its record was delivered, and gone from there, it was taken as a
    new one."""
    up = t.upstream()
    ctl(t, "change", "-q", "-k", "code", "-r", "git:1", "--spool-dir",
        inbox(t))
    (name,) = os.listdir(os.path.join(inbox(t), "new"))
    up.kill()
    start(t)
    wait_for("it to be taken", lambda: t.daemon.status()["records"][
        "accepted"] == 1 and is_empty(t))
    t.daemon.kill()
    stays = os.path.join(inbox(t), "cur", name)
    os.mkdir(stays)                 # what unlink() cannot remove
    t.upstream()
    start(t)
    t.daemon.wait_line("inbox_failed")
    wait_refs(t, ["git:1"])
    drop(t, "z", pack({"change": {"kind": "code", "ref": "git:2"}}))
    wait_refs(t, ["git:1", "git:2"])
    t.true(os.path.isdir(stays), "it is not looked at again")
    t.check_books(records=True, accepted=2, delivered=2)


# prctl(PR_SET_SECCOMP): chmod, fchmod and fchmodat that set the group bit
# fail, as under systemd's RestrictSUIDSGID=.
FENCED = """
import ctypes, os, struct, sys
def op(code, k, jt=0, jf=0):
    return struct.pack("=HBBI", code, jt, jf, k)
prog = op(0x20, 0)
for nr, arg in ((90, 24), (91, 24), (268, 32)):
    prog += op(0x15, nr, 0, 4) + op(0x20, arg) + op(0x45, 0o2000, 0, 1)
    prog += op(0x06, 0x50001) + op(0x20, 0)
prog += op(0x06, 0x7fff0000)
code = ctypes.create_string_buffer(prog)
fprog = struct.pack("HxxxxxxP", len(prog) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_modes(t):
    """An administrator's inbox for a group: what lumnid makes in it is for
    that group, too. In the unit's fences it was for nobody else."""
    if os.uname().machine != "x86_64":
        raise Skip("the numbers of system calls are x86_64's")
    path = inbox(t, 0o2770)
    t.upstream()
    t.lumnid(listen={"inbox": path},
             prefix=(sys.executable, "-c", FENCED))

    def mode(name):
        return stat.S_IMODE(os.stat(os.path.join(path, name)).st_mode)
    t.equal({d: mode(d) for d in ("tmp", "new")},
            {"tmp": 0o2770, "new": 0o2770})
    t.equal({d: mode(d) & 0o777 for d in ("cur", "bad")},
            {"cur": 0o700, "bad": 0o700})


def test_open_to_all(t):
    t.upstream()
    inbox(t, 0o777)
    drop(t, "a", pack({"change": {"kind": "code", "ref": "git:1"}}))
    start(t)
    t.daemon.wait_line("inbox_failed.*chmod o-w")
    t.equal(t.stream().ask({"runId": "r", "events": [], "ack": 1}),
            {"ack": 1})
    t.equal(os.listdir(os.path.join(inbox(t), "new")), ["a"])


# --- the examples -----------------------------------------------------------

def env(t, **more):
    return {"LUMNICTL": f"{program('lumnictl')} --socket {t.stream_path}",
            "LUMNI_INBOX": inbox(t), "LUMNID_CONFIG": rules(t),
            "HOME": t.dir,
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org", **more}


def call(t, *argv, **kw):
    done = t.run(*argv, env=env(t), **kw)
    t.equal(done.returncode, 0, f"{argv}: {done.stdout}{done.stderr}")
    return done


def test_git_hook(t):
    if not shutil.which("git"):
        raise Skip("git is not installed")
    t.upstream()
    start(t)
    bare, work = os.path.join(t.dir, "r.git"), os.path.join(t.dir, "work")
    call(t, "git", "init", "-q", "--bare", bare)
    shutil.copy(os.path.join(EXAMPLES, "git-post-receive"),
                os.path.join(bare, "hooks", "post-receive"))
    call(t, "git", "init", "-q", "-b", "main", work)

    def commit(text, branch):
        call(t, "git", "-C", work, "commit", "-q", "--allow-empty", "-m",
             text)
        call(t, "git", "-C", work, "push", "-q", bare, "HEAD:" + branch)
        return call(t, "git", "-C", work, "rev-parse", "--short",
                    "HEAD").stdout.strip()
    first = commit("Refunds 'n \"quotes\"", "main")
    commit("not deployed", "other")
    call(t, "git", "-C", work, "push", "-q", bare, ":other")
    t.daemon.stop()                  # and while lumnid is down
    last = commit("A second one", "main")
    start(t)
    wait_refs(t, ["git:" + first, "git:" + last])
    t.equal([(c["kind"], c["summary"]) for c in changes(t)],
            [("code", "Refunds 'n \"quotes\" (Ada)"),
             ("code", "A second one (Ada)")])


def test_actions_step(t):
    t.upstream()
    start(t)
    with open(os.path.join(EXAMPLES, "github-actions.yaml"),
              encoding="utf-8") as f:
        text = f.read()
    m = re.search(r"^  run: \|\n((?:    .*\n)+)", text, re.M)
    script = os.path.join(t.dir, "step.sh")
    with open(script, "w", encoding="utf-8") as f:
        f.write(re.sub(r"(?m)^    ", "", m.group(1)))
    bin_ = os.path.join(t.dir, "bin")
    os.mkdir(bin_)
    with open(os.path.join(bin_, "lumnictl"), "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\nexec {env(t)["LUMNICTL"]} "$@"\n')
    os.chmod(os.path.join(bin_, "lumnictl"), 0o755)
    # As the runner calls it.
    done = t.run("bash", "-e", script, env={
        **env(t), "PATH": bin_ + ":" + os.environ["PATH"],
        "GITHUB_SHA": "9f2c1a7d0" + "0" * 31, "GITHUB_REF_NAME": "main",
        "GITHUB_REPOSITORY": "acme/agent", "GITHUB_ACTOR": "ada",
        "GITHUB_RUN_ID": "42"})
    t.equal(done.returncode, 0, done.stderr)
    wait_refs(t, ["git:9f2c1a7d0"])
    t.equal(changes(t)[0]["summary"], "acme/agent main by ada, run 42")


def test_apt_hook(t):
    """Fed as apt feeds it."""
    t.upstream()
    start(t)
    told = """VERSION 3
APT::Architecture=amd64
DPkg::Pre-Install-Pkgs::=x

openssl 3.0.14-1 amd64 foreign < 3.0.15-1 amd64 foreign /var/cache/o.deb
jq - - none < 1.6-2 amd64 foreign /var/cache/j.deb
jq - - none < 1.6-2 amd64 foreign **CONFIGURE**
nano 7.2-1 amd64 none > - - none **REMOVE**
"""
    call(t, os.path.join(EXAMPLES, "apt-hook"), stdin=told)
    wait_refs(t, ["deb:openssl=3.0.15-1", "deb:jq=1.6-2", "deb:nano"])
    t.equal([(c["kind"], c["summary"]) for c in changes(t)],
            [("runtime", "openssl 3.0.14-1 -> 3.0.15-1"),
             ("runtime", "jq 1.6-2 installed"),
             ("runtime", "nano 7.2-1 removed")])


def test_apt_itself(t):
    """A real apt-get, with a root of its own."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Skip("apt is not here")
    if os.geteuid() != 0:
        raise Skip("dpkg needs root")
    t.upstream()
    start(t)
    root = os.path.join(t.dir, "root")
    for d in ("root/var/lib/dpkg/info", "root/var/lib/dpkg/updates",
              "state/lists/partial", "cache/archives/partial", "etc/empty",
              "log"):
        os.makedirs(os.path.join(t.dir, d))
    with open(os.path.join(root, "var/lib/dpkg/status"), "w",
              encoding="ascii"):
        pass
    conf = os.path.join(t.dir, "apt.conf")
    hook = os.path.join(EXAMPLES, "apt-hook")
    with open(os.path.join(EXAMPLES, "apt-hook.conf"),
              encoding="ascii") as f:
        text = f.read().replace("/usr/local/lib/lumnid-apt-hook", hook)
    with open(conf, "w", encoding="ascii") as f:
        f.write(text + f"""
Dir::State "{t.dir}/state"; Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Cache "{t.dir}/cache"; Dir::Etc "{t.dir}/etc"; Dir::Log "{t.dir}/log";
Dir::Etc::parts "{t.dir}/etc/empty"; APT::Sandbox::User "root";
Debug::NoLocking "true"; DPkg::Options {{ "--root={root}";
"--force-not-root"; "--force-bad-path"; "--log={t.dir}/log/dpkg.log"; }};
""")
    for version in ("1.0", "2.0"):
        build = os.path.join(t.dir, "build" + version)
        os.makedirs(build + "/DEBIAN")
        with open(build + "/DEBIAN/control", "w", encoding="ascii") as f:
            f.write(f"Package: lumnid-test-tiny\nVersion: {version}\n"
                    "Architecture: all\nMaintainer: nobody <n@example.org>\n"
                    "Description: nothing\n")
        deb = os.path.join(t.dir, f"tiny_{version}.deb")
        call(t, "dpkg-deb", "--root-owner-group", "-b", build, deb)
        done = subprocess.run(
            ["apt-get", "-y", "-q", "install", deb], capture_output=True,
            text=True, check=False, cwd=t.dir, stdin=subprocess.DEVNULL,
            env={**os.environ, **env(t), "APT_CONFIG": conf,
                 "DEBIAN_FRONTEND": "noninteractive"})
        t.equal(done.returncode, 0, done.stdout + done.stderr)
    wait_refs(t, ["deb:lumnid-test-tiny=1.0", "deb:lumnid-test-tiny=2.0"])
    t.equal(changes(t)[1]["summary"], "lumnid-test-tiny 1.0 -> 2.0")


if __name__ == "__main__":
    lumnid_it.main()
