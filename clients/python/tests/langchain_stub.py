"""langchain_core's callbacks, in shape: the base class, the values, and a
manager that calls handlers as the real one does."""
import sys
import types
import uuid


class BaseCallbackHandler:
    raise_error = False
    run_inline = False

    ignore_llm = property(lambda self: False)
    ignore_retry = property(lambda self: False)
    ignore_chain = property(lambda self: False)
    ignore_agent = property(lambda self: False)
    ignore_retriever = property(lambda self: False)
    ignore_chat_model = property(lambda self: False)
    ignore_custom_event = property(lambda self: False)

    def on_chat_model_start(self, *args, **kwargs):
        raise NotImplementedError

    def on_text(self, text, *, run_id, **kwargs):
        pass

    def on_retry(self, retry_state, *, run_id, **kwargs):
        pass


def install():
    names = ("langchain_core", "langchain_core.callbacks",
             "langchain_core.callbacks.base")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[2]].BaseCallbackHandler = BaseCallbackHandler
    return names


class Value:
    def __init__(self, **fields):
        self.__dict__.update(fields)


def human(text):
    return Value(type="human", content=text)


def ai(text, **more):
    return Value(type="ai", content=text, **more)


def tool_message(text, call_id, status="success"):
    return Value(type="tool", content=text, tool_call_id=call_id,
                 status=status)


def document(text, **metadata):
    return Value(page_content=text, metadata=metadata)


def llm_result(message, **output):
    return Value(generations=[[Value(text=message.content, message=message,
                                     generation_info={})]],
                 llm_output=output)


class GraphBubbleUp(Exception):
    pass


class GraphInterrupt(GraphBubbleUp):
    pass


class Tracker:
    """Calls the handler with ids that are made as a graph runs."""

    def __init__(self, handler):
        self.handler = handler
        self.ids = {}

    def id(self, key):
        return self.ids.setdefault(key, uuid.uuid4()) if key else None

    def call(self, event, key, *args, parent=None, **kwargs):
        getattr(self.handler, "on_" + event)(
            *args, run_id=self.id(key), parent_run_id=self.id(parent),
            **kwargs)

    def chain(self, key, parent=None, name=None, tags=(), metadata=None,
              inputs=None):
        self.call("chain_start", key, None, inputs, parent=parent,
                  tags=list(tags), metadata=metadata or {},
                  name=name or key)

    def node(self, key, parent, step, name=None):
        """A node of a graph."""
        self.chain(key, parent, name, tags=["graph:step:%d" % step],
                   metadata={"langgraph_node": name or key,
                             "langgraph_step": step,
                             "langgraph_path": ("__pregel_pull", key),
                             "checkpoint_ns": "x", "thread_id": "T1"})

    def hidden(self, key, parent):
        self.chain(key, parent, tags=["graph:step:0", "langsmith:hidden"])

    def end(self, key, outputs=None):
        self.call("chain_end", key, outputs)

    def error(self, key, error):
        self.call("chain_error", key, error)
