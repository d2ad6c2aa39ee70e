"""The callback handler for LangChain and LangGraph.

    graph.invoke(state, {"callbacks": [LumniCallbackHandler()]})

The table in lumni-events(7) says which callback becomes which event.
"""
from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from typing import (TYPE_CHECKING, Any, Callable, Dict, List, Optional,
                    Sequence, TypeVar)

from . import _client, _failure, _langchain_values as values, _run

if TYPE_CHECKING:
    class _Base:
        """The shape of langchain_core's BaseCallbackHandler."""
else:
    try:
        from langchain_core.callbacks.base import BaseCallbackHandler as _Base
    except Exception:
        class _Base:
            ignore_llm = False
            ignore_retry = False
            ignore_chain = False
            ignore_agent = False
            ignore_retriever = False
            ignore_chat_model = False
            ignore_custom_event = False

F = TypeVar("F", bound=Callable[..., Any])
HIDDEN = "langsmith:hidden"


def _quiet(method: F) -> F:
    """A fault of ours is not the agent's."""
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            pass
    return call  # type: ignore[return-value]


class _Step:
    """A callback's run that has begun and not ended."""

    __slots__ = ("id", "root", "parent", "type", "name", "hidden", "start",
                 "first_token", "fields", "below", "open", "run_id", "outer")

    def __init__(self, step_id: str, parent: Optional[_Step], type: str,
                 name: Optional[str]) -> None:
        self.id = step_id
        self.parent = parent
        self.root: _Step = parent.root if parent is not None else self
        self.type = type
        self.name = name
        self.hidden = False
        self.start = time.monotonic_ns()
        self.first_token: Optional[float] = None
        self.fields: Dict[str, Any] = {}
        self.below: Dict[str, str] = {}
        # In a root: the steps that are open, itself first; its run's id; and
        # the step of ours that it is a part of, if any.
        self.open: Dict[str, _Step] = {}
        self.run_id = step_id
        self.outer: Optional[_run.Step] = None

    def visible_parent(self) -> Optional[str]:
        """The nearest ancestor that has an event."""
        step = self.parent
        while step is not None and step.hidden and step.parent is not None:
            step = step.parent
        if step is not None:
            return step.id
        return self.outer.step_id if self.outer is not None else None


