"""lumnid's unit under a booted systemd of Debian 12 and 13: fifty restarts
under load with the sockets held by systemd, the states that a reload passes
through, the watchdog, what the journal gets."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(__file__))
import pkg  # noqa: E402
from pkg import lumnid_it  # noqa: E402
from lumnid_it import wait_for  # noqa: E402
import test_deb  # noqa: E402
from test_deb import CONF, Host, Load, events  # noqa: E402

RESTARTS = 50


def restarts(h, sent):
    """Not one send fails, and nothing is lost; the socket stays the same."""
    m, t = h.m, h.t
    sock = m.sh(f"stat -c %i {test_deb.SOCKET}")
    load = Load(h, "restarts")
    pids = {h.pid()}
    for _ in range(RESTARTS):
        m.sh("systemctl restart lumnid.service")
        pids.add(h.pid())
    load.stop(sent)
    t.equal(len(pids), RESTARTS + 1, "processes")
    t.equal(m.sh(f"stat -c %i {test_deb.SOCKET}"), sock, "the socket")
    t.equal(m.show("lumnid.service", "NRestarts"), "0", "failures")


def watchdog(h, sent):
    """A process that hangs is restarted, and has lost nothing that it had
    acknowledged; what was sent in between waited in the sockets."""
    m, t = h.m, h.t
    t.equal(m.show("lumnid.service", "WatchdogUSec"), "30s", "the unit's time")
    m.sh("mkdir -p /run/systemd/system/lumnid.service.d && "
         "printf '[Service]\\nWatchdogSec=2s\\n' "
         ">/run/systemd/system/lumnid.service.d/test.conf && "
         "systemctl daemon-reload && systemctl restart lumnid.service")
    h.must_send(events("dog", 1))
    pid = h.pid()
    m.sh(f"kill -STOP {pid}")
    h.must_send(events("dog", 2))   # it waits for the next one's ack
    t.true(h.pid() != pid, "another process")
    log = m.sh("journalctl -u lumnid.service -b --no-pager")
    t.true("atchdog timeout" in log, log)
    sent["dog"] = [1, 2]
    m.sh("rm -r /run/systemd/system/lumnid.service.d && "
         "systemctl daemon-reload && systemctl restart lumnid.service")


def reload_states(h):
    """RELOADING and READY, as systemd takes them: `systemctl reload` ends,
    and the unit is active again."""
    m, t = h.m, h.t
    pid = h.pid()
    for _ in range(5):
        m.sh("systemctl reload lumnid.service")
        wait_for("the end of the reload", lambda: m.show(
            "lumnid.service", "ActiveState") == "active", 20, 0.05, m.logs)
    t.equal(h.pid(), pid, "pid")
    count = m.sh("journalctl -u lumnid.service -b --no-pager -o cat "
                 "| grep -cw reloaded").strip()
    t.true(1 <= int(count) <= 5, f"{count} reloads")


def priorities(h):
    """Each line with its own, and without the marks of the protocol."""
    m, t = h.m, h.t
    m.sh(f"cp {CONF} /root/good && printf 'nonsense: 1\\n' >>{CONF} && "
         "systemctl reload lumnid.service")

    def told():
        return m.try_sh("journalctl -u lumnid.service -b --no-pager -o json "
                        "-p err | grep reload_failed")[1].strip()
    line = wait_for("the fault in the journal", told, 20, 0.1, m.logs)
    entry = json.loads(line.split("\n")[-1])
    t.equal((entry["PRIORITY"], entry["_SYSTEMD_UNIT"]),
            ("3", "lumnid.service"))
    t.true(re.match("error reload_failed error=", entry["MESSAGE"]),
           entry["MESSAGE"])
    info = m.sh("journalctl -u lumnid.service -b --no-pager -o json -p info "
                "| grep '\"info started ' | tail -1")
    t.equal(json.loads(info)["PRIORITY"], "6")
    m.sh(f"cat /root/good >{CONF} && systemctl reload lumnid.service")
    h.wait_status("^forwarding")


def life(t, suite):
    h = Host(t, suite, pkg.deb(suite, "lumnid"))
    m = h.m
    up = h.upstream()
    h.configure()
    m.sh("systemctl restart lumnid.service")
    h.wait_status("^forwarding, 0 runs open, 0 events waiting")
    sent = {}
    reload_states(h)
    priorities(h)
    watchdog(h, sent)
    restarts(h, sent)
    h.must_send(events("last", 1, end=True))
    sent["last"] = [1]
    h.wait_delivered(sent)
    m.sh("systemctl stop lumnid.service")
    t.check_runs(sent)
    del up


def test_systemd_bookworm(t):
    life(t, "bookworm")


def test_systemd_trixie(t):
    life(t, "trixie")


if __name__ == "__main__":
    pkg.main()
