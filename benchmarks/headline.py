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
        "loss": "multi-token loss, {dtype}, {tokens} tokens, four heads, vocabulary {vocab}",
        "naive": "the same loss written by hand",
        "step": "training step of SmolLM2-135M, {dtype}, one head",
        "stage": "stage 2 instead of stage 0, {dtype}, four heads",
        "stage 0": "stage 0 of this package",
        "scan": "advantages (GAE), {kind} rows, {size}",
        "note": "Medians of paired CPU times on one thread, 1 = the same; {machines}.",
        "no gpu": " No GPU was measured.",
    },
    "ko": {
        "header": "| 대상 | 비교 대상 | 시간 | 최대 메모리 |",
        "loss": "다중 토큰 손실, {dtype}, 토큰 {tokens}개, 헤드 4개, 어휘 {vocab}개",
        "naive": "직접 작성한 같은 손실",
        "step": "SmolLM2-135M 학습 스텝, {dtype}, 헤드 1개",
        "stage": "0단계 대신 2단계, {dtype}, 헤드 4개",
        "stage 0": "이 패키지의 0단계",
        "scan": "어드밴티지(GAE), {kind} 행, {size}",
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
                tokens = size["batch"] * size["seq"]
                what = text["loss"].format(dtype=entry["dtype"], tokens=tokens, vocab=size["vocab"])
                time, memory = entry["time"]["ratio"]["ours"]["median"], entry["memory"]["ratio"]["ours"]
                yield _row(one, what, text["naive"], f"{time:.2f}", f"{memory:.2f}")


def step_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("steps"):
        what = text["step"].format(dtype=one["dtype"])
        peer = f"TRL {one['peers']['trl']} SFTTrainer"
        yield _row(one, what, peer, *_compared(one, "stage 0", "TRL SFTTrainer"))


def stage_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("steps"):
        what = text["stage"].format(dtype=one["dtype"])
        yield _row(one, what, text["stage 0"], *_compared(one, "stage 2, four heads", "stage 0, four heads"))


def scan_rows(text: dict[str, str]) -> Iterator[Row]:
    for one in read_results("scan"):
        for entry in one["times"]:
            longer = entry["times_longer"].get("torchrl")
            if longer and entry["size"] == [8, 4096]:
                what = text["scan"].format(kind=entry["kind"], size="8 x 4,096")
                yield _row(one, what, f"torchrl {one['peers']['torchrl']}", f"1/{longer['median']:.0f}", "")


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
