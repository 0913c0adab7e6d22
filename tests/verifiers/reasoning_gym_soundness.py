"""Whether the scorers of reasoning-gym tell wrong answers from right ones, measured."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weighted_mtp.verifiers.reasoning_gym import ReasoningGym, may_be_scored

GARBAGE = ("", "garbage", "0", "x", "?", "None", "nan", "[]", "{}", "6*4*1*1", "lorem ipsum dolor sit amet " * 40)
"""Answers that are wrong almost everywhere; where one is the item's own answer, it is not tried."""


@dataclass(frozen=True)
class Soundness:
    """What the scorer of a task did with a few items."""

    task: str
    accepts_right: bool
    """The items' own answers all got 1.0."""
    accepted: dict[str, str]
    """Wrong answers that got 1.0, each with the right one."""
    raised: int
    """Wrong answers at which it raised."""
    partial: int
    """Wrong answers with a score between 0 and 1."""
    tried: int
    """Wrong answers in all."""


def measure(gym: ReasoningGym, task: str, seed: int = 0, items: int = 4) -> Soundness:
    """Scores the right answer and the wrong ones of a task's first items, `wrong_probes`."""
    entries = gym.make(task, seed, items, 0, items)
    answered = [entry for entry in entries if isinstance(entry["answer"], str)]
    right = list(gym.score_all((entry["answer"], entry) for entry in answered))
    probes = [(probe, entry) for entry in entries for probe in wrong_probes(entry) if may_be_scored(task, probe)]
    accepted, raised, partial = {}, 0, 0
    for (probe, entry), result in zip(probes, gym.score_all(probes), strict=True):
        score = result.get("score", 0.0)
        raised += "raised" in result
        partial += 0 < score < 1
        if score == 1.0:
            accepted[probe] = str(entry["answer"])
    accepts_right = len(answered) == items and all(result.get("score") == 1.0 for result in right)
    return Soundness(task, accepts_right, accepted, raised, partial, len(probes))


def wrong_probes(entry: Mapping[str, Any]) -> Iterator[str]:
    """`GARBAGE`, the question itself, NaN for every number, and a number with the other sign, unless it is right."""
    right = entry["answer"] or ""
    probes = [*GARBAGE, entry["question"], re.sub(r"-?\d+(\.\d+)?", "NaN", right)]
    if re.fullmatch(r"\d+(\.\d+)?", right):
        probes.append(f"-{right}")
    return (probe for probe in probes if not _same(probe, right))


def _same(probe: str, right: str) -> bool:
    try:
        return float(probe) == float(right)
    except ValueError:
        return "".join(probe.split()).lower() == "".join(right.split()).lower()
