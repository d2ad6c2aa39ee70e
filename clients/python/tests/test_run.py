"""Runs, steps and the decorator."""
import asyncio
import contextvars
import os
import subprocess
import sys
import threading
import unittest

from support import TestCase, lumni

HERE = os.path.dirname(os.path.abspath(__file__))


class Fake:
    """A client that keeps what it is given."""

    def __init__(self):
        self.events = []

    def event(self, run_id, event, *, end=False):
        self.events.append({"runId": run_id, **event,
                            **({"end": True} if end else {})})
        return True

    def types(self):
        return [e["type"] for e in self.events]

    def only(self, kind, **fields):
        found = [e for e in self.events if e["type"] == kind
                 and all(e.get(k) == v for k, v in fields.items())]
        assert len(found) == 1, (kind, fields, self.events)
        return found[0]


class Runs(TestCase):
    def setUp(self):
        super().setUp()
        self.fake = Fake()

    def run_(self, run_id="r", **kw):
        return lumni.run(run_id, client=self.fake, **kw)

    def test_whole(self):
        with self.run_("run_8842", name="refunds", input={"q": 1}) as run:
            run.tool_call("issue_refund", {"order": "A"}, status="failed",
                          error="502 Bad Gateway", duration_ms=812.4)
            call = run.model_call(model="m", messages=[{"role": "user"}])
            run.model_output("Your refund has been processed.", step_id=call)
            run.retrieval("docs", query="q", documents=["a", "b"])
            run.event("custom", name="x", data=1)
        self.assertEqual(self.fake.types(), [
            "run_start", "tool_call", "model_call", "model_output",
            "retrieval", "custom", "run_end"])
        start, tool, call, out, found, own, end = self.fake.events
        self.assertEqual(start, {
            "runId": "run_8842", "type": "run_start", "stepId": "run_8842",
            "name": "refunds", "input": {"q": 1}})
        self.assertEqual(
            {k: v for k, v in tool.items() if k != "stepId"},
            {"runId": "run_8842", "type": "tool_call",
             "parentId": "run_8842", "name": "issue_refund",
             "args": {"order": "A"}, "status": "failed",
             "error": "502 Bad Gateway", "origin": True,
             "durationMs": 812.4})
        self.assertEqual(call["stepId"], out["stepId"])
        self.assertNotEqual(call["stepId"], tool["stepId"])
        self.assertEqual(out["status"], "ok")
        self.assertEqual(found["count"], 2)
        self.assertEqual(own["parentId"], "run_8842")
        self.assertEqual((end["status"], end["end"], end["stepId"]),
                         ("ok", True, "run_8842"))
        self.assertNotIn("parentId", end)

    def test_failure_has_one_origin(self):
        with self.assertRaises(ValueError):
            with self.run_() as run:
                with run.step("plan") as step:
                    with step.tool("t", {"a": 1}):
                        raise ValueError("boom")
        tool = self.fake.only("tool_call")
        step = self.fake.only("agent_step")
        end = self.fake.only("run_end")
        self.assertEqual((tool["origin"], tool["error"], tool["errorType"]),
                         (True, "boom", "ValueError"))
        self.assertEqual(tool["parentId"], step["stepId"])
        for above in (step, end):
            self.assertEqual(above["originId"], tool["stepId"])
            self.assertEqual(above["status"], "failed")
            self.assertNotIn("origin", above)

    def test_wrapped_and_new_failures(self):
        with self.run_() as run:
            with self.assertRaises(RuntimeError):
                with run.step("wraps"):
                    try:
                        with lumni.current().tool("t1"):
                            raise ValueError("deep")
                    except ValueError as error:
                        raise RuntimeError("wrapped") from error
            with self.assertRaises(KeyError):
                with run.step("another") as step:
                    step.tool_call("t2", error="handled")
                    raise KeyError("new")
        t1 = self.fake.only("tool_call", name="t1")
        self.assertEqual(self.fake.only("agent_step", name="wraps")
                         ["originId"], t1["stepId"])
        self.assertTrue(self.fake.only("agent_step", name="another")
                        ["origin"])
        self.assertEqual(self.fake.only("run_end")["status"], "ok")

    def test_cancelled_is_no_failure(self):
        async def main():
            async with self.run_() as run:
                with run.tool("slow"):
                    await asyncio.sleep(60)

        async def outer():
            task = asyncio.ensure_future(main())
            await asyncio.sleep(0.01)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(outer())
        for kind in ("tool_call", "run_end"):
            event = self.fake.only(kind)
            self.assertEqual(event["status"], "cancelled")
            self.assertNotIn("origin", event)

    def test_tasks_have_their_own_step(self):
        @lumni.tool
        async def work(n):
            await asyncio.sleep(0.001 * (5 - n))
            return n

        async def one(n):
            with self.run_("run%d" % n) as run:
                with run.step("s%d" % n):
                    await asyncio.gather(work(n), work(n))

        async def main():
            await asyncio.gather(*[one(n) for n in range(5)])

        asyncio.run(main())
        self.assertIsNone(lumni.current())
        for n in range(5):
            step = self.fake.only("agent_step", name="s%d" % n)
            tools = [e for e in self.fake.events if e["type"] == "tool_call"
                     and e["runId"] == "run%d" % n]
            self.assertEqual([(t["parentId"], t["args"], t["result"])
                              for t in tools],
                             [(step["stepId"], {"n": n}, n)] * 2)
        ids = [e["stepId"] for e in self.fake.events
               if e["type"] != "run_end"]
        self.assertEqual(len(set(ids)), len(ids))

    def test_decorator(self):
        @lumni.tool
        def plain(a, b=2, *rest, **more):
            """What it does."""
            return a + b

        @lumni.tool(name="other", record_args=False, record_result=False)
        def quiet(secret):
            return secret

        class Box:
            @lumni.tool
            def method(self, x):
                return x

        @lumni.tool
        def numbers(n):
            yield from range(n)
            return "done"

        @lumni.tool
        async def later(n):
            for i in range(n):
                yield i

        @lumni.tool
        def fails():
            raise OSError("gone")

        async def collect():
            return [i async for i in later(2)]

        self.assertEqual(plain(1), 3)       # outside of a run
        self.assertEqual(list(numbers(2)), [0, 1])
        self.assertEqual(plain.__doc__, "What it does.")
        with self.run_():
            self.assertEqual(plain(1, 5, 7, z=8), 6)
            self.assertEqual(quiet("s"), "s")
            self.assertEqual(Box().method(4), 4)
            self.assertEqual(list(numbers(3)), [0, 1, 2])
            self.assertEqual(asyncio.run(collect()), [0, 1])
            with self.assertRaises(OSError):
                fails()
            with self.assertRaises(TypeError):
                plain()
        only = self.fake.only
        self.assertEqual(only("tool_call", name="plain", status="ok")["args"],
                         {"a": 1, "b": 5, "rest": (7,), "z": 8})
        other = only("tool_call", name="other")
        self.assertNotIn("args", other)
        self.assertNotIn("result", other)
        self.assertEqual(only("tool_call", name="method")["args"], {"x": 4})
        only("tool_call", name="numbers")
        only("tool_call", name="later")
        self.assertEqual(only("tool_call", name="fails")["error"], "gone")
        only("tool_call", name="plain", status="failed")

    def test_threads(self):
        """A thread has the run that its context was copied in."""
        @lumni.tool
        def work():
            return lumni.current().run.run_id

        with self.run_():
            context = contextvars.copy_context()
            thread = threading.Thread(target=context.run, args=(work,))
            thread.start()
            thread.join()
        self.assertEqual(self.fake.only("tool_call")["result"], "r")

    def test_without_an_id(self):
        with lumni.run(client=self.fake) as a, lumni.run(
                client=self.fake) as b:
            self.assertNotEqual(a.run_id, b.run_id)


class Examples(TestCase):
    def test_each_runs(self):
        server = self.serve()
        directory = os.path.join(HERE, "..", "examples")
        names = sorted(os.listdir(directory))
        self.assertTrue(names)
        for name in names:
            if not name.endswith(".py"):
                continue
            done = subprocess.run(
                [sys.executable, os.path.join(directory, name)],
                env={**os.environ, "LUMNID_ADDRESS": "unix://" + self.path,
                     "PYTHONPATH": os.path.dirname(os.path.dirname(
                         lumni.__file__))},
                capture_output=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        # Two of a refund, and two runs side by side.
        server.wait(lambda e: sum(x["type"] == "run_end" for x in e) == 4)


if __name__ == "__main__":
    unittest.main()
