"""The callback handler, on sequences as LangGraph makes them."""
import asyncio
import copy
import importlib
import sys
import threading
import unittest
import uuid

import langchain_stub as stub
from langchain_stub import Tracker, ai, document, human, llm_result, \
    tool_message
from support import lumni
from test_run import Fake

import lumni.langchain


class Without(unittest.TestCase):
    """langchain_core is not there."""

    def setUp(self):
        self.fake = Fake()
        self.handler = lumni.langchain.LumniCallbackHandler(self.fake)
        self.t = Tracker(self.handler)

    def tearDown(self):
        # Nothing of a run stays, whatever happened in it.
        self.assertEqual(self.handler.open_steps, 0)
        self.assertEqual(len(self.handler._roots), 0)

    def step(self, kind, **fields):
        return self.fake.only(kind, **fields)

    def sid(self, key):
        return str(self.t.ids[key])

    def refund(self, handled):
        """retrieve -> plan -> tools(good, bad) -> model"""
        t, boom = self.t, RuntimeError("boom")
        t.chain("root", name="myagent", metadata={
            "ls_integration": "langgraph", "thread_id": "T1", "user": "u7"},
            tags=["prod", "seq:step:1"],
            inputs={"messages": [human("refund A-1009")]})
        t.hidden("__start__", "root")
        t.end("__start__")
        t.node("retrieve", "root", 1)
        t.call("retriever_start", "docs", {"name": "Docs"}, "refund policy",
               parent="retrieve")
        t.call("retriever_end", "docs", [document("30 days", source="a.md"),
                                         document("no cash")])
        t.end("retrieve")
        t.node("plan", "root", 2)
        t.end("plan")
        t.node("tools", "root", 3)
        t.call("tool_start", "good", {"name": "good_tool"}, "{'x': 1}",
               parent="tools", inputs={"x": 1})
        t.call("tool_start", "bad", {"name": "bad_tool"}, "in",
               parent="tools")
        t.call("tool_end", "good", tool_message("fine", "c1"))
        t.call("tool_error", "bad", boom)
        if not handled:
            t.error("tools", boom)
            t.error("root", boom)
            return
        t.end("tools")
        t.node("model", "root", 4)
        t.call("chat_model_start", "chat", {"id": ["a", "FakeChat"]},
               [[human("refund A-1009"), ai("", tool_calls=[
                   {"name": "bad_tool", "args": {"y": 2}, "id": "c2",
                    "type": "tool_call"}])]],
               parent="model", invocation_params={"model": "fake-1"},
               metadata={"ls_provider": "fake", "ls_model_type": "chat"})
        for token in ("Your ", "refund"):
            t.call("llm_new_token", "chat", token, chunk=None)
        t.call("llm_end", "chat", llm_result(ai(
            "Your refund has been processed.",
            usage_metadata={"input_tokens": 11, "output_tokens": 5,
                            "total_tokens": 16},
            response_metadata={"finish_reason": "stop"})))
        t.end("model")
        t.end("root", {"messages": [ai("Your refund has been processed.")]})

    def test_handled(self):
        self.refund(True)
        self.assertEqual(self.fake.types(), [
            "run_start", "retrieval", "agent_step", "agent_step",
            "tool_call", "tool_call", "agent_step", "model_call",
            "model_output", "agent_step", "run_end"])
        self.assertEqual({e["runId"] for e in self.fake.events},
                         {self.sid("root")})
        start = self.step("run_start")
        self.assertEqual(start, {
            "runId": self.sid("root"), "type": "run_start",
            "stepId": self.sid("root"), "name": "myagent", "threadId": "T1",
            "metadata": {"user": "u7"}, "tags": ["prod"],
            "input": {"messages": [{"role": "user",
                                    "text": "refund A-1009"}]}})
        docs = self.step("retrieval")
        self.assertEqual((docs["name"], docs["query"], docs["count"]),
                         ("Docs", "refund policy", 2))
        self.assertEqual(docs["documents"][0], {
            "text": "30 days", "metadata": {"source": "a.md"}})
        self.assertEqual(docs["parentId"], self.sid("retrieve"))
        node = self.step("agent_step", name="retrieve")
        self.assertEqual((node["parentId"], node["node"], node["step"],
                          node["status"]),
                         (self.sid("root"), "retrieve", 1, "ok"))
        self.assertNotIn("metadata", node)
        self.assertNotIn("tags", node)
        good = self.step("tool_call", name="good_tool")
        self.assertEqual((good["args"], good["result"], good["toolCallId"],
                          good["status"]), ({"x": 1}, "fine", "c1", "ok"))
        bad = self.step("tool_call", name="bad_tool")
        self.assertEqual(
            (bad["args"], bad["status"], bad["error"], bad["errorType"],
             bad["origin"]), ("in", "failed", "boom", "RuntimeError", True))
        self.assertEqual(self.step("agent_step", name="tools")["status"],
                         "ok")
        call = self.step("model_call")
        self.assertEqual((call["name"], call["model"], call["provider"]),
                         ("FakeChat", "fake-1", "fake"))
        self.assertEqual(call["messages"][1], {
            "role": "assistant", "text": "", "toolCalls": [
                {"id": "c2", "name": "bad_tool", "args": {"y": 2}}]})
        out = self.step("model_output")
        self.assertEqual(out["stepId"], call["stepId"])
        self.assertEqual(out["text"], "Your refund has been processed.")
        self.assertEqual(out["usage"], {
            "inputTokens": 11, "outputTokens": 5, "totalTokens": 16})
        self.assertEqual(out["finishReason"], "stop")
        self.assertGreaterEqual(out["durationMs"], out["firstTokenMs"])
        end = self.step("run_end")
        self.assertEqual((end["status"], end["end"]), ("ok", True))
        self.assertNotIn("parentId", end)
        for event in self.fake.events:
            self.assertNotIn(None, event.values(), event)

    def test_not_handled(self):
        self.refund(False)
        origins = [e for e in self.fake.events if e.get("origin")]
        self.assertEqual([e["name"] for e in origins], ["bad_tool"])
        for kind, name in (("agent_step", "tools"), ("run_end", "myagent")):
            event = self.step(kind, name=name)
            self.assertEqual((event["status"], event["error"],
                              event["originId"]),
                             ("failed", "boom", self.sid("bad")))

    def test_tool_message_with_an_error(self):
        """ToolNode catches the error and returns a message that says so."""
        t = self.t
        t.chain("root")
        t.call("tool_start", "tool", {"name": "x"}, "in", parent="root")
        t.call("tool_end", "tool", tool_message(
            "Error: boom\n Please fix your mistakes.", "c1", "error"))
        t.end("root")
        tool = self.step("tool_call")
        self.assertEqual((tool["status"], tool["error"], tool["origin"]), (
            "failed", "Error: boom\n Please fix your mistakes.", True))
        self.assertNotIn("result", tool)
        self.assertEqual(self.step("run_end")["status"], "ok")

    def test_the_same_text_is_the_same_failure(self):
        """Over a process boundary an error comes as another object."""
        t = self.t
        t.chain("root")
        t.node("node", "root", 1)
        t.call("tool_start", "tool", {"name": "x"}, "in", parent="node")
        t.call("tool_error", "tool", RuntimeError("boom"))
        t.error("node", RuntimeError("boom"))
        t.error("root", RuntimeError("boom"))
        self.assertEqual(self.step("run_end")["originId"], self.sid("tool"))
        self.assertEqual(sum("origin" in e for e in self.fake.events), 1)

    def test_another_failure_after_a_handled_one(self):
        t = self.t
        t.chain("root")
        t.node("node", "root", 1)
        t.call("tool_start", "tool", {"name": "x"}, "in", parent="node")
        t.call("tool_error", "tool", RuntimeError("boom"))
        t.error("node", KeyError("other"))
        t.error("root", KeyError("other"))
        self.assertTrue(self.step("tool_call")["origin"])
        self.assertTrue(self.step("agent_step")["origin"])
        self.assertEqual(self.step("run_end")["originId"], self.sid("node"))

    def test_parallel_branches(self):
        """Their callbacks interleave; one fails, the other is cancelled."""
        t, boom = self.t, ValueError("left")
        t.chain("root")
        t.node("left", "root", 1)
        t.node("right", "root", 1)
        t.call("tool_start", "l1", {"name": "l1"}, "", parent="left")
        t.call("tool_start", "r1", {"name": "r1"}, "", parent="right")
        t.call("tool_error", "l1", boom)
        t.call("tool_error", "r1", asyncio.CancelledError())
        t.error("left", boom)
        t.error("right", asyncio.CancelledError())
        t.error("root", boom)
        self.assertEqual(self.step("tool_call", name="r1")["status"],
                         "cancelled")
        self.assertEqual(self.step("agent_step", name="right")["status"],
                         "cancelled")
        self.assertEqual(self.step("tool_call", name="r1")["parentId"],
                         self.sid("right"))
        self.assertEqual([e["name"] for e in self.fake.events
                          if e.get("origin")], ["l1"])
        self.assertEqual(self.step("run_end")["originId"], self.sid("l1"))

    def test_parallel_in_threads(self):
        t = self.t
        t.chain("root")
        for i in range(8):
            t.id("n%d" % i), t.id("m%d" % i)

        def branch(i):
            t.node("n%d" % i, "root", 1)
            for _ in range(50):
                t.ids["m%d" % i] = uuid.uuid4()
                t.call("llm_start", "m%d" % i, None, ["p"],
                       parent="n%d" % i)
                t.call("llm_end", "m%d" % i, llm_result(ai("x")))
            t.end("n%d" % i)

        threads = [threading.Thread(target=branch, args=(i,))
                   for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        t.end("root")
        self.assertEqual(len(self.fake.events), 2 + 8 + 8 * 50 * 2)
        self.assertEqual(self.fake.types()[-1], "run_end")

    def test_subgraph(self):
        t, boom = self.t, ValueError("inner")
        t.chain("root")
        t.node("outer node", "root", 1)
        t.chain("sub", "outer node", name="subgraph")
        t.hidden("__start__", "sub")
        t.end("__start__")
        t.node("inner node", "sub", 1)
        t.error("inner node", boom)
        t.error("sub", boom)
        t.error("outer node", boom)
        t.error("root", boom)
        self.assertEqual(self.fake.types(), [
            "run_start", "agent_step", "agent_step", "agent_step",
            "run_end"])
        sub = self.step("agent_step", name="subgraph")
        self.assertEqual((sub["parentId"], sub["originId"]),
                         (self.sid("outer node"), self.sid("inner node")))
        self.assertEqual(sum(e.get("origin", False)
                             for e in self.fake.events), 1)

    def test_below_a_hidden_span(self):
        t, boom = self.t, ValueError("x")
        t.chain("root")
        t.node("node", "root", 1)
        t.hidden("h1", "node")
        t.hidden("h2", "h1")
        t.call("tool_start", "tool", None, "in", parent="h2", name="x")
        t.call("tool_error", "tool", boom)
        t.error("h2", boom)
        t.error("h1", boom)
        t.error("node", boom)
        t.end("root")
        self.assertEqual(self.step("tool_call")["parentId"],
                         self.sid("node"))
        self.assertEqual(self.step("agent_step")["originId"],
                         self.sid("tool"))

    def test_a_hidden_span_that_fails(self):
        """Its failure is that of the nearest step that has an event."""
        t, boom = self.t, ValueError("x")
        t.chain("root")
        t.node("node", "root", 1)
        t.hidden("h", "node")
        t.error("h", boom)
        t.error("node", boom)
        t.error("root", boom)
        self.assertTrue(self.step("agent_step")["origin"])
        self.assertEqual(self.step("run_end")["originId"], self.sid("node"))

    def test_cancelled(self):
        """No end is reported of what was open when the run was cancelled."""
        t = self.t
        t.chain("root")
        t.node("node", "root", 1)
        t.call("chat_model_start", "chat", None, [[human("x")]],
               parent="node")
        t.call("tool_start", "tool", None, "in", parent="node", name="x")
        t.error("root", asyncio.CancelledError())
        self.assertEqual(self.fake.types()[2:], [
            "tool_call", "model_output", "agent_step", "run_end"])
        self.assertEqual({e["status"] for e in self.fake.events[2:]},
                         {"cancelled"})
        self.assertFalse(any("origin" in e for e in self.fake.events))
        # What comes later is left out.
        count = len(self.fake.events)
        t.call("tool_end", "tool", "late")
        t.call("llm_end", "chat", llm_result(ai("late")))
        t.end("node")
        t.end("root")
        t.call("tool_start", "tool2", None, "in", parent="node", name="y")
        t.call("tool_end", "tool2", "late")
        self.assertEqual(len(self.fake.events), count)

    def test_interrupt_is_no_failure(self):
        t, wait = self.t, stub.GraphInterrupt("ask a person")
        t.chain("root")
        t.node("node", "root", 1)
        t.error("node", wait)
        t.end("root", {})
        self.assertEqual(self.step("agent_step")["status"], "ok")
        self.assertEqual(self.step("run_end")["status"], "ok")

    def test_roots_that_are_no_chain(self):
        t = self.t
        t.call("llm_start", "llm", {"name": "m"}, ["one", "two"])
        t.call("llm_error", "llm", RuntimeError("boom"))
        t.call("tool_start", "tool", {"name": "x"}, "in")
        t.call("tool_end", "tool", "out")
        self.assertEqual(self.fake.types(), [
            "run_start", "model_call", "model_output", "run_end",
            "run_start", "tool_call", "run_end"])
        call, out, end = self.fake.events[1:4]
        self.assertEqual(call["prompt"], "one\ntwo")
        self.assertEqual((call["stepId"], out["stepId"]),
                         (self.sid("llm"),) * 2)
        self.assertNotIn("parentId", call)
        self.assertTrue(out["origin"])
        self.assertEqual(end["originId"], self.sid("llm"))
        self.assertTrue(end["end"])

    def test_in_a_run_of_the_program(self):
        with lumni.run("mine", client=self.fake) as run:
            with run.step("s") as step:
                self.t.chain("root", name="graph")
                self.t.node("node", "root", 1)
                self.t.end("node")
                self.t.end("root")
        self.assertEqual(self.fake.types(), [
            "run_start", "agent_step", "agent_step", "agent_step",
            "run_end"])
        graph = self.step("agent_step", name="graph")
        self.assertEqual((graph["runId"], graph["parentId"]),
                         ("mine", step.step_id))

    def test_custom_event(self):
        t = self.t
        t.chain("root")
        t.hidden("h", "root")
        t.handler.on_custom_event("progress", {"done": 3},
                                  run_id=t.id("h"), tags=[], metadata={})
        t.handler.on_custom_event("lost", {}, run_id=uuid.uuid4())
        t.end("h")
        t.end("root")
        event = self.step("custom")
        self.assertEqual((event["name"], event["data"], event["parentId"]),
                         ("progress", {"done": 3}, self.sid("root")))

    def test_an_end_without_a_start(self):
        t = self.t
        t.end("nobody")
        t.call("tool_error", "nobody", RuntimeError("x"))
        t.chain("root")
        t.chain("root")         # twice
        t.end("root")
        self.assertEqual(self.fake.types(), ["run_start", "run_end"])

    def test_runs_that_never_end(self):
        handler = lumni.langchain.LumniCallbackHandler(
            self.fake, max_open=100)
        for _ in range(1000):
            t = Tracker(handler)
            t.chain("root")
            t.node("node", "root", 1)
            self.assertLessEqual(handler.open_steps, 100)
        self.assertLessEqual(len(handler._gone), 10000)
        ends = [e for e in self.fake.events if e["type"] == "run_end"]
        self.assertEqual(len(ends), 950)
        self.assertEqual((ends[0]["status"], ends[0]["error"]),
                         ("cancelled", "no end was reported"))
        self.assertEqual(len(self.fake.events), 1000 + 950 * 2)

    def test_failures_leave_no_memory(self):
        t = self.t
        t.chain("root")
        for i in range(1000):
            t.call("tool_start", "t%d" % i, None, "", parent="root")
            t.call("tool_error", "t%d" % i, RuntimeError(str(i)))
        self.assertLessEqual(
            len(next(iter(self.handler._roots.values())).below), 16)
        t.end("root")

    def test_values_are_bounded(self):
        handler = lumni.langchain.LumniCallbackHandler(
            self.fake, max_text=10, max_items=3)
        t = Tracker(handler)
        ring = []
        ring.append(ring)
        t.chain("root", inputs={"text": "x" * 50, "list": list(range(9)),
                                "ring": ring, "bytes": b"y" * 50,
                                "lost": "z"})
        t.end("root")
        given = self.step("run_start")["input"]
        self.assertEqual(given["text"], "x" * 10 + "... [cut, 50 characters]")
        self.assertEqual(given["list"], [0, 1, 2, "... [cut, 9 items]"])
        self.assertEqual(given["..."], "[cut, 5 items]")

    def test_without_values(self):
        handler = lumni.langchain.LumniCallbackHandler(
            self.fake, record_values=False)
        self.handler, self.t = handler, Tracker(handler)
        self.refund(True)
        text = repr(self.fake.events)
        for secret in ("A-1009", "30 days", "fine", "processed", "policy"):
            self.assertNotIn(secret, text)
        self.assertEqual(self.step("retrieval")["count"], 2)

    def test_faults_of_ours_stay_ours(self):
        class Broken:
            def event(self, *args, **kwargs):
                raise OSError("no")

        t = Tracker(lumni.langchain.LumniCallbackHandler(Broken()))
        t.chain("root")
        t.call("llm_end", "x", object())
        t.call("retriever_end", "x", None)
        t.end("root")

    def test_copies_are_the_same(self):
        self.assertIs(copy.deepcopy(self.handler), self.handler)
        self.assertIs(copy.copy(self.handler), self.handler)


class With(Without):
    """langchain_core is there, in shape."""

    @classmethod
    def setUpClass(cls):
        cls.names = stub.install()
        importlib.reload(lumni.langchain)

    @classmethod
    def tearDownClass(cls):
        for name in cls.names:
            del sys.modules[name]
        importlib.reload(lumni.langchain)

    def test_is_a_handler(self):
        self.assertIsInstance(self.handler, stub.BaseCallbackHandler)
        self.assertFalse(self.handler.ignore_chain)
        self.assertTrue(self.handler.run_inline)
        self.assertFalse(self.handler.raise_error)
        self.assertIs(lumni.LumniCallbackHandler,
                      lumni.langchain.LumniCallbackHandler)


if __name__ == "__main__":
    unittest.main()
