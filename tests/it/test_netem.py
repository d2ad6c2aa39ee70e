#!/usr/bin/python3
"""Slow and lossy networks, by netem: test_netns.py's world in a Linux of its
own (User Mode Linux), as the host's kernel need not have netem. Nothing is
lost, nothing comes twice or out of order within its run, and when the link
is whole again, the next events come at once."""

import os
import sys

import lumnid_it
import test_netns
import uml
from lumnid_it import Failure


class World(test_netns.World):
    def netem(self, *what):
        """Both directions of the data link, each delayed and lossy so."""
        run, far = test_netns.run, self.far
        for prefix, dev in (((), "data"), (far.prefix, "data1")):
            run(self.t, *prefix, "tc", "qdisc", "replace", "dev", dev,
                "root", "netem", *what)

    def whole(self):
        self.netem("delay", "0ms")


def delay(t):
    w = World(t)
    w.netem("delay", "100ms", "30ms")
    w.send_for(3)
    w.recovers()


def loss(t):
    w = World(t)
    w.netem("delay", "20ms", "loss", "15%")
    w.send_for(4)
    w.recovers()


def everything(t):
    """And duplicates, corrupted packets, and others out of order."""
    w = World(t)
    w.netem("delay", "30ms", "10ms", "loss", "8%", "duplicate", "5%",
            "corrupt", "2%", "reorder", "20%", "50%")
    w.send_for(3)
    w.recovers()


def outage(t):
    """Good, then nothing comes through for a while, then slow."""
    w = World(t)
    w.netem("delay", "10ms")
    w.send_for(1)
    w.netem("loss", "100%")
    w.send_for(3)
    t.daemon.wait_line("upstream_down")
    w.netem("delay", "50ms", "loss", "5%")
    w.send_for(2)
    w.recovers()


# LUMNID_NETEM=all: with delay and loss alone as well.
GUEST = {f.__name__: f for f in (everything, outage, delay, loss)[
    :4 if os.environ.get("LUMNID_NETEM") == "all" else 2]}


def guest():
    # One slow processor.
    lumnid_it.SLOW = test_netns.SLOW = max(3.0, lumnid_it.SLOW)
    results = [lumnid_it._run_one("guest " + name, GUEST[name], 120)
               for name in GUEST]
    return 1 if "FAIL" in results else 0


def test_netem(t):
    m = uml.Machine(t, [sys.executable, os.path.abspath(__file__)],
                    modules=["veth", "sch_netem"],
                    memory="384M")
    m.wait_line(r"^uml: exit status", 300)
    shown = [x for x in m.lines if x and x.startswith(("ok ", "FAIL ",
                                                       "skip "))]
    print("\n".join("# " + x for x in shown))
    m.finish()
    if sum(x.startswith("ok ") for x in shown) != len(GUEST):
        raise Failure("not all ran\n" + m.log(200))


if __name__ == "__main__":
    uml.main(guest, limit=330, net=False)
