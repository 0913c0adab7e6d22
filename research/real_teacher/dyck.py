"""Dyck languages: fresh problems, the program that judges, and a token for each bracket and each phrase."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any

CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}
KINDS = [opened + closed for opened, closed in CLOSES.items()]
NESTED, JOINED = 0.5, 0.25
"""How often a piece is a pair around a piece, and how often two pieces; else it is empty."""
FRUITLESS = 10_000
"""Draws in a row without a new problem, after which there are taken to be no more."""
PHRASES = (
    "We should process each input one by one and keep track of the stack configuration.\nstack: empty\n",
    " ; stack:",
    "Now, we have reached the end. The final stack is",
    "We will need to pop out",
    " one by one in that order.",
    "So, we need",
    ". So the answer is",
)
"""What the teacher's prompt made it write over and over; a token each."""
UNKNOWN = "<unk>"
_PIECES = "|".join(map(re.escape, PHRASES)) + r"|\n| ?[A-Za-z]+| ?[^\sA-Za-z]|\s"


def closing(given: str) -> str | None:
    """The closing sequence of an open text, None where a bracket closes what is not open.

    >>> closing("( [ ] {"), closing("( ]")
    ('} )', None)
    """
    stack: list[str] = []
    for bracket in given.split():
        if bracket in CLOSES:
            stack.append(CLOSES[bracket])
        elif not stack or stack.pop() != bracket:
            return None
    return " ".join(reversed(stack))


def answer(completion: str) -> str:
    """What a trace says that the answer is; empty where it says nothing.

    >>> answer("So, we need } )."), answer("So the answer is } )")
    ('', '} )')
    """
    found = re.findall(r"[Tt]he answer is(.*)", completion)
    return found[-1].strip() if found else ""


def problems(rng: random.Random, shapes: Sequence[tuple[int, int]], n: int, but: Iterable[str] = ()) -> list[str]:
    """That many open texts of shapes of the teacher's; none is a renaming of another, or of those given.

    Args:
        rng: the draw.
        shapes: brackets of a whole text and of its closing sequence, of the teacher's problems; one is drawn for each,
            and another where it has nothing new.
        n: how many.
        but: texts of which no renaming is to come.

    Raises:
        ValueError: the shapes do not offer so many, or one is of no open text.
    """
    if wrong := [shape for shape in shapes if shape[0] % 2 or not 0 < shape[1] <= shape[0] // 2]:
        raise ValueError(f"no open text has {wrong[0][1]} of {wrong[0][0]} brackets in its closing sequence")
    known, found, fruitless = set(map(canonical, but)), list[str](), 0
    texts = _open_texts(rng, shapes)
    while len(found) < n:
        given = next(texts)
        fruitless = fruitless + 1 if canonical(given) in known else 0
        if fruitless == 0:
            known.add(canonical(given))
            found.append(given)
        elif fruitless == FRUITLESS:
            raise ValueError(
                f"{n} problems are asked for and {len(found)} found: {FRUITLESS:,} draws in a row brought no new one; "
                "ask for fewer, or give longer shapes"
            )
    return found


def _open_texts(rng: random.Random, shapes: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Open texts without end, each of a shape that is drawn for it."""
    pool: dict[int, list[str]] = {}
    texts = _balanced(rng, max(total for total, _ in shapes))
    while True:
        total, last = rng.choice(shapes)
        while not pool.get(total):
            text = next(texts)
            pool.setdefault(len(text), []).append(text)
        whole = pool[total].pop()
        if all(bracket in CLOSES.values() for bracket in whole[-last:]):
            yield " ".join(whole[:-last])


def _balanced(rng: random.Random, longest: int) -> Iterator[str]:
    """Texts of a grammar, S -> ( S ) | S S | nothing, that are not empty and no longer than that."""
    while True:
        todo, text = ["S"], ""
        while todo and len(text) + sum(part != "S" for part in todo) <= longest:
            part = todo.pop()
            drawn = rng.random() if part == "S" else 1.0
            if part != "S":
                text += part
            elif drawn < NESTED:
                opened = rng.choice(list(CLOSES))
                text += opened
                todo += [CLOSES[opened], "S"]
            elif drawn < NESTED + JOINED:
                todo += ["S", "S"]
        if text and not todo:
            yield text


def renamed(text: str) -> Iterator[str]:
    """The text with the kinds of brackets in every order: the task is the same for each.

    >>> len(set(renamed("( [ ] {"))), next(renamed("( [ ] {"))
    (24, '( [ ] {')
    """
    for order in permutations(KINDS):
        yield text.translate(str.maketrans("".join(KINDS), "".join(order)))


def canonical(text: str) -> str:
    """The text with its kinds of brackets named in order of first appearance: one for all its renamings.

    >>> canonical("{ < > ["), {canonical(other) for other in renamed("{ < > [")}
    ('( [ ] {', {'( [ ] {'})
    """
    kind_of = {bracket: kind for kind in KINDS for bracket in kind}
    order = dict.fromkeys([*(kind_of[c] for c in text if c in kind_of), *KINDS])
    return text.translate(str.maketrans("".join(order), "".join(KINDS)))


def deepest(given: str) -> int:
    """The most brackets that are open at a time.

    >>> deepest("( [ ] { <")
    3
    """
    depth = most = 0
    for bracket in given.split():
        depth += 1 if bracket in CLOSES else -1
        most = max(most, depth)
    return most


def tokenizer(texts: Iterable[str]) -> Any:
    """A token for each phrase, bracket and word of the texts; `<eos>`, `<pad>`, and `<unk>` for what is in none."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    counted = Counter(piece for text in texts for piece in re.findall(_PIECES, text))
    brackets = [*CLOSES, *CLOSES.values()]
    kept = dict.fromkeys([*PHRASES, "\n", *brackets, *(f" {b}" for b in brackets), *sorted(counted)])
    vocabulary = {token: i for i, token in enumerate([*kept, "<eos>", "<pad>", UNKNOWN])}
    made: Any = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))  # pyright: ignore[reportCallIssue]
    made.pre_tokenizer = Split(Regex(_PIECES), "isolated")
    made.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>", pad_token="<pad>", unk_token=UNKNOWN)
