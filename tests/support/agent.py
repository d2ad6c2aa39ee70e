#!/usr/bin/python3
"""A stand-in for an agent that uses the Python client; as agent.c.

    agent.py ADDRESS runs=N steps=N queue=BYTES flush_ms=N prefix=S
        pause_us: between two steps of a run.
    agent.py ADDRESS measure blocks=N steps=N work_us=N

The runs are tasks of one event loop, all open at once.
"""
import asyncio
import json
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "clients", "python"))
import lumni  # noqa: E402

opt = {"runs": 1, "steps": 3, "queue": 8 << 20, "flush_ms": 10000,
       "blocks": 41, "work_us": 1000, "pause_us": 0, "threads": 1,
       "prefix": "run"}


async def agent(client, index):
    with lumni.run("%s-%d" % (opt["prefix"], index), client=client,
                   n=0) as run:
        for n in range(1, opt["steps"] - 1):
            await asyncio.sleep(opt["pause_us"] / 1e6)
            with run.tool("issue_refund", {"order": "A-1009"}, n=n):
                await asyncio.sleep(0)
        run.end(n=opt["steps"] - 1)


async def all_runs(client):
    await asyncio.gather(*[agent(client, i) for i in range(opt["runs"])])


def spin(loops):
    total = 0
    for i in range(loops):
        total += i
    return total


def calibrate():
    loops = 1000
    while True:
        begun = time.perf_counter()
        spin(loops)
        took = time.perf_counter() - begun
        if took > 0.05:
            return int(loops * opt["work_us"] / 1e6 / took)
        loops *= 2


def block(client, loops):
    """Returns the processor's time and the clock's, of the whole and of each
    call."""
    begun, cpu = time.perf_counter(), time.thread_time()
    call_cpu, call_wall = [], []
    for n in range(opt["steps"]):
        spin(loops)
        called, called_cpu = time.perf_counter(), time.thread_time()
        client.event(opt["prefix"], {
            "type": "tool_call", "n": n, "name": "issue_refund",
            "status": "failed", "error": "502 Bad Gateway",
            "args": {"order": "A-1009"}, "durationMs": 812.4,
            "stepId": "s2", "parentId": "s1"})
        call_cpu.append(time.thread_time() - called_cpu)
        call_wall.append(time.perf_counter() - called)
    return (time.thread_time() - cpu, time.perf_counter() - begun, call_cpu,
            call_wall)


def measure(client):
    loops = calibrate()
    none = lumni.Client(disabled=True)
    cpu, wall, call_cpu, call_wall = [], [], [], []
    for b in range(opt["blocks"]):
        took = {}
        for on in ((True, False), (False, True))[b % 2]:
            took[on] = block(client if on else none, loops)
        cpu.append(took[True][0] / took[False][0])
        wall.append(took[True][1] / took[False][1])
        call_cpu += took[True][2]
        call_wall += took[True][3]
    return {"cpu_ratio": statistics.median(cpu),
            "wall_ratio": statistics.median(wall),
            "call_cpu_us": statistics.median(call_cpu) * 1e6,
            "call_us": statistics.median(call_wall) * 1e6}


def main():
    doing_measure = False
    for arg in sys.argv[2:]:
        name, _, value = arg.partition("=")
        if name == "measure":
            doing_measure = True
        else:
            opt[name] = value if name == "prefix" else int(value)
    client = lumni.Client(sys.argv[1], queue_bytes=opt["queue"])
    begun = time.perf_counter()
    measured = {}
    if doing_measure:
        measured = measure(client)
    else:
        asyncio.run(all_runs(client))
    took = time.perf_counter() - begun
    print("worked", flush=True)
    # Where something was dropped, the last run carries the report.
    flushed = client.flush(opt["flush_ms"] / 1000)
    if flushed:
        client.event("last", {"type": "run_end", "status": "ok"}, end=True)
        flushed = client.flush(opt["flush_ms"] / 1000)
    stats = client.stats()
    print(json.dumps({**stats._asdict(), "seconds": took,
                      "flushed": flushed, **measured}), flush=True)


main()
