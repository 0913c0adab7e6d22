"""The few lines of the READMEs about speed and memory, from benchmarks/results, in both languages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import read_results

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
ROOT = Path(__file__).parents[1]
LANGUAGES = {"README.md": "en", "README.ko.md": "ko"}

TEXT: dict[str, dict[str, str]] = {
    "en": {
        "header": "| what | against | time | peak memory |",
        "loss": "the same loss written by hand ({tokens} tokens, four heads, vocabulary {vocab})",
        "step": "{peer} (SmolLM2-135M, one head)",
        "stage": "stage 0 (SmolLM2-135M, four heads)",
        "scan": "{peer} (8 rows of 4,096 tokens)",
        "note": "Medians of paired CPU times on one thread, 1 = the same; {machines}.",
        "no gpu": " No GPU was measured.",
    },
    "ko": {
        "header": "| 대상 | 비교 대상 | 시간 | 최대 메모리 |",
        "loss": "직접 작성한 같은 손실(토큰 {tokens}개, 헤드 4개, 어휘 {vocab}개)",
        "step": "{peer}(SmolLM2-135M, 헤드 1개)",
        "stage": "0단계(SmolLM2-135M, 헤드 4개)",
        "scan": "{peer}(토큰 4,096개인 행 8개)",
        "note": "스레드 하나에서 짝지어 잰 CPU 시간의 중앙값이며 1이면 같습니다. {machines}.",
        "no gpu": " GPU에서는 재지 못했습니다.",
    },
}


Row = tuple[str, list[str]]  # the processor, and the cells


def headline(language: str) -> str:
    """The table and its provenance."""
    text = TEXT[language]
    rows = [row for make in (loss_rows, step_rows, stage_rows, scan_rows) for row in make(text)]
    machines = dict.fromkeys(processor for processor, _ in rows)
    lines = [text["header"], "|---|---|---|---|", *(f"| {' | '.join(cells)} |" for _, cells in rows)]
    gpu = "" if read_results("gpu") else text["no gpu"]
    return "\n".join(lines) + f"\n\n{text['note'].format(machines=', '.join(machines))}{gpu}"


def loss_rows(text: dict[str, str]) -> Iterator[Row]:
    """bfloat16 where the processor multiplies it at speed, float32 elsewhere."""
    for one in read_results("loss"):
        amx = "amx_bf16" in one["environment"]["matrix_units"]
        for entry in one["against_naive"]:
            if "time" in entry and (entry["dtype"] == "bfloat16") == amx:
                size = entry["size"]
                against = text["loss"].format(tokens=size["batch"] * size["seq"], vocab=size["vocab"])
                time, memory = entry["time"]["ratio"]["ours"]["median"], entry["memory"]["ratio"]["ours"]
                what = f"`weighted_mtp_loss`, {entry['dtype']}"
                yield _row(one, what, against, f"{time:.2f}", f"{memory:.2f}")


def step_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("steps"):
        against = text["step"].format(peer=f"TRL {one['peers']['trl']} SFTTrainer")
        what = f"`wmtp train baseline`, {one['dtype']}"
        yield _row(one, what, against, *_compared(one, "stage 0", "TRL SFTTrainer"))


def stage_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("steps"):
        what, arms = (f"`wmtp train verifiable`, {one['dtype']}", ("stage 2, four heads", "stage 0, four heads"))
        yield _row(one, what, text["stage"], *_compared(one, *arms))


def scan_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("scan"):
        for entry in one["times"]:
            longer = entry["times_longer"].get("torchrl")
            if longer and entry["size"] == [8, 4096]:
                against = text["scan"].format(peer=f"torchrl {one['peers']['torchrl']}")
                yield _row(one, f"`compute_gae`, {entry['kind']}", against, f"1/{longer['median']:.1f}", "")


def _compared(one: dict[str, Any], arm: str, over: str) -> tuple[str, str]:
    """Ratios of time and memory of two arms."""
    time = next(r["ratio"]["median"] for r in one["ratios"] if (r["arm"], r["over"]) == (arm, over))
    return f"{time:.2f}", f"{one['bytes'][arm] / one['bytes'][over]:.2f}"


def _row(one: dict[str, Any], *cells: str) -> Row:
    return one["environment"]["processor"], list(cells)


def block_of(readme: str) -> str:
    """What stands between the marks."""
    return readme.split(BEGIN + "\n", 1)[1].split("\n" + END, 1)[0]


def write_all() -> list[Path]:
    """Put the table into both READMEs."""
    for name, language in LANGUAGES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(block_of(text), headline(language)), encoding="utf-8")
    return [ROOT / name for name in LANGUAGES]
