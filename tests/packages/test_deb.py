"""The deb's life in booted systems of Debian 12 and 13: installed without a
key, then with one, upgraded under load, downgraded, removed, installed again
and purged; with agents that may send and such that may not."""

import json
import os
import re
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
from pkg import lumnid_it  # noqa: E402
from lumnid_it import Failure, wait_for  # noqa: E402

import msgpack  # noqa: E402

SOCKET = "/run/lumnid/lumnid.sock"
UDP = ("127.0.0.1", 8842)
CONF = "/etc/lumnid/lumnid.yaml"


# --- agents, run in a child in the machine; see Machine.as_user() --------------

def send_one(message, path=SOCKET):
    """Send a message that asks for an ack; the answer as text."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    s.sendall(msgpack.packb(message))
    unpacker = msgpack.Unpacker(raw=False)
    while True:
        data = s.recv(4096)
        if not data:
            return "closed"
        unpacker.feed(data)
        for answer in unpacker:
            return json.dumps(answer)


def stopped(fd):
    return bool(select.select([fd], [], [], 0)[0])


def stream_agent(stop, run):
    """One event after another on a connection that lasts, up to 16 without
    their acks; what was not acknowledged when lumnid closed the connection is
    sent again on the next. Returns how many events, and what failed."""
    s, waiting, acked, n, failed, again = None, {}, 0, 0, [], 0
    unpacker = msgpack.Unpacker(raw=False)
    while not (stopped(stop) and not waiting):
        try:
            if s is None:
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(30)
                s.connect(SOCKET)
                unpacker = msgpack.Unpacker(raw=False)
                again += len(waiting)
                for k in sorted(waiting):
                    s.sendall(waiting[k])
        except OSError as e:
            failed.append(f"stream connect: {e}")
            s = None
            time.sleep(0.01)
            continue
        try:
            if len(waiting) < 16 and not stopped(stop):
                waiting[n] = msgpack.packb({
                    "runId": run, "events": [{"type": "step", "n": n}],
                    "ack": n})
                n += 1
                s.sendall(waiting[n - 1])
            while select.select([s], [], [],
                                1 if len(waiting) >= 16 else 0.002)[0]:
                data = s.recv(65536)
                if not data:
                    raise ConnectionResetError
                unpacker.feed(data)
                for answer in unpacker:
                    if "error" in answer:
                        failed.append(f"refused: {answer}")
                    waiting.pop(answer["ack"], None)
                    acked += 1
        except (BrokenPipeError, ConnectionResetError):
            # A lumnid that stops takes no more, but goes on to acknowledge
            # what it took, and closes then: what it says until then counts.
            try:
                while data := s.recv(65536):
                    unpacker.feed(data)
            except ConnectionResetError:
                pass
            for answer in unpacker:
                waiting.pop(answer.get("ack"), None)
            s.close()
            s = None
    return json.dumps({"n": n, "failed": failed[:5], "again": again})


def oneshot_agent(stop, run):
    """A connection for each event, as of a shell command."""
    n, failed, again = 0, [], 0
    while not stopped(stop):
        message = {"runId": run, "events": [{"type": "step", "n": n}],
                   "ack": n}
        while True:
            try:
                answer = send_one(message)
            except (ConnectionResetError, BrokenPipeError):
                answer = "closed"
            except OSError as e:
                failed.append(f"one connection: {e}")
                break
            if answer == "closed":
                again += 1
                continue
            if json.loads(answer) != {"ack": n}:
                failed.append(answer)
            break
        n += 1
        time.sleep(0.005)
    return json.dumps({"n": n, "failed": failed[:5], "again": again})


def udp_agent(stop, run):
    """Datagrams, which nobody acknowledges."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(UDP)
    n, failed = 0, []
    while not stopped(stop):
        try:
            s.send(msgpack.packb({"runId": run, "type": "step", "n": n}))
        except OSError as e:
            failed.append(f"udp: {e}")
        n += 1
        time.sleep(0.005)
    return json.dumps({"n": n, "failed": failed[:5], "again": 0})


# --- what the tests share --------------------------------------------------------

