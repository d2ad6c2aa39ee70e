"""Runs and steps for a program that reports them itself."""
from __future__ import annotations

import contextvars
import functools
import inspect
import itertools
import os
import time
import uuid
from types import TracebackType
from typing import (Any, Callable, Dict, List, Mapping, Optional, Type,
                    TypeVar, Union, overload)

from . import _client, _failure

F = TypeVar("F", bound=Callable[..., Any])
Error = Union[BaseException, str, None]

_default: Optional[_client.Client] = None
_current: contextvars.ContextVar[Optional[Step]] = contextvars.ContextVar(
    "lumni_step", default=None)


def default_client() -> _client.Client:
    """The client of the process, made at its first use."""
    global _default
    if _default is None:
        _default = _client.Client()
    return _default


def configure(address: Optional[str] = None, **options: Any) -> _client.Client:
    """Make the client of the process; the arguments are Client's."""
    global _default
    old, _default = _default, _client.Client(address, **options)
    if old is not None:
        old.close()
    return _default


def current() -> Optional[Step]:
    """The step, or the run, that this code is in."""
    return _current.get()


def _ms(start_ns: int) -> float:
    return (time.monotonic_ns() - start_ns) // 1000 / 1000


class Step:
    """A part of a run, open while its `with` block is."""

    _type = "agent_step"

    def __init__(self, run: Optional[Run], parent: Optional[Step],
                 step_id: str, name: Optional[str],
                 fields: Optional[Dict[str, Any]] = None) -> None:
        self.run: Run = run if run is not None else self  # type: ignore
        self.parent = parent
        self.step_id = step_id
        self.name = name
        self.fields: Dict[str, Any] = fields or {}
        self._start = time.monotonic_ns()
        self._below: Dict[str, str] = {}
        self._tokens: List[contextvars.Token[Optional[Step]]] = []
        self._ended = False

    # --- events ---

    def event(self, type: str, **fields: Any) -> None:
        """Any event of this run, below this step."""
        event: Dict[str, Any] = {"type": type}
        if "parentId" not in fields:
            event["parentId"] = self.step_id
        event.update(fields)
        self.run._emit(event)

    def tool_call(self, name: str, args: Any = None, *,
                  result: Any = None, error: Error = None,
                  status: Optional[str] = None,
                  duration_ms: Optional[float] = None,
                  **fields: Any) -> None:
        """A tool that has returned, or failed: with an error, or so said."""
        self._done("tool_call", error, status, name=name, args=args,
                   result=result, durationMs=duration_ms, **fields)

    def retrieval(self, name: Optional[str] = None, *, query: Any = None,
                  documents: Any = None, error: Error = None,
                  status: Optional[str] = None,
                  duration_ms: Optional[float] = None,
                  **fields: Any) -> None:
        """Documents that were looked up."""
        count = len(documents) if isinstance(documents, (list, tuple)) \
            else None
        self._done("retrieval", error, status, name=name, query=query,
                   count=count, documents=documents, durationMs=duration_ms,
                   **fields)

    def model_call(self, name: Optional[str] = None, *,
                   model: Optional[str] = None, messages: Any = None,
                   prompt: Optional[str] = None, **fields: Any) -> str:
        """A model is asked. Returns the stepId for model_output()."""
        step_id = fields.pop("stepId", None) or self.run._next_id()
        self.event("model_call", stepId=step_id, **_given(
            name=name, model=model, messages=messages, prompt=prompt),
            **fields)
        return str(step_id)

    def model_output(self, text: Optional[str] = None, *,
                     step_id: Optional[str] = None, error: Error = None,
                     status: Optional[str] = None,
                     duration_ms: Optional[float] = None,
                     **fields: Any) -> None:
        """The model has answered. step_id: what model_call() returned."""
        if step_id is not None:
            fields["stepId"] = step_id
        self._done("model_output", error, status, text=text,
                   durationMs=duration_ms, **fields)

    def _done(self, type: str, error: Error, status: Optional[str],
              **fields: Any) -> None:
        fields = {k: v for k, v in fields.items() if v is not None}
        fields.setdefault("stepId", self.run._next_id())
        event = {"type": type, "stepId": fields["stepId"],
                 "parentId": self.step_id}
        event.update(fields)
        if error is None:
            event["status"] = status or "ok"
        else:
            event.update(self._error(error, str(fields["stepId"]), {}))
            if status is not None:
                event["status"] = status
        self.run._emit(event)

    def _error(self, error: Union[BaseException, str], step_id: str,
               below: Dict[str, str]) -> Dict[str, Any]:
        """What an event says of its error; self is the step above."""
        found: Dict[str, Any] = {"status": "failed",
                                 "error": _failure.text_of(error)}
        if isinstance(error, BaseException):
            found["errorType"] = type(error).__name__
            if _failure.is_cancel(error):
                found["status"] = "cancelled"
                return found
        origin = _failure.origin_of(error, self.run.run_id, step_id, below)
        _failure.remember(self._below, error, origin)
        if origin == step_id:
            found["origin"] = True
        else:
            found["originId"] = origin
        return found

    # --- steps below this one ---

    def step(self, name: str, **fields: Any) -> Step:
        """A step that contains others: with run.step("plan") as step: ..."""
        return Step(self.run, self, self.run._next_id(), name, fields)

    def tool(self, name: str, args: Any = None, **fields: Any) -> Tool:
        """A tool that is called in a `with` block, which may set .result."""
        return Tool(self.run, self, self.run._next_id(), name,
                    _given(args=args, **fields))

    # --- the block ---

    def __enter__(self) -> Step:
        self._start = time.monotonic_ns()
        self._tokens.append(_current.set(self))
        return self

    def __exit__(self, kind: Optional[Type[BaseException]],
                 error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._leave()
        self.end(error=error)

    async def __aenter__(self) -> Step:
        return self.__enter__()

    async def __aexit__(self, kind: Optional[Type[BaseException]],
                        error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        self.__exit__(kind, error, trace)

    def _leave(self) -> None:
        if self._tokens:
            try:
                _current.reset(self._tokens.pop())
            except ValueError:
                pass        # left in another context than entered

    def end(self, error: Error = None, status: Optional[str] = None,
            **fields: Any) -> None:
        """What leaving the block does; the first end counts."""
        if self._ended:
            return
        self._ended = True
        event: Dict[str, Any] = {"type": self._type, "stepId": self.step_id}
        if self.parent is not None:
            event["parentId"] = self.parent.step_id
        event.update(_given(name=self.name, **self.fields))
        event.update(_given(**fields))
        event["status"] = status or "ok"
        if error is not None:
            above = self.parent or self
            event.update(above._error(error, self.step_id, self._below))
            if status is not None:
                event["status"] = status
        event["durationMs"] = _ms(self._start)
        self._emit_end(event)

    def _emit_end(self, event: Dict[str, Any]) -> None:
        self.run._emit(event)


class Tool(Step):
    """A tool that is being called."""

    _type = "tool_call"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.result: Any = None

    def __enter__(self) -> Tool:
        super().__enter__()
        return self

    async def __aenter__(self) -> Tool:
        return self.__enter__()

    def _emit_end(self, event: Dict[str, Any]) -> None:
        if self.result is not None:
            event["result"] = self.result
        super()._emit_end(event)


class Run(Step):
    """A run: its root, which opens with run_start and ends with run_end."""

    _type = "run_end"

    def __init__(self, run_id: Optional[str] = None, *,
                 name: Optional[str] = None, input: Any = None,
                 client: Optional[_client.Client] = None,
                 **fields: Any) -> None:
        self.run_id = str(run_id) if run_id is not None \
            else "run_" + uuid.uuid4().hex
        self.client = client or default_client()
        super().__init__(None, None, self.run_id, name)
        self._input = input
        self._start_fields = fields
        self._started = False
        # A run may be written by several processes.
        self._prefix = os.urandom(4).hex()
        self._numbers = itertools.count(1)

    def _next_id(self) -> str:
        return "%s-%d" % (self._prefix, next(self._numbers))

    def _emit(self, event: Mapping[str, Any], end: bool = False) -> None:
        self.client.event(self.run_id, event, end=end)

    def start(self) -> Run:
        """Send run_start; the `with` block does so."""
        if not self._started:
            self._started = True
            self._emit({"type": "run_start", "stepId": self.run_id, **_given(
                name=self.name, input=self._input, **self._start_fields)})
        return self

    def __enter__(self) -> Run:
        super().__enter__()
        return self.start()

    async def __aenter__(self) -> Run:
        return self.__enter__()

    def _emit_end(self, event: Dict[str, Any]) -> None:
        self._emit(event, end=True)


def _given(**fields: Any) -> Dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}


def run(run_id: Optional[str] = None, *, name: Optional[str] = None,
        input: Any = None, client: Optional[_client.Client] = None,
        **fields: Any) -> Run:
    """with lumni.run("run_8842") as run: run.tool_call("search", ...)"""
    return Run(run_id, name=name, input=input, client=client, **fields)


# --- the decorator ---

def _arguments(signature: Optional[inspect.Signature], args: Any,
               kwargs: Any) -> Any:
    if signature is None:
        return {"args": list(args), **kwargs} if args else dict(kwargs)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return {"args": list(args), **kwargs}   # the call says what is wrong
    found: Dict[str, Any] = {}
    for index, (name, value) in enumerate(bound.items()):
        if index == 0 and name in ("self", "cls"):
            continue
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return found


@overload
def tool(function: F) -> F: ...


@overload
def tool(*, name: Optional[str] = None, record_args: bool = True,
         record_result: bool = True) -> Callable[[F], F]: ...


def tool(function: Optional[F] = None, *, name: Optional[str] = None,
         record_args: bool = True, record_result: bool = True) -> Any:
    """Record each call of a function as a tool_call of the current run.

    Works with functions, coroutine functions, and generators of both kinds;
    outside of a run the function is called and nothing else happens.
    """
    def decorate(inner: F) -> F:
        label = str(name or getattr(inner, "__name__", "tool"))
        try:
            signature: Optional[inspect.Signature] = inspect.signature(inner)
        except (TypeError, ValueError):
            signature = None

        def begin(args: Any, kwargs: Any) -> Optional[Tool]:
            step = _current.get()
            if step is None:
                return None
            return step.tool(label, _arguments(signature, args, kwargs)
                             if record_args else None)

        wrapped: F = _wrap(inner, begin, record_result)
        return wrapped

    return decorate if function is None else decorate(function)


def _wrap(inner: Any, begin: Callable[[Any, Any], Optional[Tool]],
          record_result: bool) -> Any:
    if inspect.iscoroutinefunction(inner):
        @functools.wraps(inner)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            step = begin(args, kwargs)
            if step is None:
                return await inner(*args, **kwargs)
            with step:
                result = await inner(*args, **kwargs)
                step.result = result if record_result else None
                return result
        return call_async

    if inspect.isasyncgenfunction(inner):
        @functools.wraps(inner)
        async def iterate_async(*args: Any, **kwargs: Any) -> Any:
            # Not entered: between two values other code runs.
            step = begin(args, kwargs)
            try:
                async for value in inner(*args, **kwargs):
                    yield value
            except BaseException as error:
                if step is not None:
                    step.end(error=error)
                raise
            if step is not None:
                step.end()
        return iterate_async

    if inspect.isgeneratorfunction(inner):
        @functools.wraps(inner)
        def iterate(*args: Any, **kwargs: Any) -> Any:
            step = begin(args, kwargs)
            try:
                result = yield from inner(*args, **kwargs)
            except BaseException as error:
                if step is not None:
                    step.end(error=error)
                raise
            if step is not None:
                step.end()
            return result
        return iterate

    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        step = begin(args, kwargs)
        if step is None:
            return inner(*args, **kwargs)
        with step:
            result = inner(*args, **kwargs)
            step.result = result if record_result else None
            return result
    return call
