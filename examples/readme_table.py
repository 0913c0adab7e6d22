"""Write the demo's results into the READMEs, so that no number there is typed by hand.

usage: python examples/readme_table.py RESULTS.json README.md README.ko.md
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weighted_mtp.evaluation.intervals import paired_t_interval

BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"

TEXT = {
    "en": {
        "header": "| arm | tokens weighed by | solved, % | minus uniform | minus right_only |",
        "uniform": "nothing: plain fine-tuning on all completions",
        "right_only": "nothing: right completions only",
        "td_beta0.3": "TD errors, beta 0.3",
        "td_whitened": "TD errors as z-scores, beta 1",
        "label_conditioned": "nothing: the generative critic itself, decoded under “right”",
        "log_odds": "log-odds credit of the generative critic, as z-scores",
        "gated": "the default: right_only and log_odds, mixed by the critic's skill out of fold",
        "rho1": "Rho-1: excess loss over the right_only model",
        "shuffled_across": "control: weights of log_odds, permuted over the batch",
        "oracle": "ceiling: 0 on the truly wrong tokens, which only a made task knows",
        "mtp_uniform": "nothing, four heads",
        "mtp_gated": "gated, four heads",
        "note": (
            "A made task ({share} of the training completions are right), {draws}, {prompts} unseen test "
            "prompts a draw, {steps} optimizer steps an arm (at most {critic} for a critic, which "
            "the arms that read one spend on top; gated for two more, of folds). Mean ± standard deviation over draws; "
            "differences in points with 95 % intervals, paired by draw; a dash where there is one draw. Arms with four "
            "heads are compared with mtp_uniform. "
            "{date}; {versions}; Python {python}; {machine}; {minutes} minutes in all."
        ),
        "draws": lambda n: "1 draw" if n == 1 else f"{n} draws",
    },
    "ko": {
        "header": "| 실험군 | 토큰 가중치의 출처 | 정답률, % | uniform 대비 | right_only 대비 |",
        "uniform": "없음: 모든 응답으로 일반 파인튜닝",
        "right_only": "없음: 맞은 응답만 사용",
        "td_beta0.3": "TD 오차, beta 0.3",
        "td_whitened": "TD 오차의 z-score, beta 1",
        "label_conditioned": "없음: generative critic을 “right” 조건으로 그대로 디코딩",
        "log_odds": "generative critic의 로그 오즈 기여도, z-score",
        "gated": "기본값: right_only와 log_odds를 critic의 폴드 밖 실력만큼 섞음",
        "rho1": "Rho-1: right_only 모델 대비 초과 손실",
        "shuffled_across": "대조군: log_odds의 가중치를 배치 전체에서 섞음",
        "oracle": "상한: 실제로 틀린 토큰의 가중치가 0(인공 과제에서만 알 수 있음)",
        "mtp_uniform": "없음, 헤드 4개",
        "mtp_gated": "gated, 헤드 4개",
        "note": (
            "인공 과제(학습 응답의 {share}가 정답), {draws}, 시드마다 처음 보는 시험 프롬프트 {prompts}개, "
            "실험군마다 옵티마이저 {steps}스텝(critic은 많아야 "
            "{critic}스텝이며 critic을 읽는 실험군은 이만큼, gated는 폴드의 critic 두 개만큼 더 씁니다). "
            "평균 ± 시드 간 표준편차. 차이는 퍼센트포인트와 시드별로 짝지은 95 % 구간이며, 시드가 하나면 "
            "구간 대신 줄표를 씁니다. 헤드 4개 실험군은 mtp_uniform과 비교합니다. "
            "{date}; {versions}; Python {python}; {machine}; 전체 {minutes}분."
        ),
        "draws": lambda n: f"시드 {n}개",
    },
}  # fmt: skip


def table(results: dict[str, Any], language: str) -> str:
    """The table between the markers, in "en" or "ko"."""
    text, meta = TEXT[language], results["meta"]
    by_arm: dict[str, dict[int, float]] = {}
    for result in results["arms"]:
        by_arm.setdefault(result["arm"], {})[result["seed"]] = result["accuracy"]
    lines = [text["header"], "|---|---|---|---|---|"]
    for row in meta["summary"]:
        arm = row["arm"]
        spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
        solved = f"{100 * row['mean']:.1f}{spread}"
        to_uniform = _difference(by_arm, arm, row["baseline"])
        to_right = "" if row["baseline"] != "uniform" else _difference(by_arm, arm, "right_only")
        lines.append(f"| `{arm}` | {text[arm]} | {solved} | {to_uniform} | {to_right} |")
    shares, budget = list(meta["share_right"].values()), meta["budget"]
    note = text["note"].format(
        share=f"{100 * sum(shares) / len(shares):.0f} %",
        draws=text["draws"](len(shares)),
        prompts=budget["test_prompts"],
        steps=budget["steps"],
        critic=budget["critic_steps"],
        minutes=round(meta["minutes"], 1),
        **{key: meta[key] for key in ("date", "versions", "python", "machine")},
    )
    return "\n".join([*lines, "", note])


def _difference(by_arm: dict[str, dict[int, float]], arm: str, baseline: str) -> str:
    """Points and interval over the draws that both have; empty against itself."""
    seeds = sorted(by_arm[arm].keys() & by_arm.get(baseline, {}).keys())
    if arm == baseline or not seeds:
        return ""
    interval = paired_t_interval([100 * by_arm[arm][s] for s in seeds], [100 * by_arm[baseline][s] for s in seeds])
    if interval.low is None or interval.high is None:
        return f"{_points(interval.mean)} [–]"
    return f"{_points(interval.mean)} [{_points(interval.low)}, {_points(interval.high)}]"


def _points(x: float) -> str:
    return f"{round(x, 1) + 0.0:+.1f}".replace("-", "−")


def language_of(readme: Path) -> str:
    """README.ko.md is "ko", everything else "en"."""
    return "ko" if readme.name.endswith(".ko.md") else "en"


def insert(readme: str, block: str) -> str:
    """The README with the block between its markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def main(words: Sequence[str]) -> int:
    """Rewrites the named READMEs."""
    if len(words) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    results = json.loads(Path(words[0]).read_text())
    for path in map(Path, words[1:]):
        text = path.read_text(encoding="utf-8")
        path.write_text(insert(text, table(results, language_of(path))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
