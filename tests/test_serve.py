"""The API with OpenAI's own client: what it asks is answered, and what is answered is what the model says."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
import torch

from inkling.infer.dialogue import Dialogue
from inkling.infer.engine import generate
from inkling.infer.sampling import SamplingSettings
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.serve.app import make_app
from inkling.serve.limits import LimitSettings
from inkling.serve.listening import make_server
from inkling.serve.served import Served
from inkling.text.tokenizer_sources import byte_tokenizer
from test_conversation import TOKENIZER
from test_dialogue import ByHeart

QUESTION = [{"role": "user", "content": "Who are you?"}]


class Slow(GPT):
    """A model whose every step takes as long as you say; it counts them."""

    def __init__(self, seconds=0.0, **choices):
        sizes = {"block_size": 256, "n_layer": 2, "n_head": 2, "n_embd": 32} | choices
        super().__init__(GPTConfig(vocab_size=265, **sizes), seed=1)
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():  # so that logits are far apart
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
        self.eval()
        self.seconds, self.steps = seconds, 0

    def head(self, x):
        self.steps += 1
        time.sleep(self.seconds)
        logits = super().head(x)
        logits[:, 256:] -= 100  # it never ends by itself
        return logits


@contextmanager
def serving(model, tokenizer=TOKENIZER, can_chat=True, **options):
    """(address, app) of a server in a thread of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    limits = LimitSettings(**options.pop("limits", {}))
    app = make_app(Served("tiny", model, tokenizer, Path("runs/tiny"), can_chat), limits, **options)
    server = make_server(app, "127.0.0.1", 0, limits.max_connections, drain_seconds=5)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app
        finally:
            server.should_exit = True
            thread.join(20)
            torch.set_num_threads(before)
            assert not thread.is_alive()


def client_of(address, key="none", **options):
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60, **options)


def until(condition, seconds=10.0):
    """Wait for what another thread will do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def address():
    with serving(Slow()) as (address, _):
        yield address


@pytest.fixture(scope="module")
def client(address):
    return client_of(address)


# --- completions -----------------------------------------------------------------------------------------


def complete(client, prompt="Once", **options):
    options = {"max_tokens": 20, "seed": 7} | options
    return client.completions.create(model="tiny", prompt=prompt, **options)


def test_a_completion_is_what_the_command_sample_says(client):
    found = complete(client)
    assert found.choices[0].text == generate(Slow(), TOKENIZER, "Once", 20, seed=7)
    assert found.choices[0].finish_reason == "length" and found.object == "text_completion"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (4, 20, 24)
    assert complete(client).choices[0].text == found.choices[0].text != complete(client, seed=8).choices[0].text


def test_without_a_seed_each_answer_is_another(client):
    assert len({complete(client, seed=None).choices[0].text for _ in range(4)}) == 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0},
        {"temperature": 1.3, "top_p": 0.7, "extra_body": {"min_p": 0.01, "top_k": 30, "repetition_penalty": 1.2}},
        {"n": 3, "logprobs": 2},
        {"max_tokens": 400},  # beyond the end of the context
    ],
    ids=str,
)
def test_a_stream_joined_is_the_text_at_once(client, options):
    whole = complete(client, **options)
    count = len(whole.choices)
    texts, logprobs, ends = [""] * count, [[] for _ in range(count)], {}
    for chunk in complete(client, stream=True, stream_options={"include_usage": True}, **options):
        if not chunk.choices:
            assert chunk.usage == whole.usage
            continue
        [piece] = chunk.choices
        texts[piece.index] += piece.text
        logprobs[piece.index] += piece.logprobs.token_logprobs if piece.logprobs else []
        if piece.finish_reason:
            ends[piece.index] = piece.finish_reason
    assert texts == [choice.text for choice in whole.choices] and len(set(texts)) == count
    assert ends == dict.fromkeys(range(count), "length")
    if "logprobs" in options:
        for found, choice in zip(logprobs, whole.choices, strict=True):
            assert found == pytest.approx(choice.logprobs.token_logprobs, abs=1e-4) and len(found) == 20


def test_n_are_the_samples_of_that_seed(client):
    texts = [choice.text for choice in complete(client, n=3).choices]
    assert texts[0] == complete(client).choices[0].text
    assert len(set(texts)) == 3


def test_prompts_as_ids_and_several_at_once(client):
    text = complete(client).choices[0].text
    assert complete(client, TOKENIZER.encode("Once")).choices[0].text == text
    many = complete(client, ["Once", "Twice"], n=2)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert many.choices[0].text == text and many.usage.prompt_tokens == 9
    assert many.choices[2].text == complete(client, "Twice").choices[0].text
    assert complete(client, [[1, 2], [3]]).usage.prompt_tokens == 3


def test_stop_ends_before_its_text(client):
    text = complete(client).choices[0].text
    stop = text[8:10]
    found = complete(client, stop=["never there", stop], logprobs=0)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (text[: text.index(stop)], "stop")
    assert found.choices[0].logprobs.text_offset[-1] < len(found.choices[0].text)
    stream = complete(client, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == found.choices[0].text


def test_logprobs_are_the_models_own(client):
    found = complete(client, "On", max_tokens=5, logprobs=3, temperature=2.0).choices[0].logprobs
    model, ids = Slow(), TOKENIZER.encode("On")
    top = found.top_logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(top) == len(found.text_offset) == 5
    with torch.no_grad():
        expected = model.head(model.hidden(torch.tensor([ids]))[:, -1])[0].log_softmax(-1)
    assert sorted(top[0].values(), reverse=True) == pytest.approx(expected.topk(3).values.tolist(), abs=1e-4)
    assert found.text_offset[0] == 0


def test_a_mark_ends_a_text():
    model = Slow()
    head = model.head
    model.head = lambda x: head(x).index_fill(-1, torch.tensor([TOKENIZER.bos]), 1000.0 if model.steps > 3 else 0.0)
    with serving(model) as (address, _):
        found = complete(client_of(address)).choices[0]
    assert found.finish_reason == "stop" and len(found.text) <= 4


# --- chat ------------------------------------------------------------------------------------------------


def chat(client, messages=QUESTION, **options):
    options = {"max_tokens": 20, "seed": 7} | options
    return client.chat.completions.create(model="tiny", messages=messages, **options)


def test_chat_streamed_and_not(client):
    whole = chat(client, n=2)
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 2 and all(texts)
    assert whole.choices[0].message.role == "assistant" and whole.choices[0].finish_reason == "length"
    streamed, roles = ["", ""], []
    for chunk in chat(client, n=2, stream=True):
        [piece] = chunk.choices
        streamed[piece.index] += piece.delta.content or ""
        roles += [piece.delta.role] if piece.delta.role else []
    assert streamed == texts and roles == ["assistant"] * 2
    assert chat(client, max_tokens=None, max_completion_tokens=3).usage.completion_tokens == 3


def test_chat_logprobs(client):
    found = chat(client, logprobs=True, top_logprobs=2).choices[0]
    entries = found.logprobs.content
    assert len(entries) == 20 and all(len(entry.top_logprobs) == 2 for entry in entries)
    assert b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace") == found.message.content
    assert chat(client).choices[0].logprobs is None
    streamed = [chunk.choices[0].logprobs for chunk in chat(client, logprobs=True, stream=True)]
    joined = [entry.logprob for piece in streamed if piece for entry in piece.content]
    assert joined == pytest.approx([entry.logprob for entry in entries], abs=1e-4)


def test_the_dialogue_that_is_meant(client):
    """The same ids as in the terminal: system text, history, and content in parts."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": " you"}]},
        {"role": "assistant", "content": "Hello."},
        *QUESTION,
    ]
    dialogue = Dialogue(Slow(), TOKENIZER, "Be brief.", SamplingSettings(temperature=0), max_new_tokens=15)
    dialogue.restore([{"role": "user", "content": "Hi you"}, {"role": "assistant", "content": "Hello."}])
    dialogue.system = "Be brief."
    expected = "".join(dialogue.say("Who are you?"))
    assert chat(client, messages, temperature=0, max_tokens=15).choices[0].message.content == expected


