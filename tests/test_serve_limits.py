"""Strangers: who may ask, how much, how slowly; who leaves early; and what nobody should send."""

import json
import socket
import threading
import time
from contextlib import suppress

import httpx
import openai
import pytest

from inkling.serve import listening
from test_serve import QUESTION, Slow, chat, client_of, complete, serving, until


def raw(address, data, seconds=5.0):
    """Send bytes, and return what comes back until the other side hangs up or falls silent."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        found = b""
        try:
            while new := connection.recv(65536):
                found += new
        except (TimeoutError, ConnectionResetError):
            pass
        return found


@pytest.fixture(scope="module")
def address():
    with serving(Slow(), limits={"max_body": 50_000, "max_characters": 2000, "max_messages": 20}) as (address, _):
        yield address


# --- who may ask -----------------------------------------------------------------------------------------


def test_a_token_is_wanted_for_all_but_the_health():
    with serving(Slow(), token="s3cret", host="0.0.0.0") as (address, _):
        for key in ("wrong", "s3cre", "s3cret2", "sécret"):
            answer = httpx.get(f"{address}/v1/models", headers={b"authorization": f"Bearer {key}".encode()})
            assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            complete(client_of(address, "wrong"))
        assert complete(client_of(address, "s3cret")).choices
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_name_that_is_not_this_machines_is_refused(address):
    assert httpx.get(f"{address}/v1/models", headers={"host": "evil.example"}).status_code == 403
    assert httpx.get(f"{address}/v1/models", headers={"host": "localhost:1234"}).status_code == 200
    assert httpx.get(f"{address}/v1/models", headers={"host": "[::1"}).status_code == 403


def test_pages_elsewhere_may_ask_only_where_they_are_named(address):
    ask = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{address}/v1/completions", headers=ask).headers
    simple = {"origin": "https://a.example", "content-type": "text/plain"}
    body = json.dumps({"prompt": "a"})
    assert httpx.post(f"{address}/v1/completions", headers=simple, content=body).status_code == 400
    with serving(Slow(), cors=["https://a.example"]) as (open_address, _):
        allowed = httpx.options(f"{open_address}/v1/completions", headers=ask)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        other = httpx.options(f"{open_address}/v1/completions", headers=ask | {"origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


# --- how much --------------------------------------------------------------------------------------------


def test_sizes(address):
    client = client_of(address)
    for send in (
        lambda: complete(client, "x" * 2001),
        lambda: chat(client, [{"role": "user", "content": "x" * 2001}]),
        lambda: chat(client, [*QUESTION, {"role": "assistant", "content": "x"}] * 10 + QUESTION),
    ):
        with pytest.raises(openai.BadRequestError, match=r"(m|M)ore than"):
            send()
    with pytest.raises(openai.APIStatusError) as refused:
        complete(client, "x" * 60_000)
    assert refused.value.status_code == 413


def test_a_body_without_a_length_is_counted_too(address):
    sent = (b"x" * 10_000 for _ in range(20))
    with suppress(httpx.TransportError):  # it may hang up while we still send
        assert httpx.post(f"{address}/v1/completions", content=sent).status_code == 413
    assert complete(client_of(address)).choices


def test_too_many_at_once_are_told_to_come_again():
    with serving(Slow(0.02), limits={"max_rows": 2, "max_waiting": 1}) as (address, app):
        client = client_of(address)
        streams = [complete(client, stream=True, max_tokens=200) for _ in range(3)]
        next(iter(streams[0]))
        with pytest.raises(openai.RateLimitError) as refused:
            complete(client)
        assert int(refused.value.response.headers["retry-after"]) >= 1
        with pytest.raises(openai.RateLimitError):
            complete(client, n=4)
        for stream in streams:
            stream.close()
        until(lambda: app.state.scheduler.unfinished == 0)
        assert complete(client).choices


def test_an_answer_ends_when_its_time_is_up():
    with serving(Slow(0.02), limits={"max_seconds": 0.5, "max_rows": 1}) as (address, _):
        client = client_of(address)
        found = complete(client, max_tokens=200)
        assert found.choices[0].finish_reason == "length" and 1 <= found.usage.completion_tokens < 40
        first = complete(client, stream=True, max_tokens=200)
        next(iter(first))
        with pytest.raises(openai.InternalServerError, match="No place became free"):
            for _ in range(3):  # behind an answer of half a second, none of half a second
                complete(client, max_tokens=200)
                complete(client, n=3, max_tokens=200)


# --- who leaves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("waits", [False, True])
def test_whoever_leaves_frees_the_place_within_one_step(stream, waits):
    model = Slow(0.05)
    with serving(model, limits={"max_rows": 1}) as (address, app):
        scheduler = app.state.scheduler
        ahead = complete(client_of(address), stream=True, max_tokens=230) if waits else None
        body = json.dumps({"prompt": "Once", "max_tokens": 230, "stream": stream}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        host, port = address.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)))
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        until(lambda: scheduler.unfinished == 1 + waits)
        time.sleep(0.12)
        connection.close()
        left_at = model.steps
        until(lambda: scheduler.unfinished == waits)
        assert model.steps <= left_at + 2, "the one that ran, and one more"
        if ahead:
            ahead.close()
        until(lambda: scheduler.unfinished == 0)
        steps = model.steps
        time.sleep(0.15)
        assert model.steps <= steps + 1, "nobody is there, and nothing is computed"


# --- what nobody should send -----------------------------------------------------------------------------


def post(address, content, kind="application/json"):
    return httpx.post(f"{address}/v1/completions", content=content, headers={"content-type": kind})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"prompt"',
        b'{"prompt": "\xff\xfe"}',
        b"\xff" * 100,
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "model": "\\udfff"}',
        b'{"prompt": "a", "seed": 1' + b"0" * 5000 + b"}",
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": 1e999}',
        b'{"prompt": "a", "stream_options": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b"[" * 40_000,
        b'{"a":' * 8_000,
        b'{"prompt": ' + b"[" * 10_000 + b"1" + b"]" * 10_000 + b"}",
    ],
    ids=lambda content: content[:30],
)
def test_malformed_bodies_are_refused(address, content):
    answer = post(address, content)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]


def test_lone_surrogates_elsewhere(address):
    for path, body in [
        ("chat/completions", b'{"messages": [{"role": "user", "content": "\\ud800"}]}'),
        ("tokenize", b'{"text": "\\ud800"}'),
        ("completions", b'{"prompt": "a", "stop": "\\ud800", "max_tokens": 2}'),
    ]:
        answer = httpx.post(f"{address}/v1/{path}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (200, 400), path


def test_giant_heads_are_refused(address):
    for line in (b"x-giant: " + b"a" * 100_000, b"\r\n".join(b"x-%d: y" % i for i in range(20_000))):
        found = raw(address, b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + line + b"\r\n\r\n")
        assert found.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or not found
    assert raw(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{address}/health").status_code == 200


def test_a_slow_head_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(listening, "HEAD_SECONDS", 0.3)
    with serving(Slow()) as (address, _):
        began = time.monotonic()
        assert raw(address, b"GET /health HTTP/1.1\r\nhost: loc") == b""
        assert raw(address, b"") == b""
        kept = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea"
        assert raw(address, kept).count(b"HTTP/1.1 200") == 1, "the second of a connection too"
        assert time.monotonic() - began < 8
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_slow_body_is_refused():
    with serving(Slow(), limits={"upload_seconds": 0.3}) as (address, _):
        head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        assert raw(address, head + b"content-length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408")


def test_many_who_come_and_go_leave_nothing_behind():
    model = Slow(0.002)
    with serving(model, limits={"max_rows": 4, "max_waiting": 4}) as (address, app):
        statuses = []

        def visit(number):
            client = client_of(address)
            for i in range(6):
                try:
                    stream = complete(client, "x" * (1 + 13 * number % 90), stream=True, max_tokens=30, seed=i)
                    for read, _ in enumerate(stream):
                        if read == (number * 7 + i * 3) % 40:
                            stream.close()
                            break
                    statuses.append(200)
                except openai.RateLimitError:
                    statuses.append(429)
                    time.sleep(0.01)

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(statuses) == 72 and set(statuses) <= {200, 429} and 200 in statuses
        scheduler = app.state.scheduler
        until(lambda: scheduler.unfinished == 0 and not scheduler._batch.is_busy)
        assert not scheduler._jobs and not scheduler._batch.cache.lengths.any()


def test_a_model_that_breaks_is_an_error_and_not_the_end():
    model = Slow()
    with serving(model) as (address, app):
        client = client_of(address)
        expected = complete(client).choices
        weight = model.lm_head.weight.data.clone()
        model.lm_head.weight.data[:] = float("nan")
        with pytest.raises(openai.InternalServerError, match="NaN"):
            complete(client)
        with pytest.raises(openai.APIError, match="NaN"):
            list(complete(client, stream=True))
        model.lm_head.weight.data[:] = weight
        assert complete(client).choices == expected
        assert app.state.scheduler.unfinished == 0
