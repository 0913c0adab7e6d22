"""Tests in the forms that data sets have: LeetCode's, BigCodeBench's, EvalPlus', MBPP's; and what crosses over."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from weighted_mtp.verifiers.base import Judgement
from weighted_mtp.verifiers.python_tests import PythonTests
from weighted_mtp.verifiers.table import make_verifier

pytestmark = pytest.mark.usefixtures("sandbox_works")

HOSTILE = Path(__file__).parents[3] / "shared/data/hostile/programs.jsonl"
NODES = """
from typing import *
from collections import *
from math import *

inf = float('inf')

class Node:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

def nodes(values):
    head = None
    for value in reversed(values):
        head = Node(value, head)
    return head

def same(p, q):
    while p and q and p.val == q.val:
        p, q = p.next, q.next
    return not p and not q

"""
REVERSE = """
class Solution:
    def turn(self, head: Optional[Node], k: int) -> Optional[Node]:
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
"""
CLASSES = """
import unittest

class TestCases(unittest.TestCase):
    def setUp(self):
        self.given = [1, 2]

    def test_sum(self):
        self.assertEqual(task_func(self.given), 3)

    def test_empty(self):
        with self.assertRaises(ValueError) as caught:
            task_func([])
        self.assertIn("empty", str(caught.exception))

    def test_type(self):
        self.assertIsInstance(task_func([5]), int)

    @unittest.skip("never")
    def test_skipped(self):
        task_func([])
