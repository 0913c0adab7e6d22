"""The order and the roles in which a report shows arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weighted_mtp.demo.page.content import SummaryRow

Role = Literal["baseline", "arm", "ceiling", "control"]


def role_of(arm: str, baseline: str, controls: Sequence[str]) -> Role:
    """What an arm is there for; `mtp_` before its name changes the heads, not the role."""
    name = arm.removeprefix("mtp_")
    if arm == baseline or name == baseline:
        return "baseline"
    if name in controls:
        return "control"
    return "ceiling" if name == "oracle" else "arm"


@dataclass(frozen=True)
class Group:
    """Rows that are read together, under one heading; empty where there is only one group."""

    heading: str
    rows: tuple[SummaryRow, ...]


def group_rows(summary: Sequence[SummaryRow], baseline: str, controls: Sequence[str]) -> list[Group]:
    """Next-token arms, multi-token arms, ceilings, controls; the given order within each."""
    headings = {"single": "One head", "multi": "Several heads", "ceiling": "Ceiling", "control": "Controls"}
    rows: dict[str, list[SummaryRow]] = {key: [] for key in headings}
    for row in summary:
        role = role_of(row["arm"], baseline, controls)
        if role in ("control", "ceiling"):
            rows[role].append(row)
        else:
            rows["multi" if row["arm"].startswith("mtp_") else "single"].append(row)
    if not rows["multi"]:
        headings["single"] = "Arms"
    filled = {key: tuple(members) for key, members in rows.items() if members}
    return [Group(headings[key] if len(filled) > 1 else "", members) for key, members in filled.items()]