class LumniCallbackHandler(_Base):
    """Sends the steps of each run to lumnid.

    client: where None, that of the process.
    max_text: longer strings are cut. max_items: longer arrays and maps too.
    record_values: False leaves out inputs, outputs, messages, arguments,
    results and documents.
    max_open: steps that may be open at a time; the oldest run is given up
    when there are more.
    """

    raise_error = False
    # In the order of the calls, before the others, on the agent's own thread:
    # a call takes microseconds and never waits.
    run_inline = True

    def __init__(self, client: Optional[_client.Client] = None, *,
                 max_text: int = 16384, max_items: int = 1000,
                 record_values: bool = True, max_open: int = 100000) -> None:
        super().__init__()
        self._client = client
        self._limits = values.Limits(max_text, max_items)
        self._record = record_values
        self._max_open = max_open
        self._lock = threading.RLock()
        self._steps: Dict[str, _Step] = {}
        self._roots: OrderedDict[str, _Step] = OrderedDict()
        # Steps that were given up: what is said of them later is left out.
        self._gone: OrderedDict[str, None] = OrderedDict()

    # A handler is copied with the config that it is in.
    def __copy__(self) -> LumniCallbackHandler:
        return self

    def __deepcopy__(self, memo: Any) -> LumniCallbackHandler:
        return self

    @property
    def open_steps(self) -> int:
        """How many steps have begun and not ended."""
        return len(self._steps)

    # --- the callbacks ---

    @_quiet
    def on_chain_start(self, serialized: Optional[Dict[str, Any]],
                       inputs: Any, *, run_id: Any,
                       parent_run_id: Any = None,
                       tags: Optional[List[str]] = None,
                       metadata: Optional[Dict[str, Any]] = None,
                       **kwargs: Any) -> None:
        self._begin("agent_step", serialized, run_id, parent_run_id, tags,
                    metadata, kwargs, {}, inputs)

    @_quiet
    def on_chain_end(self, outputs: Any, *, run_id: Any,
                     **kwargs: Any) -> None:
        self._end(run_id, {}, outputs)

    @_quiet
    def on_chain_error(self, error: BaseException, *, run_id: Any,
                       **kwargs: Any) -> None:
        self._end(run_id, {}, error=error)

    @_quiet
    def on_chat_model_start(self, serialized: Optional[Dict[str, Any]],
                            messages: Sequence[Sequence[Any]], *, run_id: Any,
                            parent_run_id: Any = None,
                            tags: Optional[List[str]] = None,
                            metadata: Optional[Dict[str, Any]] = None,
                            **kwargs: Any) -> None:
        said: Dict[str, Any] = {}
        if self._record:
            said["messages"] = [values.message(m, self._limits)
                                for batch in messages for m in batch]
        self._begin("model_call", serialized, run_id, parent_run_id, tags,
                    metadata, kwargs, said, said.get("messages"))

    @_quiet
    def on_llm_start(self, serialized: Optional[Dict[str, Any]],
                     prompts: Sequence[str], *, run_id: Any,
                     parent_run_id: Any = None,
                     tags: Optional[List[str]] = None,
                     metadata: Optional[Dict[str, Any]] = None,
                     **kwargs: Any) -> None:
        said: Dict[str, Any] = {}
        if self._record:
            said["prompt"] = values.plain("\n".join(prompts), self._limits)
        self._begin("model_call", serialized, run_id, parent_run_id, tags,
                    metadata, kwargs, said, said.get("prompt"))

    @_quiet
    def on_llm_new_token(self, token: Any, *, run_id: Any,
                         **kwargs: Any) -> None:
        step = self._steps.get(str(run_id))
        if step is not None and step.first_token is None:
            step.first_token = _run._ms(step.start)

    @_quiet
    def on_llm_end(self, response: Any, *, run_id: Any,
                   **kwargs: Any) -> None:
        said = values.model_answer(response, self._limits)
        if not self._record:
            said.pop("text", None)
            said.pop("toolCalls", None)
        self._end(run_id, said, said.get("text"))

    @_quiet
    def on_llm_error(self, error: BaseException, *, run_id: Any,
                     **kwargs: Any) -> None:
        self._end(run_id, {}, error=error)

    @_quiet
    def on_tool_start(self, serialized: Optional[Dict[str, Any]],
                      input_str: str, *, run_id: Any,
                      parent_run_id: Any = None,
                      tags: Optional[List[str]] = None,
                      metadata: Optional[Dict[str, Any]] = None,
                      inputs: Optional[Dict[str, Any]] = None,
                      **kwargs: Any) -> None:
        said: Dict[str, Any] = {}
        if self._record:
            said["args"] = values.plain(
                inputs if inputs is not None else input_str, self._limits)
        if kwargs.get("tool_call_id"):
            said["toolCallId"] = kwargs["tool_call_id"]
        self._begin("tool_call", serialized, run_id, parent_run_id, tags,
                    metadata, kwargs, said, said.get("args"))

    @_quiet
    def on_tool_end(self, output: Any, *, run_id: Any, **kwargs: Any) -> None:
        said: Dict[str, Any] = {}
        call_id = getattr(output, "tool_call_id", None)
        if call_id:
            said["toolCallId"] = call_id
        content = getattr(output, "content", output)
        result = values.plain(content, self._limits)
        if self._record and result is not None:
            said["result"] = result
        error = None
        if getattr(output, "status", None) == "error":
            error = values.text_of(content, self._limits)
            said.pop("result", None)
        self._end(run_id, said, said.get("result"), error=error)

    @_quiet
    def on_tool_error(self, error: BaseException, *, run_id: Any,
                      **kwargs: Any) -> None:
        self._end(run_id, {}, error=error)

    @_quiet
    def on_retriever_start(self, serialized: Optional[Dict[str, Any]],
                           query: str, *, run_id: Any,
                           parent_run_id: Any = None,
                           tags: Optional[List[str]] = None,
                           metadata: Optional[Dict[str, Any]] = None,
                           **kwargs: Any) -> None:
        said: Dict[str, Any] = {}
        if self._record:
            said["query"] = values.plain(query, self._limits)
        self._begin("retrieval", serialized, run_id, parent_run_id, tags,
                    metadata, kwargs, said, said.get("query"))

    @_quiet
    def on_retriever_end(self, documents: Sequence[Any], *, run_id: Any,
                         **kwargs: Any) -> None:
        said: Dict[str, Any] = {"count": len(documents)}
        if self._record:
            said["documents"] = [
                values.document(d, self._limits)
                for d in documents[:self._limits.items]]
        self._end(run_id, said)

    @_quiet
    def on_retriever_error(self, error: BaseException, *, run_id: Any,
                           **kwargs: Any) -> None:
        self._end(run_id, {}, error=error)

    @_quiet
    def on_custom_event(self, name: str, data: Any, *, run_id: Any,
                        **kwargs: Any) -> None:
        with self._lock:
            step = self._steps.get(str(run_id))
            if step is None:
                return
            shown = step.id if not step.hidden else step.visible_parent()
            event: Dict[str, Any] = {"type": "custom", "name": name}
            if shown is not None:
                event["parentId"] = shown
            if self._record and data is not None:
                event["data"] = values.plain(data, self._limits)
            self._emit(step.root, event)

    # --- steps ---

    def _emit(self, root: _Step, event: Dict[str, Any],
              end: bool = False) -> None:
        client = self._client
        if client is None:
            client = root.outer.run.client if root.outer is not None \
                else _run.default_client()
        client.event(root.run_id, event, end=end)

    def _begin(self, type: str, serialized: Any, run_id: Any, parent_id: Any,
               tags: Optional[List[str]], metadata: Optional[Dict[str, Any]],
               kwargs: Dict[str, Any], said: Dict[str, Any],
               value: Any) -> None:
        key = str(run_id)
        with self._lock:
            if key in self._steps or key in self._gone:
                return
            parent = None
            if parent_id is not None:
                parent = self._steps.get(str(parent_id))
                if parent is None and str(parent_id) in self._gone:
                    self._forget(key)
                    return
            step = _Step(key, parent, type,
                         values.name_of(serialized, kwargs))
            step.hidden = parent is not None and bool(tags) and \
                HIDDEN in (tags or ())
            step.fields = values.surroundings(type, tags, metadata, kwargs,
                                              self._limits)
            self._steps[key] = step
            step.root.open[key] = step
            if parent is None:
                self._begin_run(step, value)
            if type == "model_call":
                self._emit(step.root, self._event(
                    step, "model_call", {**step.fields, **said}))
                step.fields = {}
            else:
                step.fields.update(said)
            self._bound()

    def _begin_run(self, root: _Step, value: Any) -> None:
        self._roots[root.id] = root
        root.outer = _run.current()
        if root.outer is not None:
            # Inside a run of the program's own.
            root.run_id = root.outer.run.run_id
            return
        event: Dict[str, Any] = {"type": "run_start", "stepId": root.id}
        if root.name:
            event["name"] = root.name
        if self._record and value is not None:
            event["input"] = values.plain(value, self._limits)
        for name in ("threadId", "tags", "metadata"):
            if name in root.fields:
                event[name] = root.fields.pop(name)
        self._emit(root, event)

    def _event(self, step: _Step, type: str,
               said: Dict[str, Any]) -> Dict[str, Any]:
        event: Dict[str, Any] = {"type": type, "stepId": step.id}
        parent = step.visible_parent()
        if parent is not None:
            event["parentId"] = parent
        if step.name:
            event["name"] = step.name
        event.update(said)
        return event

    def _end(self, run_id: Any, said: Dict[str, Any], value: Any = None,
             error: Any = None) -> None:
        with self._lock:
            step = self._steps.pop(str(run_id), None)
            if step is None:
                return
            step.root.open.pop(step.id, None)
            how = self._outcome(step, error)
            how["durationMs"] = _run._ms(step.start)
            if step is step.root:
                self._end_run(step, said, how, value)
            elif not step.hidden:
                self._end_step(step, said, how)

    def _end_step(self, step: _Step, said: Dict[str, Any],
                  how: Dict[str, Any]) -> None:
        type = "model_output" if step.type == "model_call" else step.type
        if step.first_token is not None:
            said["firstTokenMs"] = step.first_token
        self._emit(step.root, self._event(
            step, type, {**step.fields, **said, **how}))

    def _end_run(self, root: _Step, said: Dict[str, Any],
                 how: Dict[str, Any], value: Any) -> None:
        for step in reversed(list(root.open.values())):
            self._steps.pop(step.id, None)
            self._forget(step.id)
            if not step.hidden:
                self._end_step(step, {}, {
                    "status": "cancelled",
                    "durationMs": _run._ms(step.start)})
        root.open.clear()
        self._roots.pop(root.id, None)
        self._forget(root.id)
        if root.type != "agent_step" or root.outer is not None:
            self._end_step(root, said, dict(how))
        if root.outer is not None:
            return
        event: Dict[str, Any] = {"type": "run_end", "stepId": root.id}
        if root.name:
            event["name"] = root.name
        if self._record and value is not None:
            event["output"] = values.plain(value, self._limits)
        if root.type != "agent_step" and how.pop("origin", False):
            how["originId"] = root.id
        event.update(how)
        self._emit(root, event, end=True)

    def _outcome(self, step: _Step, error: Any) -> Dict[str, Any]:
        """status, and what there is to say of the error."""
        if error is None or _failure.is_interrupt(error):
            return {"status": "ok"}
        how: Dict[str, Any] = {
            "status": "failed",
            "error": values.plain(_failure.text_of(error), self._limits)}
        if isinstance(error, BaseException):
            how["errorType"] = type(error).__name__
        if _failure.is_cancel(error):
            how["status"] = "cancelled"
            return how
        own = step.id
        if step.hidden:
            # It has no event that could say so.
            own = step.visible_parent() or own
        origin = _failure.origin_of(error, step.root.run_id, own, step.below)
        if step.parent is not None:
            _failure.remember(step.parent.below, error, origin)
        if origin == own:
            how["origin"] = True
        else:
            how["originId"] = origin
        return how

    # --- bounds ---

    def _forget(self, key: str) -> None:
        self._gone[key] = None
        while len(self._gone) > 10000:
            self._gone.popitem(last=False)

    def _bound(self) -> None:
        """Runs that never end must not fill the memory."""
        while len(self._steps) > self._max_open and self._roots:
            root = next(iter(self._roots.values()))
            self._steps.pop(root.id, None)
            root.open.pop(root.id, None)
            self._end_run(root, {}, {
                "status": "cancelled", "error": "no end was reported",
                "durationMs": _run._ms(root.start)}, None)
