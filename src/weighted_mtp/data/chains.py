"""The made task: chains of digit operations with systematic errors, where every token's truth is known.

    7 +3 *7 +7 *3 :  ->  0 0 7 1        a start digit and n operations mod 10; the n running results

A few (digit, operation) entries carry a fixed wrong answer that the "teacher" uses more often than the right one, which
imitation learns; elsewhere it slips at random; it goes on consistently from its own result. Adding and multiplying by 3
or 7 are bijections mod 10: a lone error never heals, a later one can cancel it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .schema import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_Ints = NDArray[np.int64]
OPERATIONS = ("+3", "+7", "*3", "*7")
_PROMPT = re.compile(r"\s*(\d)((?:\s+[+*-]\d)+)\s*:\s*")


@dataclass(frozen=True)
class ChainTask:
    """One setting of the made task."""

    name: str
    """How results name the setting."""
    n_ops: int
    """Operations in a prompt, and so results in a completion."""
    n_systematic: int
    """How many of the 40 (digit, operation) entries carry a fixed wrong answer."""
    q_slip: float
    """Probability of a random wrong digit at every other entry."""
    n_traces: int
    """Training completions of a draw."""
    completions_per_prompt: int
    """Completions drawn for each training prompt."""
    p_systematic: float = 0.65
    """Probability that a systematic entry is answered with its wrong answer."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_ops <= 25:
            raise ValueError(f"n_ops is {self.n_ops}: it must lie between 1 and 25")
        if not 0 <= self.n_systematic <= 10 * len(OPERATIONS):
            raise ValueError(f"n_systematic is {self.n_systematic}: there are 40 entries")
        for name in ("q_slip", "p_systematic"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: a probability is needed")
        if self.n_traces < 1 or self.completions_per_prompt < 1:
            raise ValueError("n_traces and completions_per_prompt must be at least 1")

    @property
    def n_prompts(self) -> int:
        """How many different prompts exist: 10 start digits times 4 ** n_ops."""
        return 10 * len(OPERATIONS) ** self.n_ops


EASY = ChainTask("easy", n_ops=4, n_systematic=4, q_slip=0.03, n_traces=16_000, completions_per_prompt=8)
"""About 69 % of the traces are right; 2,000 of the 2,560 prompts are for training."""

LOW_SUCCESS = ChainTask("low_success", n_ops=10, n_systematic=4, q_slip=0.10, n_traces=8_000, completions_per_prompt=4)
"""About 24 % of the traces are right, and 22 % of those hold an error that a later one cancelled."""


@dataclass(frozen=True)
class ChainTables:
    """What the teacher knows: three tables over (digit, operation), each [10, 4]."""

    right: _Ints
    """The right result."""
    systematic: NDArray[np.bool_]
    """Where the teacher has a fixed wrong answer."""
    wrong: _Ints
    """That answer (drawn for every entry, used where `systematic`)."""


@dataclass(frozen=True)
class Chains:
    """One draw of the made task."""

    train: list[Row]
    """Rows `prompt, completion, label, token_error`; the completions of a prompt are neighbours."""
    test: list[Row]
    """One row a prompt: the same columns, with the gold completion, and its last digit as `answer`."""
    fresh: list[Row]
    """One trace of the teacher for each test prompt, in their order: what critics are measured on."""


def chain_tables(task: ChainTask, seed: int) -> ChainTables:
    """The teacher's tables of one draw: a function of the task and the seed alone."""
    rng = np.random.default_rng([seed, 0])
    digit = np.arange(10)[:, None]
    right = np.concatenate([digit + 3, digit + 7, digit * 3, digit * 7], axis=1) % 10
    systematic = np.zeros(right.size, dtype=np.bool_)
    systematic[rng.choice(right.size, task.n_systematic, replace=False)] = True
    wrong = (right + rng.integers(1, 10, right.shape)) % 10
    return ChainTables(right, systematic.reshape(right.shape), wrong)


def make_chains(
    task: ChainTask,
    seed: int,
    n_train_traces: int | None = None,
    n_test_prompts: int = 512,
    completions_per_prompt: int | None = None,
) -> Chains:
    """One draw of the task: training traces of the teacher and test prompts that training never shows.

    `seed` decides the teacher's tables, the prompts and the traces; None takes the task's own number. The same
    arguments give the same rows.

    Raises:
        ValueError: when the task has fewer different prompts than that takes.

    Examples:
        >>> from weighted_mtp.data import verify
        >>> draw = make_chains(EASY, seed=0, n_train_traces=8, n_test_prompts=2)
        >>> len(draw.train), len(draw.test)
        (8, 2)
        >>> all(verify(row["prompt"], row["completion"]) == row["label"] for row in draw.train)
        True
    """
    n_traces = task.n_traces if n_train_traces is None else n_train_traces
    per_prompt = task.completions_per_prompt if completions_per_prompt is None else completions_per_prompt
    if n_traces < 1 or per_prompt < 1 or n_test_prompts < 0:
        raise ValueError(
            f"got {n_traces} training traces, {per_prompt} completions per prompt and {n_test_prompts} test "
            "prompts: at least 1, 1 and 0 are needed"
        )
    n_train_prompts = -(-n_traces // per_prompt)
    if n_train_prompts + n_test_prompts > task.n_prompts:
        raise ValueError(
            f"{n_traces} traces at {per_prompt} per prompt need {n_train_prompts} training prompts, but "
            f"{task.name} has {task.n_prompts}, of which {n_test_prompts} are kept for the test: raise "
            "completions_per_prompt or ask for fewer traces or test prompts"
        )
    rng = np.random.default_rng([seed, 1])
    codes = rng.choice(task.n_prompts, n_test_prompts + n_train_prompts, replace=False)
    tables = chain_tables(task, seed)
    test_start, test_ops = _decode(codes[:n_test_prompts], task.n_ops)
    start, ops = _decode(codes[n_test_prompts:].repeat(per_prompt)[:n_traces], task.n_ops)

    gold, _ = _write(task, tables, test_start, test_ops, None)
    results, errors = _write(task, tables, start, ops, rng)
    truth, _ = _write(task, tables, start, ops, None)
    test = _rows(test_start, test_ops, gold, np.zeros_like(gold, dtype=np.bool_), gold[:, -1])
    for row in test:
        row["answer"] = row["completion"].split()[-1]
    # A stream of its own, so that fresh traces change no number of the training traces.
    fresh, fresh_errors = _write(task, tables, test_start, test_ops, np.random.default_rng([seed, 2]))
    return Chains(
        train=_rows(start, ops, results, errors, truth[:, -1]),
        test=test,
        fresh=_rows(test_start, test_ops, fresh, fresh_errors, gold[:, -1]),
    )


def chain_tokenizer() -> "PreTrainedTokenizerFast":
    """A real tokenizer for chains: one token for each word, 24 symbols, `<eos>` among them, and `<pad>`.

    The symbols are the digits, `+ - *` with 1, 3, 7 and 9, the colon and `<eos>`. An unknown word raises.

    Examples:
        >>> tokenizer = chain_tokenizer()
        >>> tokenizer("7 +3 *7 :")["input_ids"], len(tokenizer)
        ([7, 11, 20, 22], 25)
        >>> tokenizer.decode([0, 0, 23], skip_special_tokens=True)
        '0 0'
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = [str(digit) for digit in range(10)]
    words += [sign + digit for sign in "+-*" for digit in "1379"]
    words += [":", "<eos>", "<pad>"]
    # The type stub asks for unk_token, the library does not: without it an unknown word raises.
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}))  # pyright: ignore
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def verify(prompt: str, completion: str) -> bool:
    """Whether a completion solves its prompt: one digit for each operation, and the last one is right, whatever stands
    on the way: a chain that went wrong and came back is right. A completion can be anything: what is no chain is False.
    ValueError: the prompt is not a chain.

    Examples:
        >>> verify("7 +3 *7 +7 *3 :", "0 0 7 1")
        True
        >>> verify("7 +3 *7 +7 *3 :", "0 0 7 2"), verify("7 +3 *7 +7 *3 :", "1"), verify("7 +3 :", "zero")
        (False, False, False)
    """
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        raise ValueError(f"{prompt!r} is not a chain such as '7 +3 *7 :'")
    result, operations = int(match[1]), match[2].split()
    for operation in operations:
        sign, digit = operation[0], int(operation[1])
        result = {"+": result + digit, "-": result - digit, "*": result * digit}[sign] % 10
    written = completion.split()
    return (
        len(written) == len(operations)
        and all(len(w) == 1 and w in "0123456789" for w in written)
        and int(written[-1]) == result
    )


def share_right(rows: Sequence[Row]) -> float:
    """The share of rows whose label is right."""
    return sum(row["label"] for row in rows) / len(rows)


def share_right_with_error(rows: Sequence[Row]) -> float:
    """Of the rows whose label is right, the share that holds a wrong token; 0.0 when no row is right."""
    right = [any(row["token_error"]) for row in rows if row["label"]]
    return sum(right) / len(right) if right else 0.0


def _decode(codes: _Ints, n_ops: int) -> tuple[_Ints, _Ints]:
    """Prompt numbers -> start digits [N] and operation indices [N, n_ops]; every number is another prompt."""
    powers = len(OPERATIONS) ** np.arange(n_ops)
    return codes % 10, (codes[:, None] // 10 // powers) % len(OPERATIONS)


def _write(
    task: ChainTask, tables: ChainTables, start: _Ints, ops: _Ints, rng: np.random.Generator | None
) -> tuple[_Ints, NDArray[np.bool_]]:
    """Results and errors, both [N, n_ops]: the teacher's, or the right ones when there is no `rng`."""
    results, errors = np.empty_like(ops), np.zeros(ops.shape, dtype=np.bool_)
    result = start
    for i, op in enumerate(ops.T):
        answer = right = tables.right[result, op]
        if rng is not None:
            known = tables.systematic[result, op]
            errs = rng.random(len(start)) < np.where(known, task.p_systematic, task.q_slip)
            slip = (right + rng.integers(1, 10, len(start))) % 10
            answer = np.where(errs, np.where(known, tables.wrong[result, op], slip), right)
        errors[:, i] = answer != right
        results[:, i] = result = answer
    return results, errors


def _rows(start: _Ints, ops: _Ints, results: _Ints, errors: NDArray[np.bool_], answers: _Ints) -> list[Row]:
    labels = results[:, -1] == answers
    columns = (column.tolist() for column in (start, ops, results, labels, errors))
    return [
        {
            "prompt": " ".join([str(digit), *(OPERATIONS[op] for op in row_ops), ":"]),
            "completion": " ".join(map(str, row_results)),
            "label": label,
            "token_error": row_errors,
        }
        for digit, row_ops, row_results, label, row_errors in zip(*columns, strict=True)
    ]
