"""Models behind a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, transformers serve and others."""

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter

from weighted_mtp.files import digest_of
from weighted_mtp.sampling.settings import SERVER, SampleConfig
from weighted_mtp.sampling.written import Asked, Written
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.verifiers.base import in_order

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds until a request is made again; doubled each time
_LISTING = 10.0  # seconds for the list of models
_ENDS = ("stop", "eos", "eos_token", "tool_calls", "function_call")
"""`finish_reason` of a completion that is whole."""
_Read = TypeVar("_Read")
_SHOWN = 300  # characters of what a server says


class ServerError(ConfigError):
    """A server that does not answer, or not with completions."""


class Server:
    """Asks for one completion a request, many at a time, in order.

    What can pass (no connection, a time-out, status 408, 409, 425, 429 and 5xx, an answer without a completion) is
    tried again after .5, 1, 2, ... 30 seconds, or what `Retry-After` says, for `patience` seconds in all; anything
    else ends the command with what the server said.

    Source: OpenAI's API reference, /v1/completions and /v1/chat/completions.
    """

    def __init__(self, config: SampleConfig) -> None:
        self._config = config
        key = os.environ.get(config.api_key_env)
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a password file of the environment
        self._session.headers.update({"Authorization": f"Bearer {key}"} if key else {})
        for scheme in SERVER:
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=config.concurrency))
        self._turn, self._next = threading.Lock(), 0.0
        self._stopping = threading.Event()
        self.name = config.served_model or self._only_model()

    def identity(self) -> dict[str, Any]:
        """What the rows say of who wrote them."""
        return {"model": self.name, "server": self._config.model}

    @property
    def block(self) -> int:
        """Completions that no shard divides: those of a problem."""
        return self._config.n

    part = None
    """Completions of a part: requests do not wait for each other, so that all are one."""

    def open(self) -> Callable[[Sequence[Asked]], Iterator[Written]]:
        """What gives completions in order."""
        return self.write

    def write(self, asked: Sequence[Asked]) -> Iterator[Written]:
        """Completions in order, `concurrency` requests at a time."""
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            try:
                yield from in_order(pool, self._ask, asked, most_ahead=2 * self._config.concurrency)
            finally:
                self._stopping.set()

    def _ask(self, asked: Asked) -> Written:
        config, prompt = self._config, asked.row["prompt"]
        body: dict[str, Any] = {
            "model": self.name,
            "max_tokens": config.max_new_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": int(digest_of(f"{config.seed} {asked.problem} {asked.sample}".encode())[:7], 16),
            "stream": False,
        }
        body |= {"stop": config.stop} if config.stop else {}
        chat = not isinstance(prompt, str)
        if chat:
            body |= {"messages": prompt} | ({"tools": asked.row["tools"]} if asked.row.get("tools") else {})
            body |= {"logprobs": True} if config.logprobs else {}
        else:
            body |= {"prompt": prompt} | ({"logprobs": 1} if config.logprobs else {})
        place = "chat/completions" if chat else "completions"
        return self._request(place, body, f"problem {asked.problem}", config.patience, self._read)

    def _read(self, reply: dict[str, Any]) -> Written:
        choice = reply["choices"][0]
        message, logprobs = choice.get("message"), choice.get("logprobs") or {}
        completion: Any = choice.get("text") if message is None else message.get("content") or ""
        thoughts = message and (message.get("reasoning_content") or message.get("reasoning"))
        if message is not None and (thoughts or message.get("tool_calls")):
            said = {"role": "assistant", "content": message.get("content")}
            said |= {"reasoning_content": thoughts} if thoughts else {}
            completion = [said | ({"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {})]
        values = None
        if self._config.logprobs:
            values = logprobs.get("token_logprobs") or [entry["logprob"] for entry in logprobs.get("content") or ()]
            if not values:
                raise ServerError(f"{self._config.model} gives no log-probabilities: leave out --logprobs")
            if not all(isinstance(x, float | int) and -math.inf < x < 1e-3 for x in values):
                raise ValueError("its log-probabilities are none")
        used = (reply.get("usage") or {}).get("completion_tokens")
        # Whatever else a server ends a completion by, a filter say, its end is none to be learned.
        whole = choice.get("finish_reason") in _ENDS
        ended = "length" if not whole else "stop" if self._config.stop else "eos"
        return Written(completion, ended, used if isinstance(used, int) else len(values or []), values)

    def _request(
        self, path: str, body: dict[str, Any] | None, what: str, patience: float, read: Callable[[Any], _Read]
    ) -> _Read:
        """What is read in the answer to a request: of completions, or of models where there is no body."""
        begin, wait, trouble = time.monotonic(), _FIRST_WAIT, ""
        while True:
            asked_to_wait = None
            self._take_turn()
            try:
                method, address = "GET" if body is None else "POST", f"{self._config.model.rstrip('/')}/{path}"
                answer = self._answer(method, address, body)
                if answer.status_code == 200:
                    trouble = (
                        f"an answer without {'models' if body is None else 'a completion'}: {answer.text[:_SHOWN]}"
                    )
                    found = answer.json()
                    if _holds_an_answer(found, "data" if body is None else "choices"):
                        return read(found)
                elif answer.status_code in (408, 409, 425, 429) or answer.status_code >= 500:
                    trouble = f"status {answer.status_code}: {_said(answer)}"
                    asked_to_wait = answer.headers.get("Retry-After")
                else:
                    raise ServerError(f"{self._config.model}: {what}: status {answer.status_code}: {_said(answer)}")
            except ServerError:
                raise
            except (AttributeError, TypeError, LookupError, RecursionError):
                pass  # an answer of other types
            except (requests.RequestException, ValueError) as error:
                trouble = f"{type(error).__name__}: {error}"[:_SHOWN]
            pause = wait * random.uniform(0.8, 1.2)
            if asked_to_wait is not None and asked_to_wait.isdigit():
                pause = float(asked_to_wait)
            if time.monotonic() - begin + pause > patience:
                raise ServerError(f"{self._config.model}: {what}: no answer in {patience:g} s; last: {trouble}")
            if self._stopping.wait(pause):
                raise ServerError(f"{self._config.model}: stopped")
            wait = min(2 * wait, _LONGEST_WAIT)

    def _answer(self, method: str, address: str, body: dict[str, Any] | None) -> requests.Response:
        """A whole answer within `request_timeout`, however slowly it comes."""
        seconds = self._config.request_timeout
        end = time.monotonic() + seconds
        with self._session.request(
            method, address, json=body, timeout=seconds, stream=True, allow_redirects=False
        ) as answer:
            content = bytearray()
            while part := answer.raw.read1(1 << 20, decode_content=True):
                content += part
                if time.monotonic() > end:
                    raise requests.Timeout(f"the answer was not whole after {seconds:g} s")
            answer._content = bytes(content)
        return answer

    def _take_turn(self) -> None:
        """Waits until one more request is within `requests_per_minute`."""
        if self._config.requests_per_minute is None:
            return
        with self._turn:
            now = time.monotonic()
            at = max(self._next, now)
            self._next = at + 60 / self._config.requests_per_minute
        self._stopping.wait(at - now)

    def _only_model(self) -> str:
        try:
            patience = min(_LISTING, self._config.patience)
            listed = self._request("models", None, "its models", patience, lambda found: found["data"])
        except ServerError as error:
            raise ServerError(
                f"{error}; where a server is there and lists none, name its model, --served_model"
            ) from None
        names = [str(model.get("id")) for model in listed]
        if len(names) != 1:
            said = f"{len(names)} models ({', '.join(names[:8])})"
            raise ServerError(f"{self._config.model} lists {said}: name one, --served_model")
        return names[0]


def _holds_an_answer(found: Any, name: str) -> bool:
    if (
        not isinstance(found, dict)
        or not isinstance(found.get(name), list)
        or not all(isinstance(x, dict) for x in found[name])
    ):
        return False
    if name == "data":
        return True
    if not found[name]:
        return False
    message = found[name][0].get("message")
    return isinstance(found[name][0].get("text"), str) if message is None else isinstance(message, dict)


def _said(answer: requests.Response) -> str:
    """What a server says of an error: its message, or the beginning of its text."""
    try:
        error = answer.json()
        error = error.get("error", error)
        return str(error.get("message", error) if isinstance(error, dict) else error)[:_SHOWN]
    except (ValueError, AttributeError):
        return answer.text[:_SHOWN].strip() or "nothing"