"""


@pytest.fixture(scope="module")
def verifier() -> PythonTests:
    return PythonTests(timeout=10)


def judge(verifier: PythonTests, completion: str, test: str, prompt: str = "", entry_point: str = "f") -> Judgement:
    row = {"prompt": prompt, "completion": completion, "test": textwrap.dedent(test), "entry_point": entry_point}
    return verifier.judge(row)


def passes(verifier: PythonTests, completion: str, test: str, prompt: str = "", entry_point: str = "f") -> bool:
    return judge(verifier, completion, test, prompt, entry_point).verdict == "pass"


def test_programs_are_judged_as_their_truth_says(verifier: PythonTests):
    if not HOSTILE.exists():
        pytest.skip("no shared data")
    stdin = make_verifier("stdin")
    for line in HOSTILE.read_text().splitlines():
        row = json.loads(line)
        found = (stdin if "inputs" in row else verifier).judge(row)
        assert found.verdict == row["truth"].partition(":")[0], row


# entry points


@pytest.mark.parametrize("entry_point", ["Solution().add", "Solution.add", "Solution().inner.add", "make(1).add"])
def test_an_entry_point_may_be_dotted_and_called(verifier: PythonTests, entry_point: str):
    program = (
        "class Solution:\n    def __init__(self, x=0):\n        self.inner = self if x else Solution(1)\n"
        "    def add(self, a, b=0):\n        return a + b\n\ndef make(x):\n    return Solution(x)\n"
    )
    if entry_point == "Solution.add":
        program = program.replace("    def add(self, a", "    @staticmethod\n    def add(a")
    assert passes(
        verifier, program, "def check(candidate):\n    assert candidate(a = 1, b = 2) == 3\n", "", entry_point
    )


@pytest.mark.parametrize("entry_point", ["Solution.add", "add", " add "])
@pytest.mark.parametrize(
    "method",
    [
        "def add(self, a, b):",
        "@staticmethod\n    def add(a, b):",
        "@classmethod\n    def add(cls, a, b):",
        "@functools.cache\n    def add(self, a, b):",
        "async def add(self, a, b):",
    ],
    ids=["method", "static", "of the class", "cached", "async"],
)
def test_a_method_without_its_instance_is_called_on_a_fresh_one(verifier: PythonTests, entry_point: str, method: str):
    program = f"import functools\nclass Node:\n    pass\n\nclass Solution:\n    {method}\n        return a + b\n"
    test = "def check(candidate):\n    assert candidate(1, b=2) == 3\n"
    for completion in (program, f"Here:\n```python\n{program}```\n"):
        assert passes(verifier, completion, test, "", entry_point)
        assert not passes(verifier, completion.replace("+", "-"), test, "", entry_point)


def test_a_function_goes_before_a_method_of_its_name(verifier: PythonTests):
    program = "class A:\n    def f(self):\n        return 1\n\ndef f():\n    return 2\n"
    assert passes(verifier, program, "assert f() == 2\n")


@pytest.mark.parametrize("entry_point", ["", " ", "3", "f g", "def f", "'f'", "[f]", "(" * 9999])
def test_an_entry_point_that_names_nothing_is_an_error(verifier: PythonTests, entry_point: str):
    found = judge(verifier, "def f():\n    return 1\n", "assert f() == 1\n", "", entry_point)
    assert found == ("error", None, "entry_point names no function: it is f, Solution.f or Solution().f")


@pytest.mark.parametrize("column", ["prompt", "test", "entry_point"])
@pytest.mark.parametrize("value", [3, True, {}, [], [3], ["x"], [{}], [None], None], ids=str)
def test_a_column_of_another_type_is_an_error(verifier: PythonTests, column: str, value: Any):
    row = {"prompt": "", "completion": "def f():\n    return 1\n", "test": "assert f() == 1\n", "entry_point": "f"}
    row |= {"canonical_solution": row["completion"], column: value}
    assert verifier.judge(row) == ("error", None, "prompt, test or entry_point is no text")


def test_an_instance_is_made_for_each_call(verifier: PythonTests):
    program = "class S:\n    n = 0\n    def f(self):\n        self.n += 1\n        return self.n\n"
    assert passes(verifier, program, "def check(c):\n    assert c() == c() == 1\n", "", "S().f")


def test_a_test_may_make_the_instance_itself(verifier: PythonTests):
    program = "class Solution:\n    def f(self, x):\n        return x\n"
    assert passes(verifier, program, "assert Solution().f(3) == 3\n", "", "Solution().f")


def test_other_functions_of_the_completion_can_be_called(verifier: PythonTests):
    program = "def g(x):\n    return x + 1\n\ndef f(x):\n    return g(x)\n"
    assert passes(verifier, program, "assert f(1) == 2\nassert g(2) == 3\n")


@pytest.mark.parametrize(
    "test",
    [
        "import asyncio\ndef check(candidate):\n    assert asyncio.run(candidate(3)) == 3\n",
        "def check(candidate):\n    assert candidate(3) == 3\n",
        "import asyncio\nasync def check(candidate):\n    assert await candidate(3) == 3\n",
        "async def check(candidate):\n    assert await candidate(3) == 3\n",
        "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n"
        "        self.assertEqual(await f(3), 3)\n",
    ],
    ids=["run", "called straight", "check", "check without asyncio", "unittest"],
)
def test_an_async_function_is_awaited_or_called_straight(verifier: PythonTests, test: str):
    program = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x\n"
    assert passes(verifier, program, test)
    assert not passes(verifier, program.replace("return x", "return x + 1"), test)


# tests


@pytest.mark.parametrize("entry_point", ["", "1 +", "the function"])
def test_an_entry_point_that_is_no_name_is_an_error(verifier: PythonTests, entry_point: str):
    row = {"prompt": "", "completion": "def f(x): return x", "test": "def check(c): assert c(1) == 1"}
    assert verifier.judge(row | {"entry_point": entry_point}).verdict == "error"


def test_a_word_of_prose_before_a_question_is_no_helper(verifier: PythonTests):
    row = {"prompt": "Question\n\nWrite f.", "completion": "def f(x): return x", "entry_point": "f"}
    assert verifier.judge(row | {"test": "def check(c): assert c(1) == 1"}).verdict == "pass"


def test_nodes_of_the_prompt_cross_in_both_directions(verifier: PythonTests):
    test = """
    def check(candidate):
        assert same(candidate(head = nodes([1, 2, 3]), k = 1), nodes([3, 2, 1]))
        assert same(candidate(head = nodes([]), k = 1), nodes([]))
        assert same(candidate(head = nodes(list(range(5000))), k = 1), nodes(list(range(4999, -1, -1))))
    """
    assert passes(verifier, REVERSE, test, NODES, "Solution().turn")
    assert not passes(verifier, REVERSE.replace("return before", "return head"), test, NODES, "Solution().turn")


@pytest.mark.parametrize("hint", ["", ": Node"])
def test_nodes_cross_to_a_fenced_program_that_does_not_name_them(verifier: PythonTests, hint: str):
    program = f"```python\nclass Solution:\n    def last(self, head{hint}):\n        while head.next:\n"
    program += "            head = head.next\n        return head.val\n```\n"
    test = "def check(candidate):\n    assert candidate(nodes([1, 2, 3])) == 3\n"
    assert passes(verifier, program, test, NODES, "Solution().last")
    assert not passes(verifier, program.replace(".val", ".val + 1"), test, NODES, "Solution().last")


def test_a_class_of_the_completions_own_does_not_cross(verifier: PythonTests):
    program = "class Node:\n    def __eq__(self, other):\n        return True\n\ndef f():\n    return Node()\n"
    assert not passes(verifier, program, "assert f() == 1\n")
    assert not passes(verifier, program, "assert f() == Node(1)\n", NODES)
    assert not passes(verifier, program.replace("return Node()", "return [Node]"), "assert f()\n", NODES)


def test_methods_of_unittest_are_the_units(verifier: PythonTests):
    prompt = "from collections import Counter\ndef task_func(xs):\n    '''Sum.'''\n"
    right = "    if not xs:\n        raise ValueError('it is empty')\n    return sum(xs)\n"
    assert judge(verifier, right, CLASSES, prompt, "task_func") == ("pass", 1.0, None)
    verdict, reward, _ = judge(verifier, "    return sum(xs)\n", CLASSES, prompt, "task_func")
    assert (verdict, reward) == ("fail", 2 / 3)


@pytest.mark.parametrize(
    "test",
    [
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): pass\n",
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): f(lambda: 1)\n",
        "import nothing_of_that_name\n",
    ],
    ids=["no call", "argument", "import"],
)
def test_a_unittest_that_says_nothing_about_the_candidate_is_an_error(verifier: PythonTests, test: str):
    assert judge(verifier, "def f(x):\n    return x\n", test).verdict == "error"


@pytest.mark.parametrize("trick", ["SkipTest", "_ShouldStop", "_UnexpectedSuccess"])
def test_no_exception_of_unittest_passes_for_a_method_that_passes(verifier: PythonTests, trick: str):
    program = f"import unittest.case\ndef task_func(xs):\n    raise unittest.case.{trick}('')\n"
    assert judge(verifier, program, CLASSES, "", "task_func")[:2] == ("fail", 0.0)


def test_a_class_of_the_tests_cannot_be_returned(verifier: PythonTests):
    """One that is equal to much, as matchers are."""
    matcher = "class Near:\n    def __eq__(self, other):\n        return True\n"
    assert passes(verifier, "def f():\n    return 1\n", f"{matcher}\nassert f() == Near()\n")
    assert not passes(verifier, f"{matcher}\ndef f():\n    return Near()\n", f"{matcher}\nassert f() == 1\n")


def test_a_unittest_whose_methods_are_all_skipped_is_an_error(verifier: PythonTests):
    test = (
        "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        f()\n        self.skipTest('')\n"
    )
    assert judge(verifier, "def f():\n    return 1\n", test).verdict == "error"


@pytest.mark.parametrize(
    "program",
    [
        "def abs(x):\n    return 0\n\ndef f(x):\n    return 5\n",
        "def check(candidate):\n    pass\n\ndef f(x):\n    return 5\n",
        "def isinstance(*_):\n    return True\n\nabs = all = any = len = isinstance\n\ndef f(x):\n    return 5\n",
    ],
)
def test_no_function_of_the_candidates_judges_in_the_tests_stead(verifier: PythonTests, program: str):
    assert judge(verifier, program, "assert abs(f(1) - 1) < .1\n").verdict == "fail"


@pytest.mark.parametrize("name", ["check", "f"])
def test_a_function_may_be_named_check(verifier: PythonTests, name: str):
    program = "def check(x):\n    return x\n\ndef f(x):\n    return check(x)\n"
    assert passes(verifier, program, f"assert {name}(3) == 3\n", "", name)
    assert not passes(verifier, program, f"assert {name}(3) == 4\n", "", name)


PRINTS = "def f(x):\n    print('seen', x)\n    return x\n"


@pytest.mark.parametrize(
    "test",
    [
        "import io, contextlib\ndef check(candidate):\n    out = io.StringIO()\n"
        "    with contextlib.redirect_stdout(out):\n        candidate(3)\n    assert out.getvalue() == 'seen 3\\n'\n",
        "import io, unittest\nfrom unittest.mock import patch\nclass T(unittest.TestCase):\n"
        "    @patch('sys.stdout', new_callable=io.StringIO)\n    def test_it(self, out):\n        f(3)\n"
        "        self.assertEqual(out.getvalue().strip(), 'seen 3')\n",
    ],
    ids=["redirected", "patched"],
)
def test_what_the_candidate_prints_can_be_read_by_the_test(verifier: PythonTests, test: str):
    assert passes(verifier, PRINTS, test)
    assert not passes(verifier, PRINTS.replace("seen", "other"), test)


def test_many_calls_take_little_time(verifier: PythonTests):
    test = "def check(candidate):\n    for i in range(50_000):\n        assert candidate(i) == i\n"
    assert passes(PythonTests(timeout=8), "def f(n):\n    return n\n", test)


# what crosses


@pytest.mark.parametrize(
    ("value", "test"),
    [
        ("Counter('aab')", "f() == {'a': 2, 'b': 1} and f().most_common(1) == [('a', 2)]"),
        ("OrderedDict(a=1, b=2)", "f() == {'b': 2, 'a': 1} and list(f()) == ['a', 'b']"),
        ("defaultdict(list, {1: [2]})", "f() == {1: [2]}"),
        ("deque([1, (2, 3)])", "list(f()) == [1, (2, 3)] and f() == deque([1, (2, 3)])"),
        ("namedtuple('P', 'x y')(1, [2])", "f() == (1, [2])"),
        ("{'a': [Counter('a')]}", "f() == {'a': [{'a': 1}]}"),
        ("{frozenset([(1, 2)]): deque()}", "f() == {frozenset([(1, 2)]): deque()}"),
    ],
)
def test_mappings_and_named_tuples_of_the_library_cross_as_data(verifier: PythonTests, value: str, test: str):
    program = f"from collections import *\ndef f():\n    return {value}\n"
    assert passes(verifier, program, f"from collections import *\nassert {test}\n")


@pytest.mark.parametrize(
    ("raising", "test"),
    [
        ("raise ValueError('n must be positive', 3)", "except ValueError as e: assert e.args[1] == 3"),
        ("raise ValueError('n must be positive')", "except ValueError as e: assert 'positive' in str(e)"),
        ("open('/no')", "except FileNotFoundError as e: assert e.errno == 2 and '/no' in str(e)"),
        ("import json; json.loads('{')", "except json.JSONDecodeError as e: assert e.pos == 1 and 'Expect' in str(e)"),
        ("raise Bad(7)", "except Bad as e: assert e.code == 7 and str(e) == 'code 7'"),
        ("raise Worse(7)", "except Bad as e: assert str(e) == 'worse'"),
        ("{}['k']", "except KeyError as e: assert str(e) == \"'k'\""),
        ("b'\\xff'.decode()", "except UnicodeDecodeError as e: assert 'invalid start byte' in str(e)"),
    ],
)
def test_exceptions_arrive_with_arguments_and_message(verifier: PythonTests, raising: str, test: str):
    bad = "class Bad(Exception):\n    def __init__(self, code):\n        super().__init__(f'code {code}')\n"
    prompt = bad + "        self.code = code\n\ndef f():\n"
    own = "class Worse(Bad):\n    def __str__(self):\n        return 'worse'\n"
    test = f"import json\ndef check(candidate):\n    try: candidate()\n    {test}\n    else: assert False\n"
    assert passes(verifier, f"    {raising}\n\n{own}", test, prompt)
    assert not passes(verifier, f"    pass\n\n{own}", test, prompt)


# the share of a test


@pytest.mark.parametrize(
    ("completion", "share"),
    [
        ("return x", 1.0),
        ("return x if x < 4 else 0", 0.75),
        ("return [] if x > 2 else x", 0.5),
        ("return x if x < 3 else 1 / 0", 0.5),
        ("if x > 1: import os; os._exit(0)\n    return x", 0.25),
        ("if x > 1: raise SystemExit\n    return x", 0.25),
        ("return object() if x == 2 else x", 0.75),
    ],
)
@pytest.mark.parametrize(
    "test",
    [
        "def check(candidate):\n    for i in range(1, 5):\n        assert candidate(i) == i\n",
        "def check(candidate):\n    '''Four.'''\n    assert candidate(1) == 1\n    assert candidate(2) == 2\n"
        "    if True:\n        assert candidate(3) == 3\n    assert candidate(4) == 4\n",
        "def same(a, b):\n    assert a == b\nfor i, (x, y) in enumerate([(1, 1), (2, 2), (3, 3), (4, 4)]):\n"
        "    same(f(x), y)\n",
        "def check(candidate):\n    for i in range(1, 5):\n        try:\n            assert candidate(i) == i\n"
        "        except ValueError:\n            assert False\n",
    ],
    ids=["loop", "lines", "calls", "try"],
)
def test_the_reward_is_the_share_of_the_test_that_holds(
    verifier: PythonTests, completion: str, share: float, test: str
):
    verdict, reward, _ = judge(verifier, f"def f(x):\n    {completion}\n", test)
    assert (verdict, reward) == ("pass" if share == 1 else "fail", share)


def test_what_ends_a_test_early_counts_the_rest_as_not_passed(verifier: PythonTests):
    test = (
        "def check(candidate):\n    assert candidate(1) == 1\n    x = candidate(2)\n    assert x == 2\n    assert x\n"
    )
    assert judge(verifier, "def f(x):\n    return x / (2 - x)\n", test)[:2] == ("fail", 1 / 3)


def test_an_endless_call_leaves_the_share_of_those_before(verifier: PythonTests):
    hanging = "def f(x):\n    while x > 1: pass\n    return x\n"
    quick = PythonTests(timeout=1)
    assert judge(quick, hanging, "assert f(1) == 1\nassert f(2) == 2\n")[:2] == ("timeout", 0.5)
    assert judge(quick, hanging, "assert f(1) == 0\nassert f(1) == 1\nassert f(2) == 2\n")[:2] == ("fail", 1 / 3)


def test_a_test_that_catches_all_does_not_take_the_end_of_time_for_an_answer():
    hanging = "def f(x):\n    import time\n    time.sleep(1.1 if x == 1 else 0)\n    return 2\n"
    test = "def check(candidate):\n    try: candidate(1)\n    except: pass\n    assert candidate(2) == 2\n"
    assert judge(PythonTests(timeout=1), hanging, test).verdict == "timeout"


def test_an_endless_call_leaves_the_methods_that_need_no_other():
    hanging = "def task_func(xs):\n    while not xs: pass\n    return sum(xs)\n"
    quick, last = PythonTests(timeout=1), CLASSES.replace("test_empty", "test_void")
    assert judge(quick, hanging, last, "", "task_func")[:2] == ("timeout", 2 / 3)
    first = CLASSES + "\n    def test_zeal(self):\n        pass\n"
    assert judge(quick, hanging, first, "", "task_func")[:2] == ("timeout", 1 / 4)


@pytest.mark.parametrize(
    "test",
    [
        "def check(candidate):\n    try:\n        candidate(1)\n    except BaseException:\n        pass\n",
        "import contextlib\ndef check(candidate):\n    with contextlib.suppress(BaseException):\n"
        "        candidate(1)\n",
    ],
)
def test_a_swallowed_end_earns_nothing(verifier: PythonTests, test: str):
    assert judge(verifier, "def f(x):\n    raise SystemExit\n", test)[:2] == ("fail", 0.0)


# references


def test_a_row_whose_reference_does_not_pass_is_an_error(verifier: PythonTests):
    row: dict[str, Any] = {"prompt": "def f(x):\n", "completion": "    return x\n", "entry_point": "f"}
    row["test"] = "assert f(1) == 1\n"
    assert verifier.judge(row | {"canonical_solution": "    return x\n"}).verdict == "pass"
    assert verifier.judge(row | {"canonical_solution": "    return 2\n"}) == (
        "error",
        None,
        "the reference does not pass its own test",
    )


BODY = "    return x + 1\n"
CHAT = [{"role": "user", "content": "Write f, which adds one."}]


@pytest.mark.parametrize("prompt", [CHAT, "Write f, which adds one."], ids=["messages", "text"])
@pytest.mark.parametrize(
    ("columns", "reference", "verdict"),
    [
        ({}, BODY, "pass"),
        ({}, "def f(x):\n" + BODY, "pass"),
        ({}, "def f(x):\n    return x\n", "error"),
        ({"complete_prompt": "def f(x):\n    'Adds one.'\n"}, BODY, "pass"),
        ({"code_prompt": "import math\ndef f(x):\n"}, BODY, "pass"),
        ({"code_prompt": "import math\ndef f(x):\n"}, "    return x\n", "error"),
        ({"complete_prompt": 3, "code_prompt": None}, BODY, "pass"),
    ],
)
def test_a_reference_may_go_on_with_another_prompt_than_was_asked(
    verifier: PythonTests, prompt: Any, columns: dict[str, Any], reference: str, verdict: str
):
    """One that defines nothing, and goes on with no prompt, says nothing."""
    row = {"prompt": prompt, "test": "assert f(1) == 2\n", "entry_point": "f", "canonical_solution": reference}
    assert verifier.judge({**row, **columns, "completion": f"```python\ndef f(x):\n{BODY}```"}).verdict == verdict


def test_a_reference_is_checked_once(verifier: PythonTests):
    slow = "    import time\n    time.sleep(.5)\n    return 1\n"
    row = {"prompt": "def f():\n", "completion": "    return 1\n", "entry_point": "f", "test": "assert f() == 1\n"}
    several = PythonTests(timeout=5, workers=2)
    assert {found.verdict for found in several.judge_all([row | {"canonical_solution": slow}] * 12)} == {"pass"}
    assert len(several._references) == 1
