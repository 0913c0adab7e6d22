"""Columns that schemes read and the made rows lack, put into tokenized rows."""

from datasets import Dataset


def with_columns(rows: Dataset) -> Dataset:
    """The rows with steps (two a row), weights of both signs and a pass rate, as far as they lack them."""
    learned = [sum(label != -100 for label in labels) for labels in rows["labels"]]
    made = {
        "steps": [[1.0] * (n // 2) + [0.5] * (n - n // 2) for n in learned],
        "weights": [[(-1.0) ** j for j in range(n)] for n in learned],
        "pass_rate": [0.25 + 0.5 * (i % 2) for i in range(len(rows))],
    }
    for name, column in made.items():
        rows = rows if name in rows.column_names else rows.add_column(name, column)
    return rows