ANSWERS = {
    "sum": "See: [ps]12*3[pe][os]36[oe] so 36.[ae]",
    "no tools": "See: [ps]12*3[pe][os]error[oe] no.[ae]",
    "hi": "hello[ae]",
}


def test_the_calculator_is_used_by_the_server_and_its_use_is_told():
    with serving(ByHeart(ANSWERS), limits={"max_rows": 1}) as (address, _):
        client = client_of(address)
        found = chat(client, [{"role": "user", "content": "sum"}], max_tokens=None)
        assert found.choices[0].message.content == "See:  so 36."
        assert found.choices[0].finish_reason == "stop" and found.choices[0].message.tool_calls is None
        story = found.choices[0].inkling["messages"]
        assert [message["role"] for message in story] == ["assistant", "tool", "assistant"]
        assert story[1]["content"] == "36" and story[2]["content"] == " so 36."
        after = [{"role": "user", "content": "sum"}, *story, {"role": "user", "content": "hi"}]
        assert chat(client, after).choices[0].message.content == "hello", "the story is a history to go on from"

        events, text = [], ""
        for chunk in chat(client, [{"role": "user", "content": "sum"}], max_tokens=None, stream=True):
            text += chunk.choices[0].delta.content or ""
            events += (getattr(chunk.choices[0], "inkling", None) or {}).get("tools", [])
        assert text == "See:  so 36."
        assert events == [{"called": "calculator", "text": "12*3"}, {"result": "36", "problem": ""}]

        calculator = {"type": "function", "function": {"name": "calculator", "parameters": {}}}
        assert chat(client, [{"role": "user", "content": "sum"}], tools=[calculator], max_tokens=None).choices
        for without in ({"tools": []}, {"tool_choice": "none"}):
            found = chat(client, [{"role": "user", "content": "no tools"}], max_tokens=None, **without)
            assert found.choices[0].message.content == "See:  no."
        with pytest.raises(openai.BadRequestError, match="There is no tool 'weather'"):
            chat(client, tools=[{"type": "function", "function": {"name": "weather"}}])


