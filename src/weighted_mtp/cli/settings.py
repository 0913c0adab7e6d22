"""What commands are told that have no settings of their own elsewhere; defaults live here and nowhere else."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from weighted_mtp.engine.settings import EngineSettings, place_of
from weighted_mtp.training.errors import require, require_guidance, require_temperature, settle


@dataclass(frozen=True)
class DemoSettings:
    """How much is run, and where it goes."""

    out: str = "demo"
    """Output directory; finished arms there are kept."""
    seeds: int = 3
    """Draws of data, initialisation and batch order."""

    def __post_init__(self) -> None:
        settle(self, "out")
        require(self.seeds >= 1, f"--seeds is {self.seeds}: give at least 1 (intervals need 2)")


@dataclass(frozen=True)
class GenerateSettings:
    """Who completes what."""

    model: str
    """A directory saved by wmtp train, or any model path."""
    prompt: str | None = None
    """Text to complete."""
    chat: bool = False
    """--prompt is what a user says to a chat model."""
    messages: str | None = None
    """In place of --prompt: a JSON file, a list of messages, or an object with messages and tools."""
    max_new_tokens: int = 128
    """Tokens at most."""
    temperature: float = 0.0
    """0 is greedy; above it samples."""
    label: Literal["right", "wrong"] | None = None
    """What a generative critic is told."""
    guidance: float = 0.0
    """With --label: how far from what the critic would write under the other label; 1 adds the difference once."""
    drafts: bool = False
    """The extra heads guess ahead and head 0 checks: the same text in fewer forwards."""

    def __post_init__(self) -> None:
        settle(self, "model", "messages")
        one = (self.prompt is None) != (self.messages is None)
        require(one, "give a prompt, and one of them: --prompt TEXT or --messages FILE")
        chat_twice = self.messages is not None and self.chat
        require(not chat_twice, "--chat is for --prompt: what --messages holds is a chat already")
        require(self.max_new_tokens >= 1, f"--max_new_tokens is {self.max_new_tokens}: give at least 1")
        require_temperature(self.temperature)
        whole = re.search("[\ud800-\udfff]", self.prompt or "") is None
        require(
            whole, "--prompt is no UTF-8 text, some of its bytes are no characters: mend it, or give --messages FILE"
        )
        require_guidance(self.guidance, self.label, self.drafts)


@dataclass(frozen=True)
class ConvertSettings:
    """What becomes what."""

    directory: str
    """Where the model is."""
    out: str
    """A new folder; nothing is there before all of it is."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    """Precision of what is written; auto: as it is."""

    def __post_init__(self) -> None:
        settle(self, "directory", "out")


@dataclass(frozen=True)
class ExportSettings(ConvertSettings):
    """What becomes what, in files of which size."""

    max_shard_size: str | None = None
    """Of a file of the decoder at most, such as 5GB; none: as transformers does."""
    push: str | None = None
    """Then upload it there, hub:OWNER/NAME: with the token of `hf auth login`; a new repository is private."""

    def __post_init__(self) -> None:
        settle(self, "directory", "out")
        size = self.max_shard_size
        fits = size is None or bool(re.fullmatch(r"[1-9]\d*([KMG]i?)?B", size))
        require(fits, f"--max_shard_size is {size}: give a number and a unit, such as 5GB or 500MB")
        named = self.push is None or bool(re.fullmatch(r"hub:[\w.-]+/[\w.-]+", self.push))
        require(named, f"--push is {self.push}: give hub:OWNER/NAME")


@dataclass(frozen=True)
class DropHeadsSettings:
    """What becomes what."""

    directory: str
    """Where the model is."""
    out: str
    """A new folder; nothing is there before all of it is."""

    def __post_init__(self) -> None:
        settle(self, "directory", "out")


@dataclass(frozen=True)
class AddHeadsSettings(DropHeadsSettings):
    """Which heads come in."""

    n_future: int | None = None
    """Prediction heads in all; new ones are copies of the last layer."""
    value_head: bool = False
    """Also a value head, which is zero."""


@dataclass(frozen=True)
class VerifySettings(EngineSettings):
    """What is judged by whom."""

    input: str
    """Rows as JSON lines: prompt, completion, and what the verifier reads."""
    verifier: str | None = None
    """Who judges; with --again none: who judged before."""
    output: str | None = None
    """The rows, with label and verdict; a second call goes on. With --again, if given, those that flip."""
    timeout: float | None = None
    """Seconds a row; none: 5, where there is a limit. With --again as before."""
    seed: int | None = None
    """What programs that are run draw from; none: 0. With --again which rows are drawn."""
    allow: str | None = None
    """What programs may import beside the standard library, as numpy,sortedcontainers."""
    environment: str | None = None
    """Folder of the environment that has it; none: this Python's."""
    again: bool = False
    """Judge a sample of rows that were judged once more, and say whose verdict flips."""
    rows: int | None = None
    """How many rows --again draws; none: 200."""
    shard: str = "1/1"
    """i/n: judge the i-th of n equal parts of the rows, into a file of its own beside output."""

    def __post_init__(self) -> None:
        settle(self, "input", "output")
        self.check_engine()
        place_of(self.shard)
        if self.again:
            for name in ("engine", "workers", "shard"):
                same = getattr(self, name) == type(self).__dataclass_fields__[name].default
                require(same, f"{name} is of rows judged for the first time, not of --again: leave it out")
        for name in () if self.again else ("verifier", "output"):
            require(getattr(self, name) is not None, f"needed is --{name}: `wmtp data verify --help` explains")
        require(self.again or self.rows is None, f"--rows {self.rows} is of --again: add --again, or leave it out")
        require(self.rows is None or self.rows >= 1, f"--rows is {self.rows}: give at least 1")
        fits = self.seed is None or 0 <= self.seed < 2**32  # as PYTHONHASHSEED has it
        require(fits, f"--seed is {self.seed}: give 0 to 4294967295")


