"""What is known of reasoning-gym's tasks: scorers that cannot be trusted, and answers that scorers would run."""

import re

MEASURED_WITH = "0.1.25"
"""The version of reasoning-gym that this was found in."""

ACCEPT_WRONG = {
    "coin_flip": "accepts a beginning of the number: 0 passes for every probability below 1",
    "complex_arithmetic": "accepts `nan`",
    "game_of_life_halting": "accepts every answer that is not empty",
    "gsm_symbolic": "takes the first number of a text, without its sign",
    "number_sorting": "accepts numbers that are off by up to 1, and a list of NaN",
    "puzzle24": "accepts 6*4*1*1 whatever the four numbers are",
}
"""Tasks whose scorer gives 1.0 to wrong answers, and to which."""

WITHOUT_ANSWER = dict.fromkeys(
    ("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"),
    "its items hold no answer, so that nothing shows whether their scorer accepts a right one",
)
"""Tasks that a verdict cannot be checked for."""

UNSOUND = ACCEPT_WRONG | WITHOUT_ANSWER
"""Tasks that are refused, with the reason."""

_FORMULA = r"(?:[\d+\-*/()\s,]|\.(?=\d))"
_NAMES = r"(?<!\w)(?:sin|cos|tan|exp|log|ln|sqrt|asin|acos|atan|Abs|pi|[a-zA-Z])(?!\w)"
_SAFE = {
    "binary_matrix": r"[\d\s]*",
    "countdown": _FORMULA + "*",
    "intermediate_integration": f"(?:{_NAMES}|{_FORMULA})*",
    "n_queens": r"[Q_\s]*",
    "polynomial_multiplication": rf"(?:(?<!\w)[a-z](?!\w)|{_FORMULA})*",
    "puzzle24": _FORMULA + "*",
    "simple_integration": rf"(?:(?<!\w)[a-zA-Z](?!\w)|{_FORMULA})*",
    "spiral_matrix": r"[\d\s-]*",
    "string_insertion": r"[A-Z]*",
}
EVALUATED = {task: re.compile(pattern, re.ASCII) for task, pattern in _SAFE.items()}
"""Tasks whose scorer evaluates the answer, by `eval` or sympy, and what a right answer may consist of: no quotes, no
attributes and no name but those of a formula, so that there is nothing to run. Nor is there `Integral(...)`, the
question itself, which the scorers of integrals accept, and which some items give for an answer."""

LONGEST_EVALUATED = 2_000
"""Characters of an answer that is evaluated."""
LONGEST_ANSWER = 100_000
"""Characters of any other answer."""


def may_be_scored(task: str, answer: str) -> bool:
    """False for an answer that cannot be right and should not be run.

    Examples:
        >>> may_be_scored("countdown", "(7 + 3) * 5")
        True
        >>> may_be_scored("countdown", "__import__('os').getpid()")
        False
    """
    if task in EVALUATED:
        return len(answer) <= LONGEST_EVALUATED and EVALUATED[task].fullmatch(answer) is not None
    return len(answer) <= LONGEST_ANSWER
