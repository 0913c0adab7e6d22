"""pass@k: the chance that at least one of k samples of a problem passes, estimated from n of them."""

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate, from n samples of which c pass, of the chance that at least one of k passes.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n-c+1}^{n} (1 - k / i)

    The share of the subsets of k samples that hold one that passes. The product needs no binomials, which overflow
    a float, and is exactly 0 where none passes and 1 where fewer than k fail.

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1 and figure 3.

    Args:
        n: samples of the problem.
        c: how many of them pass, in [0, n].
        k: samples one may try, in [1, n].

    Raises:
        ValueError: k above n, or counts that make no sense.

    Examples:
        >>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 1), pass_at_k(5, 0, 5)  # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
        (0.5, 0.75, 0.0)
    """
    if k < 1 or not 0 <= c <= n:
        raise ValueError(f"n, c, k are {n}, {c}, {k}: at least 1 try, and from 0 to n samples that pass")
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples of every problem, and there are {n}")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))
