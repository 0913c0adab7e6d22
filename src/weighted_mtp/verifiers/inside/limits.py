"""Starts every program in the sandbox: takes limits that it can never raise again, then runs it."""

import gc
import marshal
import resource
import sys

limits, programs = sys.argv.pop(1), sys.argv.pop(1)
for limit in limits.split(","):
    name, _, value = limit.partition("=")
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(value), int(value)))
with open("/proc/self/oom_score_adj", "w") as adjustment:
    adjustment.write("1000")  # where memory runs out, the kernel takes this process first
gc.set_threshold(20_000)  # imports make much, and little of it is garbage: a tenth of the time that they take
*modules, (_, program) = marshal.loads(bytes.fromhex(programs))
for name, code in modules:
    sys.modules[name] = type(sys)(name)
    exec(code, sys.modules[name].__dict__)
exec(program, {"__name__": "__main__"})