class Host:
    """A machine with lumnid's package, agents' users, and an upstream."""

    def __init__(self, t, suite, package=None):
        self.t = t
        self.m = pkg.Machine(t, suite)
        self.m.sh("useradd -r other")
        if package:
            self.install(package)
            self.add_agent()

    def add_agent(self):
        self.m.sh("useradd -r -G lumnid agent")
        ids = self.m.sh("id -u agent; id -g agent; getent group lumnid; "
                        "id -u other; id -g other").split()
        self.agent = (int(ids[0]), [int(ids[1]), int(ids[2].split(":")[2])])
        self.other = (int(ids[3]), [int(ids[4])])

    def install(self, package, more=""):
        return self.m.sh(f"dpkg {more} -i {self.m.put(package)} 2>&1")

    def upstream(self, **kw):
        with self.m.network():
            return self.t.upstream(**kw)

    def configure(self):
        """The upstream's address, and the key."""
        text = self.m.sh(f"cat {CONF}")
        edited = re.sub(r"^  url: .*$", "  url: " + self.t.url(), text,
                        flags=re.M)
        # As an editor would that keeps owner and mode.
        self.m.sh(f"cat >{CONF} <<'END'\n{edited}END")
        self.m.sh("umask 077; echo " + lumnid_it.KEY +
                  " >/etc/lumnid/api_key")

    def pid(self):
        return int(self.m.show("lumnid.service", "MainPID"))

    def status(self):
        return self.m.show("lumnid.service", "StatusText")

    def wait_status(self, pattern):
        wait_for(f"a status like {pattern}",
                 lambda: re.search(pattern, self.status()), 30, 0.1,
                 self.m.logs)

    def send(self, message, user=None):
        uid, gids = user or self.agent
        return self.m.as_user(uid, gids, lambda: send_one(message))

    def must_send(self, message):
        answer = self.send(message)
        self.t.equal(answer, json.dumps({"ack": message["ack"]}), "answer")


    def wait_delivered(self, sent):
        """Wait until as many events as were sent were taken."""
        total = sum(len(x) for x in sent.values())
        wait_for(f"{total} events",
                 lambda: sum(len(x) for x in self.t.runs().values()) >= total,
                 60, 0.2, self.m.logs)


def events(run, *numbers, **more):
    return dict({"runId": run, "ack": f"{run} {numbers}",
                 "events": [{"type": "step", "n": n} for n in numbers]},
                **more)


def check_files(h):
    """Owners and modes, and that nothing more is there."""
    got = h.m.sh("stat -c '%n %U:%G %a %F' /etc/lumnid /etc/lumnid/* "
                 "/run/lumnid /run/lumnid/*.sock /var/lib/lumnid "
                 "/var/spool/lumnid")
    want = {"/etc/lumnid": "root:root 755 directory",
            CONF: "root:lumnid 640 regular file",
            "/etc/lumnid/api_key": "root:root 600 regular file",
            "/run/lumnid": "lumnid:lumnid 755 directory",
            SOCKET: "root:lumnid 660 socket",
            "/run/lumnid/control.sock": "lumnid:lumnid 600 socket",
            "/var/lib/lumnid": "lumnid:lumnid 700 directory",
            "/var/spool/lumnid": "lumnid:lumnid 2770 directory"}
    for line in got.strip().split("\n"):
        name, what = line.split(" ", 1)
        h.t.equal(what, want.get(name), name)


def check_process(h):
    """Not root, no capability, filtered, its own view of the files."""
    status = dict(line.split(":", 1) for line in h.m.sh(
        f"cat /proc/{h.pid()}/status").strip().split("\n"))
    uid = h.m.sh("id -u lumnid").strip()
    h.t.equal(status["Uid"].split(), [uid] * 4, "uid")
    for caps in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        h.t.equal(int(status[caps], 16), 0, caps)
    h.t.equal(status["NoNewPrivs"].strip(), "1", "NoNewPrivs")
    h.t.equal(status["Seccomp"].strip(), "2", "Seccomp")
    score = h.m.sh("systemd-analyze security --no-pager lumnid.service "
                   "--threshold=15 | tail -1")
    h.t.true(float(re.search(r"([0-9.]+) OK", score).group(1)) <= 1.5, score)
    for unit in ("lumnid.service", "lumnid.socket"):
        h.m.sh(f"systemctl is-active --quiet {unit} && "
               f"systemctl is-enabled --quiet {unit}")
    h.t.equal(h.m.show("lumnid.service", "NRestarts"), "0", "restarts")
    h.t.equal(h.m.try_sh("journalctl -u lumnid.service -b --no-pager | grep -E "
                         "'Unknown|ignoring|Failed'")[1], "", "complaints")


