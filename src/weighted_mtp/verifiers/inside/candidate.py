"""The candidate's process: runs the completion, and answers what the tests' process asks."""

from __future__ import annotations

import io
import posix
import sys

from weighted_mtp.verifiers.inside.crossing import new_module, packed, receive, seed_random, send, silence, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MOST_PRINTED = 1 << 20


class Printed(io.BytesIO):
    """Takes what the candidate prints; more than that is dropped."""

    def write(self, data: Any) -> int:
        """As a file's."""
        return super().write(data) if self.tell() < MOST_PRINTED else len(data)

    def taken(self) -> str:
        """What was printed since it was asked last."""
        text = self.getvalue().decode(errors="replace")
        self.seek(0)
        self.truncate()
        return text


def serve(requests: int, replies: int, seed: int) -> NoReturn:
    """Defines the program, then answers calls of its functions until there are no more."""
    source, entry_point = receive(requests)
    names = new_module("candidate")
    silence()
    seed_random(seed, source)
    printed = Printed()
    sys.stdout = io.TextIOWrapper(printed, encoding="utf-8", write_through=True)
    expressions = {}

    def load() -> Any:
        exec(compile(source, "<candidate>", "exec", dont_inherit=True), names)
        expressions[entry_point] = compile(_on_instance(entry_point, names), "<entry>", "eval", dont_inherit=True)
        if not callable(entry := eval(expressions[entry_point], names)):
            raise TypeError(entry_point)
        own = {name: item for name, item in names.items() if getattr(item, "__module__", None) == "candidate"}
        return {name: _is_async(item) for name, item in own.items() if callable(item)} | {entry_point: _is_async(entry)}

    def call() -> Any:
        name, form, content = request
        if name not in expressions:
            expressions[name] = compile(name, "<name>", "eval", dont_inherit=True)
        arguments, named = content if form == "value" else unpacked(form, content, names)
        value = eval(expressions[name], names)(*arguments, **named)
        return __import__("asyncio").run(value) if type(value).__name__ == "coroutine" else value

    send(replies, _answer(load, names, printed))
    while True:
        request = receive(requests)
        send(replies, _answer(call, names, printed))


def _on_instance(entry_point: str, names: dict[str, Any]) -> str:
    """The entry point; a method that lacks its instance (`Solution.add`, or `add` alone) on a fresh one."""
    holder, _, name = entry_point.strip().rpartition(".")
    if not holder and name not in names:
        own = [key for key, item in names.items() if isinstance(item, type) and item.__module__ == "candidate"]
        holder = min((key for key in own if hasattr(names[key], name)), key="Solution".__ne__, default="")
    if not holder or "(" in holder or not isinstance(owner := eval(holder, names), type):
        return entry_point
    method = getattr(owner, name)
    code = getattr(getattr(method, "__wrapped__", method), "__code__", None)
    return f"{holder}().{name}" if code and code.co_varnames[:1] == ("self",) else f"{holder}.{name}"


def _is_async(function: Any) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return bool(getattr(code, "co_flags", 0) & 0x80)


def _answer(call: Callable[[], Any], names: dict[str, Any], printed: Printed) -> tuple[str, Any, str]:
    """What came of it (value, graph, raised, opaque, stopped), its content, and what was printed."""
    try:
        value = call()
        try:
            return (*packed(value, names), printed.taken() if printed.tell() else "")
        except TypeError:
            return ("opaque", None, "")
    except Exception as error:
        return ("raised", _described(error), printed.taken())
    except BaseException:
        return ("stopped", None, "")


def _described(error: Exception) -> tuple[Any, Any, str]:
    """Its kinds, the nearest first, what its builtin kind is made from, and its message."""
    kinds = [(kind.__module__, kind.__qualname__) for kind in type(error).__mro__]
    builtin: Any = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    for attributes in (vars(error), {}):
        try:
            return kinds, packed((builtin.__reduce__(error)[1], attributes), {}), str(error)
        except Exception:
            continue
    return kinds, ("value", ((), {})), ""


def main() -> None:
    """`calls`, and the descriptors to read requests from and to write replies to, and the seed."""
    serve(*map(int, sys.argv[2:5]))
    posix._exit(0)


if __name__ == "__main__":
    main()
