"""Servers that answer, do not, or answer nonsense; one is killed and started again in the middle."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.sampling.sample import sample
from weighted_mtp.sampling.server import ServerError
from weighted_mtp.sampling.settings import SampleConfig

DRIP = object()
"""An answer that comes byte by byte and never ends."""


class Answers(ThreadingHTTPServer):
    """Gives each request the next of some answers, (status, headers, body), and the last one ever after."""

    def __init__(self, *answers):
        self.answers, self.seen, self.lock, self.pause = list(answers), [], threading.Lock(), threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            answers = self.server.answers
            status, headers, content = answers.pop(0) if len(answers) > 1 else answers[0]
        content = content(body) if callable(content) else content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            while content is DRIP:  # until nobody listens
                self.wfile.write(b" ")
                self.server.pause.wait(0.05)
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"data": [{"id": name} for name in getattr(self.server, "models", ["m"])]}).encode()
        )

    def log_message(self, *args):
        pass


def text(body):
    return {
        "choices": [{"text": f"for {body['seed'] % 7}", "finish_reason": "stop"}],
        "usage": {"completion_tokens": 3},
    }


GOOD = (200, {}, text)


@pytest.fixture
def ask(written, tmp_path):
    def run(url, **settings):
        given = {"n": 2, "max_new_tokens": 6, "problems": str(written / "problems.jsonl"), "patience": 20.0}
        config = SampleConfig(model=url, out=str(tmp_path / "rows.jsonl"), **(given | settings))
        return sample(config, Console(quiet=True)), read_json_lines(tmp_path / "rows.jsonl")

    return run


@pytest.fixture
def serving():
    servers = []

    def start(*answers, **more):
        server = Answers(*answers)
        server.__dict__.update(more)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_text_goes_raw_and_chats_as_messages_with_settings_and_a_seed_each(ask, serving):
    server = serving(GOOD)
    _, rows = ask(server.url, stop=["\n"])
    assert {path for path, _, _ in server.seen} == {"/v1/completions"}
    bodies = [body for _, _, body in server.seen]
    wanted = {"model": "m", "max_tokens": 6, "temperature": 0.8, "top_p": 0.95, "stop": ["\n"], "stream": False}
    assert all(wanted.items() <= body.items() for body in bodies)
    assert len({body["seed"] for body in bodies}) == len(bodies)
    assert [row["ended"] for row in rows] == ["stop"] * 8
    assert (rows[0]["model"], rows[0]["server"]) == ("m", server.url)


def test_thoughts_of_a_chat_are_kept_beside_what_is_said(ask, serving):
    message = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    server = serving((200, {}, {"choices": [{"message": message, "finish_reason": "length"}]}))
    _, rows = ask(server.url, chat=True, limit=1, n=1)
    assert server.seen[0][0] == "/v1/chat/completions"
    assert server.seen[0][2]["messages"] == [{"role": "user", "content": "7 +3 :"}]
    assert rows[0]["completion"] == [message]
    assert rows[0]["truncated"] is True


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, b"oh"), (429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}), (200, {}, b"<html>"),
        (200, {}, {"choices": []}), (200, {}, {"choices": [{"text": None}]}), (200, {}, [1]), (503, {}, b""),
        (200, {}, {"choices": [{"text": "0", "finish_reason": "stop"}], "usage": "many"}), (200, {}, b"[" * 200_000),
        (200, {}, b'{"choices": [{"message": [1]}]}'),
    ],
    ids=["500", "429", "html", "no choice", "no text", "a list", "503", "usage", "nested", "no message"],
)  # fmt: skip
def test_what_can_pass_is_asked_again(ask, serving, trouble):
    server = serving(trouble, GOOD)
    found, _ = ask(server.url, limit=1, n=1, served_model="m")
    assert found.rows == 1
    assert len(server.seen) == 2


def test_what_cannot_pass_ends_in_what_the_server_said_and_keeps_what_is_written(ask, serving, tmp_path):
    refused = (400, {}, {"error": {"message": "maximum context length is 64"}})
    server = serving(GOOD, GOOD, refused)
    with pytest.raises(ServerError, match="problem 2: status 400: maximum context length is 64"):
        ask(server.url, n=1, concurrency=1)
    assert len(read_json_lines(tmp_path / "rows.jsonl")) == 2


@pytest.mark.parametrize("logprobs", [[1], {"token_logprobs": ["a"]}, {"token_logprobs": [3.0]}, {"content": [None]}])
def test_log_probabilities_that_are_none_are_no_answer(ask, serving, logprobs):
    odd = (200, {}, {"choices": [{"text": "0", "finish_reason": "stop", "logprobs": logprobs}]})
    with pytest.raises(ServerError, match=r"no answer in 1 s; last: "):
        ask(serving(odd).url, limit=1, n=1, patience=1.0, served_model="m", logprobs=True)


def test_a_completion_that_ended_by_a_filter_is_cut_off(ask, serving, tmp_path):
    filtered = (200, {}, {"choices": [{"text": "0", "finish_reason": "content_filter"}]})
    ask(serving(filtered).url, limit=1, n=1, served_model="m")
    assert read_json_lines(tmp_path / "rows.jsonl")[0]["truncated"] is True


def test_an_answer_that_drips_is_bounded_in_all(ask, serving):
    with pytest.raises(ServerError, match=r"the answer was not whole after 0.5 s"):
        ask(serving((200, {}, DRIP)).url, limit=1, n=1, patience=1.0, request_timeout=0.5, served_model="m")


def test_patience_ends_with_the_last_trouble(ask, serving):
    with pytest.raises(ServerError, match=r"no answer in 1 s; last: status 503: busy"):
        ask(serving((503, {}, {"error": "busy"})).url, limit=1, n=1, patience=1.0, served_model="m")


def test_several_models_want_one_named(ask, serving):
    server = serving(GOOD, models=["a", "b"])
    with pytest.raises(ServerError, match=r"lists 2 models \(a, b\): name one, --served_model"):
        ask(server.url)
    assert ask(server.url, served_model="b")[0].rows == 8


def test_the_key_is_sent_and_nowhere_kept(ask, serving, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server = serving(GOOD)
    ask(server.url, api_key_env="MY_KEY")
    assert all(headers["Authorization"] == "Bearer sk-secret" for _, headers, _ in server.seen)
    assert "sk-secret" not in (tmp_path / "rows.jsonl").read_text() + "".join(capfd.readouterr())


def test_no_more_requests_than_allowed_are_made(ask, serving):
    server = serving(GOOD)
    import time

    begin = time.monotonic()
    ask(server.url, requests_per_minute=600.0, limit=3, n=2)  # six requests, .1 s apart, and one for the models
    assert time.monotonic() - begin >= 0.55


def start_serving(model: Path, port: int) -> subprocess.Popen[bytes]:
    """`transformers serve`, once it answers."""
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(model), "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return process
        except OSError:
            threading.Event().wait(0.2)
    raise AssertionError(f"transformers serve ended with {process.returncode}")


@pytest.mark.slow
def test_a_real_server_that_is_killed_and_started_again_in_the_middle_loses_nothing(written, ask, tmp_path):
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = [start_serving(written / "model", port)]

    def again():
        while (
            len((tmp_path / "rows.jsonl").read_bytes().splitlines() if (tmp_path / "rows.jsonl").exists() else ()) < 5
        ):
            threading.Event().wait(0.02)
        os.killpg(servers[0].pid, signal.SIGKILL)
        servers[0].wait()
        servers.append(start_serving(written / "model", port))

    thread = threading.Thread(target=again)
    thread.start()
    try:
        url = f"http://127.0.0.1:{port}/v1"
        settings = {"served_model": str(written / "model"), "verifier": "exact", "n": 10, "concurrency": 2}
        found, rows = ask(url, **settings, patience=120.0)
        thread.join()
    finally:
        for server in servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    assert len(servers) == 2
    assert found.rows + found.empty == 40, "the server draws as it likes, at times an end alone"
    places = [(row["problem"], row["sample"]) for row in rows]
    assert places == sorted(set(places))
    assert all(row["completion"] for row in rows)