# --- a life ------------------------------------------------------------------------

def life(t, suite):
    h = Host(t, suite, pkg.deb(suite, "lumnid"))
    m = h.m
    check_process(h)
    check_files(h)
    t.equal(m.sh("systemctl --failed --no-legend"), "", "failed units")

    # Without a key it says so, and keeps what it gets.
    text = m.sh("systemctl status --no-pager -l lumnid")
    t.true("API key" in text and "/etc/lumnid/api_key" in text, text)
    h.must_send(events("early", 1, 2, end=True))
    t.true("PermissionError" in h.send(events("x", 1), h.other),
           "who is not in the group may not send")
    with m.network():
        lumnid_it.Datagram(UDP[1]).send({"runId": "udp", "type": "step",
                                         "n": 7})
    h.wait_status("NOT forwarding.*1 run open, 2 events waiting")
    sent = {"early": [1, 2], "udp": [7]}

    # With a key all of it flows.
    up = h.upstream()
    h.configure()
    m.sh("systemctl restart lumnid")
    with m.network():
        up.wait_sums(events=2)
    h.wait_status("^forwarding")
    check_files_key(h)
    h.must_send(events("late", 1, end=True))
    sent["late"] = [1]
    with m.network():
        up.wait_sums(events=3)

    reload(h)
    containers(h)
    other_sockets(h)

    # Removed, it leaves what was not delivered; installed again it goes on.
    up.kill()
    h.must_send(events("kept", 1, 2, 3, end=True))
    sent["kept"] = [1, 2, 3]
    text = m.sh("dpkg -r lumnid 2>&1")
    t.true("not delivered stays in /var/lib/lumnid" in text, text)
    gone(h)
    m.sh(f"test -e {CONF} && test -e /etc/lumnid/api_key && "
         "test -n \"$(find /var/lib/lumnid -type f)\"")
    h.install(pkg.deb(suite, "lumnid"))
    up = h.upstream()
    h.wait_delivered(sent)
    m.sh("systemctl stop lumnid.service")
    t.check_runs(sent)

    # Purged, it is gone, and says so.
    text = m.sh("dpkg -P lumnid 2>&1")
    t.true("removing /var/lib/lumnid" in text and "API key" in text, text)
    gone(h)
    m.sh("! ls -d /etc/lumnid /var/lib/lumnid /var/spool/lumnid /run/lumnid "
         "2>/dev/null")
    t.equal(m.sh("find /etc /lib/systemd /usr /var -xdev "
                 "-name '*lumnid*' ! -path '*/dpkg/*' ! -path '/var/log/*'").strip(), "", "left")
    h.install(pkg.deb(suite, "lumnid"))
    check_files(h)
    up.kill()


def check_files_key(h):
    h.t.equal(h.m.sh("stat -c '%U:%G %a' /etc/lumnid/api_key").strip(),
              "root:root 600", "the key")
    h.t.equal(h.m.sh(f"stat -c '%U:%G %a' {CONF}").strip(),
              "root:lumnid 640", "the configuration")
    h.t.true(lumnid_it.KEY not in h.m.sh(
        "journalctl --no-pager -b; systemctl show lumnid.service "
        f"--no-pager; tr '\\0' '\\n' </proc/{h.pid()}/environ"),
        "the key is told to nobody")


