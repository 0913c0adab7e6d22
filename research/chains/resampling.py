"""Subsets of a pool with a chosen size and a chosen share of right rows, each holding the smaller ones."""

from collections.abc import Sequence

import numpy as np

from weighted_mtp.data.schema import Row


def resample_right(rows: Sequence[Row], n: int, share: float, seed: int) -> list[Row]:
    """A shuffled subset of n rows with a chosen share of right ones.

        n_right = round(share * n),   n_wrong = n - n_right
        subset  = first n_right of the right rows + first n_wrong of the wrong rows, in an order of the seed
                  (drawn without replacement), shuffled by a second order of the seed

    Both orders depend on the pool and the seed alone, so of two subsets of one seed the one with at least as
    many right and as many wrong rows holds the other: what changes along a curve over n or over the share are
    the added rows, not the draw. Rows of one prompt are drawn apart and are no longer neighbours.

    Args:
        rows: the pool; each row has a `label`, True where it is right.
        n: how many rows to draw, at least 1.
        share: share of right rows, in [0, 1]; a half of a row goes to the even number of right ones.
        seed: the draw.

    Raises:
        ValueError: n or share out of range, or a pool with too few right or too few wrong rows.

    Examples:
        >>> pool = [{"id": i, "label": i % 3 == 0} for i in range(12)]
        >>> [sum(row["label"] for row in resample_right(pool, 4, share, seed=0)) for share in (0, 0.5, 1)]
        [0, 2, 4]
        >>> resample_right(pool, 8, 0.75, seed=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: 8 rows, 0.75 of them right, take 6 right and 2 wrong rows, but the pool holds 4 and 8: ...
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"got n={n} and share={share}: at least one row and a share in [0, 1] are needed")
    order, place = np.random.default_rng([seed, 3]).permuted(np.tile(np.arange(len(rows)), (2, 1)), axis=1)
    right = [i for i in order.tolist() if rows[i]["label"]]
    wrong = [i for i in order.tolist() if not rows[i]["label"]]
    n_right = round(share * n)
    n_wrong = n - n_right
    if n_right > len(right) or n_wrong > len(wrong):
        raise ValueError(
            f"{n} rows, {share} of them right, take {n_right} right and {n_wrong} wrong rows, but the pool holds "
            f"{len(right)} and {len(wrong)}: ask for fewer rows or another share, or draw a larger pool"
        )
    return [rows[i] for i in sorted(right[:n_right] + wrong[:n_wrong], key=place.tolist().__getitem__)]
