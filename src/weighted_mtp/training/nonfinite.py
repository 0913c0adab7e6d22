"""The first non-finite step, kept on the device, so that watching for it costs no synchronisation."""

import sys
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.distributed.tensor import DTensor


class NonFiniteError(RuntimeError):
    """Training stopped on a loss, gradient or parameter that is NaN or infinite; the message names the step."""


class NonFiniteRecord:
    """Remembers the first optimizer step with a non-finite loss or gradient, and its rows; and the first broken update.

    All state lives in device tensors, read at logging, saving and the end. `step_is_bad` makes the update a no-op (see
    `skip_update`); an update that a finite gradient breaks by its size is found afterwards.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.first_step = torch.full((), -1, dtype=torch.long, device=device)
        self.rows = torch.full((rows,), -1, dtype=torch.long, device=device)
        self.step_is_bad = torch.zeros((), dtype=torch.bool, device=device)
        self.update = torch.full((3,), -1, dtype=torch.long, device=device)
        """The first broken update: its step, how many tensors it broke, the first of them as a place in `names`."""
        self.names: list[str] = []

    def begin_step(self) -> None:
        """Forgets the last step's verdict; the first bad step stays on record."""
        self.step_is_bad = torch.zeros_like(self.step_is_bad)

    def observe(
        self, step: int, loss: Tensor, row_is_finite: Bool[Tensor, " batch"], row_ids: Int[Tensor, " batch"]
    ) -> None:
        """Records one micro-batch; where no single row is to blame, all of its rows are named."""
        bad_rows = ~row_is_finite
        is_bad = bad_rows.any() | ~torch.isfinite(loss.detach())
        blamed = torch.where(bad_rows.any(), bad_rows, torch.ones_like(bad_rows))
        is_first = is_bad & (self.first_step < 0)
        self.first_step = torch.where(is_first, step, self.first_step)
        first = (~blamed).to(torch.uint8).argsort(stable=True)[: len(self.rows)]  # of packed rows there may be more
        rows = torch.full_like(self.rows, -1)
        rows[: len(first)] = torch.where(blamed, row_ids, -1)[first]
        self.rows = torch.where(is_first, rows, self.rows)
        self.step_is_bad = self.step_is_bad | is_bad

    def observe_gradient(self, step: int, grad_norm: Tensor) -> None:
        """Records a gradient norm; every process then agrees on whether the update is skipped."""
        is_bad = self.step_is_bad | ~torch.isfinite(grad_norm)
        if torch.distributed.is_initialized():
            verdict = is_bad.to(torch.int32)
            torch.distributed.all_reduce(verdict, op=torch.distributed.ReduceOp.MAX)
            is_bad = verdict.bool()
        self.first_step = torch.where(is_bad & (self.first_step < 0), step, self.first_step)
        self.step_is_bad = is_bad

    def observe_update(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Records an update that left parameters or statistics non-finite: one pass over what it changed."""
        self.names, bad = not_finite(tensors)
        if not self.names:
            return
        bad = bad.to(self.update.device)
        found = torch.stack([torch.full_like(self.first_step, step), bad.sum(), bad.long().argmax()])
        self.update = torch.where((self.update[0] < 0) & bad.any(), found, self.update)

    def state(self) -> Int[Tensor, " 4+rows"]:
        """The first broken update, the first bad step and its rows, -1 where there is none, on the device; every
        process calls this, so that those that hold parts of one model agree on the update's step."""
        update = self.update
        if torch.distributed.is_initialized():
            first = torch.where(update[:1] < 0, sys.maxsize, update[:1])
            torch.distributed.all_reduce(first, op=torch.distributed.ReduceOp.MIN)
            update = torch.cat([torch.where(first == sys.maxsize, -1, first), update[1:]])
        return torch.cat([update, self.first_step[None], self.rows])

    def raise_if_any(self) -> None:
        """Reads the record, in a transfer of its own."""
        self.raise_if_broken(self.state().tolist())

    def raise_if_broken(self, state: Sequence[int]) -> None:
        """Raises if a `state`, copied to the host, holds a bad step."""
        update, broken, first, step, *rows = state
        if update >= 0 and (step < 0 or update < step):
            what = "tensors of another process"
            if first >= 0:
                what = f"{broken} of {len(self.names)} tensors, {self.names[first]} first"
            raise NonFiniteError(
                f"the update of optimizer step {update + 1} left parameters or statistics that are not finite "
                f"({what}). No checkpoint was completed and no model saved from that step on; the last complete "
                "checkpoint is intact. Lower --learning_rate, set --max_grad_norm, or train with --dtype float32."
            )
        if step >= 0:
            named = ", ".join(str(row) for row in rows if row >= 0)
            where = f"rows {named} of the training data" if named else "rows of another process, or a gradient"
            raise NonFiniteError(
                f"the loss or its gradient is not finite at optimizer step {step + 1} ({where}). No update was made "
                "from that step on a broken gradient and nothing broken was saved; the last complete checkpoint is "
                "intact. Look at those rows (`wmtp inspect`), lower --learning_rate, or set --max_grad_norm."
            )


def not_finite(tensors: Mapping[str, Tensor]) -> tuple[list[str], Bool[Tensor, " tensors"]]:
    """Names of the floating-point tensors, and which of them hold NaN or infinity; no synchronisation. Ends (on a CPU)
    or the largest magnitude tell it: NaN where there is one, and, unlike a sum, never infinite otherwise."""
    local = {name: t.to_local() if isinstance(t, DTensor) else t for name, t in tensors.items()}
    floats = {name: t.detach() for name, t in local.items() if t.is_floating_point() and t.numel()}
    if not floats:
        return [], torch.zeros(0, dtype=torch.bool)
    given = list(floats.values())
    if given[0].device.type == "cpu":  # whose kernel of the norm takes six times as long
        ends = [torch.stack(t.aminmax()) for t in given]
    else:
        ends = torch._foreach_norm(given, float("inf"))  # pyright: ignore[reportPrivateImportUsage]
    finite = torch.isfinite(torch.stack([x.to(ends[0].device) for x in ends]))
    return list(floats), ~finite.view(len(given), -1).all(1)


def rows_are_finite(
    states: Tensor, weights: Tensor, valid: Bool[Tensor, "batch seq n_future"]
) -> Bool[Tensor, " batch"]:
    """True for rows whose valid predictions have finite hidden states, given their sums, and weights."""
    return torch.isfinite(torch.where(valid, states + weights, 0.0)).flatten(1).all(1)


def skip_update(optimizer: torch.optim.Optimizer, is_bad: Tensor) -> None:
    """Makes the coming `optimizer.step()` a no-op where `is_bad`.

    Fused optimizers read a `found_inf` tensor on the device, as gradient scalers use it. For the others the verdict
    is read on the host (one synchronisation per step) and gradients are dropped, which they take as nothing to do.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = is_bad.to(torch.float32)  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]
    elif bool(is_bad):
        optimizer.zero_grad(set_to_none=True)
