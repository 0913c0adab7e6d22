"""Memory and time of a critic with adapters on one GPU, by arithmetic alone: nothing here was run.

usage: python -m research.real_code.one_gpu
"""

from dataclasses import dataclass

GB = 1e9
PEAK = {"A100": 312e12, "H100": 989e12}
"""Dense bfloat16 FLOP/s of the vendor's data sheets (SXM)."""
UTILISATION = 0.35
"""Share of the peak that such runs reach, by rule of thumb."""
ROWS, TOKENS, RANK, MICRO_BATCH = 10_000, 400, 16, 8


@dataclass(frozen=True)
class Decoder:
    """Sizes of a decoder with grouped queries and a gated feed-forward, as in its config.json."""

    name: str
    parameters: float
    layers: int
    width: int
    inner: int
    key_width: int

    @property
    def adapters(self) -> int:
        """Parameters of adapters of rank RANK on its seven linear maps a layer: rank * (in + out) each."""
        attention = 2 * 2 * self.width + 2 * (self.width + self.key_width)
        return RANK * self.layers * (attention + 3 * (self.width + self.inner))

    def memory(self, *, reference: bool) -> float:
        """Bytes: frozen weights in float32 (twice with a reference), adapters with gradient and two moments,
        checkpointed activations of a micro-batch, one layer's insides, and half a GB for a chunk of logits."""
        weights = 4 * self.parameters * (2 if reference else 1)
        kept = 2 * self.layers * self.width * MICRO_BATCH * TOKENS
        inside = 2 * (8 * self.width + 3 * self.inner) * MICRO_BATCH * TOKENS
        return weights + 16 * self.adapters + kept + inside + 0.5 * GB

    def minutes(self, card: str, *, reference: bool) -> float:
        """An epoch over ROWS rows: 2 P a token forward, 2 P again in checkpointing, 2 P backward (frozen weights need
        no gradient of their own), and 2 P for the reference."""
        flops = (8 if reference else 6) * self.parameters * ROWS * TOKENS
        return flops / (UTILISATION * PEAK[card]) / 60

    def scoring_minutes(self, card: str) -> float:
        """ROWS rows once: two forward passes of 2 P a token, under both labels or by both models."""
        return 4 * self.parameters * ROWS * TOKENS / (UTILISATION * PEAK[card]) / 60


DECODERS = (
    Decoder("1.2B (Llama 3.2 1B)", 1.24e9, 16, 2048, 8192, 512),
    Decoder("8B (Llama 3.1 8B)", 8.03e9, 32, 4096, 14336, 1024),
)


def table() -> str:
    """One row for each decoder and critic."""
    lines = [
        "| model | critic | memory, GB | epoch on A100, min | on H100, min | scoring on H100, min |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for decoder in DECODERS:
        for critic, reference in (("generative", False), ("implicit", True)):
            cells = (
                f"{decoder.memory(reference=reference) / GB:.0f}",
                f"{decoder.minutes('A100', reference=reference):.0f}",
                f"{decoder.minutes('H100', reference=reference):.0f}",
                f"{decoder.scoring_minutes('H100'):.0f}",
            )
            lines.append(f"| {' | '.join((decoder.name, critic, *cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
