"""What `wmtp sample` is told: checked before anything is generated, and before torch is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighted_mtp.data.schema import DataError
from weighted_mtp.engine.settings import EngineSettings, place_of, sharded
from weighted_mtp.evaluation.problems import Problems, read_problems
from weighted_mtp.models import sources
from weighted_mtp.training.errors import require, require_positive, require_temperature, settle
from weighted_mtp.verifiers.table import verifier_class

SERVER = ("http://", "https://")
OF_DIRECTORIES = ("batch_size", "drafts", "engine", "workers")
OF_SERVERS = ("served_model", "concurrency", "requests_per_minute", "request_timeout", "patience", "api_key_env")


@dataclass(frozen=True)
class SampleConfig(EngineSettings):
    """Which model writes for which prompts, how, and who judges."""

    model: str
    """A directory, or http(s)://HOST/v1 of a server that speaks OpenAI's protocol."""
    problems: str
    """JSON lines with prompt, or of a known form (MBPP, GSM8K, ...); their columns are passed on. Or humaneval."""
    out: str
    """JSON lines of prompt, completion and what is known of it; what is there already is gone on with."""
    n: int = 8
    """Completions a prompt."""
    verifier: str | None = None
    """Who judges them, for label and verdict; none: nobody, here."""
    temperature: float = 0.8
    """Of the sampling; 0: the likeliest tokens, n then is 1."""
    top_p: float = 0.95
    """Of the sampling: the fewest tokens that together hold this probability; 1 keeps all."""
    max_new_tokens: int = 512
    """Tokens a completion at most, end of text included."""
    seed: int = 0
    """Each sample depends on it, on its problem's number and on its own; servers are told one."""
    stop: list[str] | None = None
    """Strings that end a completion, as ["\\ndef"]; none: no string does."""
    chat: bool = False
    """Prompts that are text are what a user says: through the chat template."""
    logprobs: bool = False
    """Keeps the log-probability of each token under the sampling policy."""
    drop_duplicates: bool = False
    """Leaves out completions that the prompt has already; they are counted either way."""
    limit: int | None = None
    """Only the first problems."""
    timeout: float | None = None
    """Seconds a completion, of verifiers that run programs; none: the verifier's own."""
    allow: str | None = None
    """What programs may import beside the standard library, as numpy,sortedcontainers."""
    environment: str | None = None
    """Folder of the environment that has it; none: this Python's."""
    on_bad_problem: Literal["error", "skip"] = "error"
    """Problems that the verifier cannot check: nothing is done, or they are left out."""
    batch_size: int = 64
    """Completions generated together, of a model in a directory."""
    drafts: bool = False
    """The extra heads of a model in a directory guess ahead and head 0 checks: the same samples in fewer forwards."""
    shard: str = "1/1"
    """i/n: the i-th of n equal parts of the completions, into a file of its own beside out."""
    served_model: str | None = None
    """Of a server: the name of its model; none: the only one that it lists."""
    concurrency: int = 16
    """Of a server: requests at a time."""
    requests_per_minute: float | None = None
    """Of a server: requests at most; none: no limit."""
    request_timeout: float = 300.0
    """Of a server: seconds for one answer."""
    patience: float = 600.0
    """Of a server: seconds for which one that is busy, slow or gone is asked again, ever more rarely."""
    api_key_env: str = "OPENAI_API_KEY"
    """Of a server: the variable of the environment that holds the key, if it wants one; the key is never shown."""

    def __post_init__(self) -> None:
        settle(self, *(["model"] * (not self.served)), "problems", "out", "environment")
        for name in ("n", "max_new_tokens", "batch_size", "concurrency"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}: give at least 1")
        require(self.seed >= 0, f"seed is {self.seed}: give 0 or more")
        require(self.limit is None or self.limit >= 1, f"limit is {self.limit}: give at least 1")
        require_temperature(self.temperature)
        require(0 < self.top_p <= 1, f"top_p is {self.top_p}: give a probability in (0, 1]")
        require("" not in (self.stop or []), "stop holds an empty string, which would end every completion")
        require_positive(self, "request_timeout", "patience")
        if self.requests_per_minute is not None:
            require_positive(self, "requests_per_minute")
        if self.temperature == 0:
            require(self.n == 1, f"temperature is 0 and n {self.n}: all would be the same; give n 1 or a temperature")
            require(not self.logprobs, "logprobs are those of a sampling policy: give a temperature above 0")
        for name, value in self.options().items():
            told = f"{name} is {value}, and no verifier is named that it is for"
            require(value is None or self.verifier is not None, told)
        self.check_engine()
        place_of(self.shard)
        unused = OF_DIRECTORIES if self.served else OF_SERVERS
        for name in unused:
            of = "a model in a directory" if self.served else "a server"
            default = type(self).__dataclass_fields__[name].default
            require(getattr(self, name) == default, f"{name} is of {of}, and {self.model} is none: leave it out")

    def options(self) -> dict[str, Any]:
        """What the verifier is made with."""
        return {name: getattr(self, name) for name in ("timeout", "allow", "environment")}

    @property
    def served(self) -> bool:
        """Whether the model stands behind a server."""
        return self.model.startswith(SERVER)

    @property
    def path(self) -> Path:
        """The file that is written."""
        return sharded(self.out, self.shard)

    @property
    def completions(self) -> None:
        """None are made elsewhere."""


def check_sample(config: SampleConfig) -> Problems:
    """The problems; raises for what `wmtp sample` would stumble over, before torch is imported."""
    if config.verifier is not None:
        verifier_class(config.verifier, **config.options())
    if not config.served:
        sources.require(config.model)
    problems = read_problems(config)
    if config.path.is_dir():
        raise DataError(f"{config.path} is a folder: give a file, as rows.jsonl")
    return problems