def test_old_turns_are_forgotten_and_said_to_be(client):
    messages = [*QUESTION, {"role": "assistant", "content": "x" * 60}] * 5 + QUESTION
    found = chat(client, messages)
    assert found.choices[0].inkling["forgotten"] >= 2
    assert found.usage.prompt_tokens <= 256 - 20


def test_a_model_that_was_never_taught_says_so():
    with serving(Slow(), byte_tokenizer(), can_chat=False) as (address, _):
        client = client_of(address)
        with pytest.raises(openai.BadRequestError, match="never taught to chat") as refused:
            chat(client)
        assert refused.value.code == "cannot_chat"
        assert complete(client).choices[0].text


# --- refusals, in words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"temperature": -1}, openai.BadRequestError, "temperature=-1.0"),
        ({"top_p": 0}, openai.BadRequestError, "top_p"),
        ({"n": 0}, openai.BadRequestError, "n"),
        ({"n": 17}, openai.BadRequestError, "more than 16"),
        ({"max_tokens": 5000}, openai.BadRequestError, "4096"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens"),
        ({"stop": ""}, openai.BadRequestError, "stop"),
        ({"frequency_penalty": 1.0}, openai.BadRequestError, "frequency_penalty"),
        ({"logit_bias": {"1": 5}}, openai.BadRequestError, "logit_bias"),
        ({"model": "gpt-9"}, openai.NotFoundError, "no model 'gpt-9'"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused_in_both(client, options, error, message):
    for create, what in [
        (client.completions.create, {"prompt": "a"}),
        (client.chat.completions.create, {"messages": QUESTION}),
    ]:
        with pytest.raises(error, match=message) as refused:
            create(**{"model": "tiny"} | what | options)
        assert refused.value.type == ("not_found_error" if error is openai.NotFoundError else "invalid_request_error")


def test_too_long_is_said_with_its_numbers(client):
    with pytest.raises(openai.BadRequestError, match="300 tokens, and the model sees 256") as refused:
        complete(client, "x" * 300)
    assert refused.value.code == "context_length_exceeded" and refused.value.param == "prompt"
    with pytest.raises(openai.BadRequestError, match="too long") as refused:
        chat(client, [{"role": "user", "content": "x" * 300}])
    assert refused.value.code == "context_length_exceeded"
    assert complete(client, "x" * 256, max_tokens=3).usage.completion_tokens == 3


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "Hi"}],
        [*QUESTION, *QUESTION],
        [*QUESTION, {"role": "assistant", "content": "Hi"}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": None}],
        [{"role": "robot", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [],
    ],
    ids=str,
)
def test_what_is_no_conversation_is_refused(client, messages):
    with pytest.raises(openai.BadRequestError):
        chat(client, messages)


@pytest.mark.parametrize("prompt", ["", [], [265], [-1], [[]], ["a", ""], [2**40]], ids=str)
def test_what_is_no_prompt_is_refused(client, prompt):
    with pytest.raises(openai.BadRequestError):
        complete(client, prompt)


# --- the rest of the API ---------------------------------------------------------------------------------


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "inkling"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_tokenize(address):
    found = httpx.post(f"{address}/v1/tokenize", json={"text": "é!"}).json()
    assert found["tokens"] == TOKENIZER.encode("é!") and found["count"] == 3 and found["text"] == "é!"
    back = httpx.post(f"{address}/v1/tokenize", json={"tokens": [104, 105, TOKENIZER.bos]}).json()
    assert back["text"].startswith("hi") and back["pieces"] == ["h", "i", "<|bos|>"]
    for wrong in ({}, {"text": "a", "tokens": [1]}, {"tokens": [265]}, {"tokens": [-1]}):
        assert httpx.post(f"{address}/v1/tokenize", json=wrong).status_code == 400


def test_health_metrics_and_document(client, address):
    complete(client)
    assert httpx.get(f"{address}/health").json() == {"status": "ok", "model": "tiny", "unfinished": 0}
    text = httpx.get(f"{address}/metrics").text
    assert 'inkling_responses_total{path="/v1/completions",status="200"}' in text
    assert 'inkling_answers_total{reason="done"}' in text and "inkling_first_token_seconds_bucket" in text
    document = httpx.get(f"{address}/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/tokenize"} <= document["paths"].keys()
    assert "422" not in json.dumps(document["paths"])
    missing = httpx.get(f"{address}/v1/nothing")
    assert missing.status_code == 404 and missing.json()["error"]["type"] == "not_found_error"
    assert httpx.get(f"{address}/v1/completions").status_code in (404, 405)
    assert missing.headers["x-content-type-options"] == "nosniff" and missing.headers["x-frame-options"] == "DENY"


def test_what_was_read_before_is_not_read_again(client):
    prompt = "".join(chr(97 + i * i % 26) for i in range(200))
    first, again = (complete(client, prompt, max_tokens=2) for _ in range(2))
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert again.usage.prompt_tokens_details.cached_tokens == 192
    assert first.choices == again.choices