@dataclass(frozen=True)
class InspectSettings:
    """Which runs are looked at, which of their rows, and where."""

    MOVED: ClassVar = ("train_file", "eval_file", "critic", "reference")

    run: list[str]
    """output_dir of a finished wmtp train; with --page several."""
    page: str | None = None
    """Write one HTML page, FILE.html; without a file RUN/page.html of the first run."""
    serve: bool = False
    """Write the page, and serve it on 127.0.0.1."""
    port: int | None = None
    """Of --serve; none: a free one."""
    rows: list[int] | None = None
    """Row numbers, as [0,5,7]."""
    count: int | None = None
    """How many rows, where none are named; none: 4, on a page 24 of each run."""
    label: Literal["any", "right", "wrong"] = "any"
    """Which rows."""
    train_file: str | None = None
    """Where the training file of the run lies now, if it was moved."""
    eval_file: str | None = None
    """Where the evaluation file of the run lies now, if it was moved."""
    critic: str | None = None
    """Where the separate critic of the run lies now, if it was moved."""
    reference: str | None = None
    """Where the reference model of the run lies now, if it was moved."""
    judged_rows: int = 200
    """Rows that the reliability of values is taken from, on a page."""

    def __post_init__(self) -> None:
        settle(self, "run", *(["page"] if self.page else []), *self.MOVED)
        html = not self.page or self.page.endswith(".html")
        require(html, f"--page {self.page}: give a file that ends with .html; runs come first")
        several = len(self.run) > 1 and not self.on_page
        require(not several, f"{len(self.run)} runs side by side need a page: add --page, or name one run")
        if self.port is not None:
            require(self.serve, f"--port {self.port} is of --serve: add --serve, or leave it out")
            require(0 <= self.port < 65536, f"--port is {self.port}: give 0 (a free one) to 65535")
        for name in ("count", "judged_rows"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name} is {value}: give at least 1")

    @property
    def on_page(self) -> bool:
        """Whether a page is written, rather than the terminal."""
        return self.page is not None or self.serve

    def moved(self) -> dict[str, str]:
        """Where files of the runs lie now, by the name of their setting."""
        return {name: getattr(self, name) for name in self.MOVED if getattr(self, name)}