def reload(h):
    """A reload takes a good file; a bad one changes nothing, and is told."""
    m, pid = h.m, h.pid()
    good = m.sh(f"cat {CONF}")
    m.sh(f"printf 'runs:\\n  idle: 20s\\n' >>{CONF} && "
         "systemctl reload lumnid")
    wait_for("the reload", lambda: m.try_sh(
        "journalctl -u lumnid -b --no-pager | grep -w reloaded")[0] == 0, 20,
        0.1, m.logs)
    m.sh(f"printf 'nonsense: 1\\n' >>{CONF} && systemctl reload lumnid")
    h.wait_status("reload failed.*nonsense")
    m.sh(f"cat >{CONF} <<'END'\n{good}END")
    m.sh("systemctl reload lumnid")
    h.wait_status("^forwarding")
    h.t.equal(h.pid(), pid, "pid")


def containers(h):
    """A directory that is mounted read-only is enough to send, also after
    the sockets were made anew; a mount of the socket alone is not."""
    m = h.m
    m.sh("mkdir -p /mnt/dir && touch /mnt/file && "
         "mount --bind -o ro /run/lumnid /mnt/dir && "
         f"mount --bind {SOCKET} /mnt/file")
    uid, gids = h.agent

    def send(path):
        return m.as_user(uid, gids, lambda: send_one({"change": {
            "what": path}, "ack": 1}, path))
    t = h.t
    t.equal(send("/mnt/dir/lumnid.sock"), '{"ack": 1}', "a directory")
    t.equal(send("/mnt/file"), '{"ack": 1}', "a file")
    m.sh("systemctl restart lumnid.service")
    t.equal(send("/mnt/dir/lumnid.sock"), '{"ack": 1}', "after a restart")
    m.sh("systemctl stop lumnid.service lumnid.socket; "
         "systemctl start lumnid.socket lumnid.service")
    t.equal(send("/mnt/dir/lumnid.sock"), '{"ack": 1}', "another socket")
    t.true("ConnectionRefused" in send("/mnt/file"), "an old file")
    m.sh("umount /mnt/dir /mnt/file")


def other_sockets(h):
    """The sockets' unit is edited as packaging/README has it; a key of
    lumnid.yaml that has no effect for it is told."""
    m, t = h.m, h.t
    m.sh("mkdir -p /etc/systemd/system/lumnid.socket.d")
    m.write("/etc/systemd/system/lumnid.socket.d/override.conf",
            "[Socket]\nListenStream=\nListenDatagram=\nSocketMode=0666\n"
            f"ListenStream={SOCKET}\nListenDatagram=127.0.0.1:9999\n")
    m.sh(f"sed -i 's/^listen:/&\\n  udp: off/' {CONF} && "
         "systemctl daemon-reload && systemctl restart lumnid.socket")
    h.wait_status("^forwarding")
    t.equal(m.sh(f"stat -c '%U:%G %a' {SOCKET}").strip(), "root:lumnid 666",
            "the socket")
    t.equal(h.send({"change": {"what": "x"}, "ack": 1}, h.other),
            '{"ack": 1}', "whom SocketMode= allows")
    udp = m.sh("cat /proc/net/udp")
    t.true(":270F" in udp and ":228A" not in udp, udp)
    t.true("socket_differs key=listen.udp" in m.sh(
        "journalctl -u lumnid.service -b --no-pager"), "what is told")
    m.sh("rm -r /etc/systemd/system/lumnid.socket.d && systemctl "
         f"daemon-reload && sed -i '/^  udp: off/d' {CONF} && "
         "systemctl restart lumnid.socket")
    check_files(h)


def gone(h):
    """Nothing of it runs or listens."""
    m = h.m
    m.sh(f"! test -e {SOCKET} && ! test -e /run/lumnid")
    m.sh("! pgrep -u lumnid 2>/dev/null; ! ls /proc/*/exe -l 2>/dev/null | "
         "grep -q lumnid")
    h.t.true(":228A" not in m.sh("cat /proc/net/udp"), "UDP is closed")


def test_life_bookworm(t):
    life(t, "bookworm")


def test_life_trixie(t):
    life(t, "trixie")


# --- upgrade under load --------------------------------------------------------------

