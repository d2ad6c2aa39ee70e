#!/usr/bin/python3
"""Agents on Node with the real lumnid: whole runs, at once and in order; many
runs beside each other; lumnid away, slow, full and restarted, with a count of
what was lost that is exact; and what all of it costs the agent."""

import json
import os
import shutil
import signal
import subprocess

import lumnid_it
import test_client_node
from lumnid_it import SLOW, Failure, wait_for


class Agent:
    """clients/node/test/road.mjs; a line from it, a line to it."""

    def __init__(self, t, what, address=None, **options):
        where = test_client_node.place(t)
        self.t = t
        self.proc = subprocess.Popen(
            ["node", os.path.join(where, "road.mjs"), what,
             json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=t.dir,
            env=dict(os.environ, LUMNID_DISABLED="",
                     LUMNID_ADDRESS=address or "unix://" + t.stream_path))
        t.files.callback(self.end)

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.communicate()

    def line(self):
        text = self.proc.stdout.readline()
        if not text:
            raise Failure("the agent ended: " + self.proc.stderr.read())
        return json.loads(text)

    def reach(self, where):
        """Wait until it is there; it stays until go()."""
        got = self.line()
        self.t.equal(got.get("at"), where, "where the agent is")
        return got

    def go(self):
        self.proc.stdin.write("\n")
        self.proc.stdin.flush()

    def finish(self):
        """Its end, with nothing said on the terminal."""
        out, err = self.proc.communicate(timeout=60 * SLOW)
        self.t.equal((self.proc.returncode, err), (0, ""), "the agent's end")
        return [json.loads(x) for x in out.splitlines()]


def check_phases(t, told):
    """Every event came or was counted as dropped, in order within its run,
    and lumnid was told of each dropped one."""
    runs = t.runs()
    came = [e for events in runs.values() for e in events]
    reports = [e for e in came if e["type"] == "lumni_client"]
    others = len(came) - len(reports)
    t.equal(sum(e["dropped"] for e in reports), told["dropped"], "reported")
    t.equal(others + told["dropped"], told["events"], "came and dropped")
    if reports:
        t.equal(max(e["droppedTotal"] for e in reports), told["dropped"])
        for e in reports:
            t.equal(sum(e["reasons"].values()), e["dropped"], "reasons")
    for run, events in runs.items():
        n = [e["n"] for e in events if "n" in e]
        t.equal(n, sorted(set(n)), f"order of {run}")
        t.equal(events[-1]["type"], "run_end", f"the end of {run}")
    return reports


def phases(t, what, queue=1 << 20, events=400, running=False, random=False,
           events_=None, **sections):
    """Three phases, the second with lumnid in the state that what() gives a
    name to."""
    t.up = up = t.upstream()
    t.lumnid(log={"level": "info"}, events=events_ or {}, **sections)
    agent = Agent(t, "phases", phases=3, queueBytes=queue, events=events,
                  running=running, random=random)
    after = None
    for phase in range(3):
        agent.reach(phase)
        if phase == 1:
            after = what()
        elif phase == 2 and after:
            after()
        if not running:
            agent.go()
    agent.reach("end")
    agent.go()
    told = agent.finish()[-1]
    up.wait_sums(events=told["events"] - told["dropped"])
    wait_for("the ends of the runs", lambda: sum(
        events[-1]["type"] == "run_end" for events in t.runs().values()) == 5)
    t.daemon.stop()
    return told, check_phases(t, told)


def test_langgraph(t):
    """A run arrives as one, whole and in order, within 50 ms of its end. The
    time is that of the best half: the machine has other things to do."""
    test_client_node.need_frameworks(t)
    up = t.upstream()
    t.lumnid(log={"level": "info"})
    agent = Agent(t, "graph", runs=20)
    ended = {x["runId"]: x["endedAt"] for x in agent.finish()}
    up.wait_sums(batches=20)
    late = []
    for line in t.taken():
        run, events = line["body"]["runId"], line["body"]["events"]
        t.equal((line["part"], line["reason"]), (1, "end"), run)
        t.equal([(e["type"], e.get("name"), e.get("status"))
                 for e in events],
                [("run_start", "agent", None),
                 ("agent_step", "plan", "ok"),
                 ("tool_call", "good", "ok"),
                 ("tool_call", "bad", "failed"),
                 ("agent_step", "tools", "ok"),
                 ("run_end", "agent", "ok")], run)
        t.equal({e["stepId"] for e in events if "parentId" not in e},
                {run}, "root")
        t.true(set(e["parentId"] for e in events if "parentId" in e)
               <= {e["stepId"] for e in events}, "a parent is absent")
        at = [e["at"] for e in events]
        t.equal(at, sorted(at), "times")
        late.append(line["time"] * 1000 - ended[run])
    late.sort()
    print(f"# ms from a run's end to its arrival: median {late[10]:.1f}, "
          f"worst {late[-1]:.1f}")
    t.true(late[9] < 50 * SLOW, f"{late} ms")


def test_many(t):
    """10,000 runs at once: each comes as one part, whole."""
    runs = 10000
    up = t.upstream()
    t.lumnid(log={"level": "info"}, runs={"idle": "60s"})
    agent = Agent(t, "many", runs=runs, queueBytes=64 << 20)
    agent.finish()
    up.wait_sums(events=5 * runs)
    t.daemon.stop()
    n = 0
    for run, events in t.each_part():
        t.equal([(e["type"], e.get("result")) for e in events],
                [("run_start", None)] + [("tool_call", i) for i in range(3)]
                + [("run_end", None)], run)
        n += 1
    t.equal(n, runs, "runs")


def test_absent(t):
    """lumnid is away, for longer than the queue lasts."""
    def what():
        t.daemon.stop()
        return t.lumnid
    told, reports = phases(t, what, queue=100000, events=1000)
    t.true(told["dropped"] > 500, f"dropped {told['dropped']}")
    t.equal(set(reports[0]["reasons"]), {"queue_full"})


def test_slow(t):
    """lumnid hangs, for longer than the queue lasts."""
    def what():
        t.daemon.signal(signal.SIGSTOP)
        return lambda: t.daemon.signal(signal.SIGCONT)
    told, reports = phases(t, what, queue=100000, events=3000)
    t.true(told["dropped"] > 500, f"dropped {told['dropped']}")
    t.true(reports, "no report")


def test_restarted(t):
    """Restarts under way lose nothing at all: what lumnid has not read, the
    client knows to be unsent."""
    def what():
        for _ in range(5):
            t.daemon.stop()
            t.lumnid()
    told, _ = phases(t, what, queue=64 << 20, events=30000, running=True)
    t.equal(told["dropped"], 0)


def test_full(t):
    """The upstream takes nothing, and lumnid's storage fills: it reads no
    more. When there is room again all goes on."""
    def what():
        t.up.script("status=503")
        return lambda: t.up.script("")
    told, reports = phases(
        t, what, queue=200000, events=12000, random=True,
        storage={"journal_max": "1MiB", "spool_max": "1MiB"},
        runs={"idle": "1s", "max_bytes": "256KiB"},
        events_={"max_message": "256KiB"})
    t.true(told["dropped"] > 500, f"dropped {told['dropped']}")
    t.true(reports, "no report")


def test_killed(t):
    """What a durable flush has vouched for survives a SIGKILL, each time;
    what it has not may be lost, but nothing comes twice."""
    t.upstream()
    t.lumnid(log={"level": "info"})
    agent = Agent(t, "durable")
    for _ in range(5):
        safe = 0
        while safe < 500:
            safe += agent.line()["safe"]
        t.daemon.kill()
        t.lumnid()
    agent.go()
    told = agent.finish()[-1]
    wait_for("the ends of the runs", lambda: sum(
        events[-1]["type"] == "run_end" for events in t.runs().values()) == 5)
    t.daemon.stop()
    came = [e["n"] for events in t.runs().values() for e in events
            if "n" in e]
    t.equal(len(came), len(set(came)), "each once")
    lost = sorted(set(told["vouched"]) - set(came))
    t.true(not lost, f"vouched for and lost: {lost[:10]}")
    print(f"# {told['sent']} sent, {len(told['vouched'])} vouched for, "
          f"{len(came)} came")


def cost(t, name, before=None, address=None):
    """What the client takes of the time of an agent that does some 40 ms of
    work for each two events (a model's answer takes far longer): the best of
    three attempts, as the machine has other things to do."""
    best = None
    for _ in range(3):
        agent = Agent(t, "cost", address, hashes=50000, steps=10,
                      queueBytes=64 << 10)
        agent.reach("warm")
        if before:
            before()
        agent.go()
        told = agent.line()
        agent.go()
        agent.finish()
        if best is None or told["share"] < best["share"]:
            best = told
        if best["share"] < 0.01:
            break
    print(f"# {name}: {best['share'] * 100:+.2f} % of the agent's time, "
          f"{best['extra'] * 1000:.0f} us of {best['work']:.1f} ms a step of "
          f"two events; dropped {best['dropped']} of {best['events']}")
    t.true(best["share"] < 0.01, f"{name}: {best}")
    return best


def test_cost(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    cost(t, "lumnid there")


def test_cost_slow(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    try:
        cost(t, "lumnid hangs",
             lambda: t.daemon.signal(signal.SIGSTOP))
    finally:
        t.daemon.signal(signal.SIGCONT)


def test_cost_stopped(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    cost(t, "lumnid stopped under way",
         lambda: t.daemon.alive() and t.daemon.stop())


def test_cost_absent(t):
    cost(t, "lumnid absent", address="unix:///nonexistent/lumnid.sock")


def test_cost_udp(t):
    t.upstream()
    t.lumnid(log={"level": "info"})
    cost(t, "by UDP", address=f"udp://127.0.0.1:{t.daemon.udp_port()}")


if __name__ == "__main__":
    if shutil.which("node") is None:
        print("skip test_client_node_road: node is not installed")
        raise SystemExit(77)
    lumnid_it.main()
