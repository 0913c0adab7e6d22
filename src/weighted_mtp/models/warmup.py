"""Loss weights of the prediction heads over training: new heads come in gently."""


def head_warmup(step: int, n_future: int, warmup_steps: int, start: float = 0.0) -> tuple[float, ...]:
    """Weight of every prediction head in the loss at one optimizer step.

        head 0:      1
        head k > 0:  start + (1 - start) * min(1, step / warmup_steps)

    A fresh extra head is a copy of the last layer: it predicts the next token where the second, third, ...
    is asked for, and so begins *worse* than a uniform guess (11.0 to 11.9 nats against ln V = 10.8). At full
    weight its first gradients would push the shared trunk away from what it knows.

    Args:
        step: optimizer steps done so far, 0 for the first.
        n_future: number of heads, at least 1.
        warmup_steps: optimizer steps until all heads weigh the same; 0 for no warm-up.
        start: weight of the extra heads at step 0, in [0, 1].

    Returns:
        n_future weights, head 0 (next token) first.

    Raises:
        ValueError: an argument outside its range.

    Examples:
        >>> head_warmup(0, n_future=4, warmup_steps=100)
        (1.0, 0.0, 0.0, 0.0)
        >>> head_warmup(50, n_future=2, warmup_steps=100, start=0.1)
        (1.0, 0.55)
        >>> head_warmup(200, n_future=2, warmup_steps=100)
        (1.0, 1.0)
    """
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be >= 0, got {step} and {warmup_steps}")
    if n_future < 1:
        raise ValueError(f"n_future must be at least 1, got {n_future}")
    if not 0.0 <= start <= 1.0:
        raise ValueError(f"start must lie in [0, 1], got {start}")
    progress = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return (1.0, *[start + (1.0 - start) * progress] * (n_future - 1))