class Load:
    """Agents of each kind at work."""

    def __init__(self, h, name):
        self.h = h
        self.agents = []
        # What is written to it is never read: all see it.
        self.end, self.stop_fd = os.pipe()
        for kind, fn in (("stream", stream_agent), ("one", oneshot_agent),
                         ("udp", udp_agent)):
            run = f"{name}-{kind}"
            with h.m.network():
                self.agents.append((run, h.m.start_as_user(
                    *h.agent, lambda fn=fn, run=run: fn(self.end, run))))

    def stop(self, sent):
        """End it; adds what was sent. Not one send may have failed."""
        faults = []
        os.write(self.stop_fd, b"x")
        for run, child in self.agents:
            text = child.result()
            try:
                result = json.loads(text)
            except ValueError:
                raise Failure(f"{run}: {text}") from None
            sent[run] = list(range(result["n"]))
            faults += [f"{run}: {x}" for x in result["failed"]]
            print(f"# {run}: {result['n']} events, {result['again']} of them "
                  "sent again", flush=True)
        os.close(self.end)
        os.close(self.stop_fd)
        if faults:
            raise Failure("failed sends: " + "; ".join(faults) + "\n"
                          + self.h.m.logs())


def change(h, what, sent):
    """Do what() while agents send."""
    load = Load(h, f"r{len(sent)}")
    time.sleep(0.5)  # a backlog is to be there before
    pid = h.pid()
    what()
    h.t.true(h.pid() != pid, "another process runs")
    time.sleep(0.5)  # and more to come after
    load.stop(sent)


def upgrade(t, suite):
    new = pkg.deb(suite, "lumnid")
    old = pkg.previous_deb(suite, t.dir)
    h = Host(t, suite, old)
    m = h.m
    up = h.upstream(script="status=503 retry_after=1")
    h.configure()
    m.sh(f"echo '# edited' >>{CONF}; chmod 0644 {CONF}; "
         "systemctl restart lumnid")
    edited = m.sh(f"cat {CONF}")
    sent = {"open": [1, 2], "waits": [1]}
    h.must_send(events("open", 1, 2))
    h.must_send(events("waits", 1, end=True))
    m.sh("systemctl restart lumnid.service")
    sock = m.sh(f"stat -c %i {SOCKET}")

    change(h, lambda: h.install(new, "--force-confold"), sent)
    t.equal(m.sh("dpkg-query -W -f '${Version}' lumnid"),
            pkg.version() + "-1", "version")
    t.equal(m.sh(f"cat {CONF}; stat -c '%U:%G %a' {CONF}"),
            edited + "root:lumnid 644\n", "the edited file")
    check_process(h)

    # Back, and forth again, with a new default in the package's file.
    change(h, lambda: h.install(old, "--force-downgrade --force-confold"),
           sent)
    newer = another_default(t, new)
    change(h, lambda: h.install(newer, "--force-confold"), sent)
    t.equal(m.sh(f"cat {CONF}"), edited, "the edited file")
    m.sh(f"grep -q 'new default' {CONF}.dpkg-dist")
    t.equal(m.sh(f"stat -c %i {SOCKET}"), sock, "the socket all the time")

    h.must_send(events("open", 3, end=True))
    sent["open"].append(3)
    with m.network():
        up.script("")
    m.sh("sed -i '$a runs: {idle: 100ms}' " + CONF +
         " && systemctl reload lumnid")
    h.wait_delivered(sent)
    h.wait_status("^forwarding, 0 runs open, 0 events waiting")
    m.sh("systemctl stop lumnid.service")
    t.check_runs(sent)
    t.check_retries()
    parts = [x for x in t.taken() if x["route"] == "events"
             and x["body"]["runId"] == "open"]
    t.equal(len(parts), 1, "parts of a run that was open all the time")
    m.sh("dpkg -P lumnid 2>&1; ! ls -d /etc/lumnid /var/lib/lumnid "
         "/var/spool/lumnid 2>/dev/null")


def another_default(t, path):
    """The package after that, whose configuration file is another."""
    def edit(tree):
        with open(tree + CONF, "a", encoding="utf-8") as f:
            f.write("# new default\n")
    return pkg.another_version(path, pkg.version() + "+1-1", t.dir, edit)


def test_upgrade_bookworm(t):
    upgrade(t, "bookworm")


def test_upgrade_trixie(t):
    upgrade(t, "trixie")


if __name__ == "__main__":
    pkg.main()
