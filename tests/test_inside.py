"""What the page asks: a look inside the model equals the plain forward pass, and the past of a run comes back."""

import json
import math
from dataclasses import replace

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient

from inkling.hub.load import load
from inkling.infer.engine import generate
from inkling.model.config import PRESETS, GPTConfig
from inkling.model.gpt import GPT
from inkling.serve import history, inside
from inkling.serve.errors import handle_errors
from inkling.serve.history import spread
from inkling.serve.inside import inside_router
from inkling.serve.looking import likeliest, logit_lens, look, piece, surprises
from inkling.serve.served import Served
from inkling.text.tokenizer_sources import byte_tokenizer, char_tokenizer, trained_tokenizer

SIZES = {"block_size": 24, "vocab_size": 60, "n_layer": 3, "n_head": 4, "n_embd": 32}
SHAPES = {
    "gpt2": {},
    "nanochat": {"value_embeddings": True, "residual_scalars": True, "pad_vocab_to": 64},
    "llama": {"n_kv_head": 2, "window": 4},
    "qwen3": {"n_kv_head": 1, "head_size": 6},
}


def model_of(shape: str, **more) -> GPT:
    config = GPTConfig(preset=shape, **{**PRESETS[shape], **SHAPES[shape], **SIZES, **more})
    model = GPT(config, seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some begin at zero, and would show nothing
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


IDS = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=SHAPES)
def model(request):
    return model_of(request.param)


# --- looking -----------------------------------------------------------------------------------------------


def test_looking_changes_nothing(model):
    plain = model(torch.tensor([IDS]))[0]
    assert torch.equal(look(model, IDS, 1).logits, plain)
    assert torch.equal(model(torch.tensor([IDS]))[0], plain), "and leaves nothing behind"
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.blocks)


def test_the_streams_are_what_the_blocks_leave(model):
    seen = look(model, IDS, 0)
    assert len(seen.streams) == 4
    last = model.head(model.transformer["ln_f"](seen.streams[-1]))
    assert torch.equal(last, seen.logits)


@pytest.mark.parametrize("attention", ["sdpa", "by_hand"])
def test_attention_is_what_mixes_the_values(attention):
    """Worked out anew from queries and keys, one query at a time."""
    for shape in SHAPES:
        model = model_of(shape, attention=attention)
        for layer, block in enumerate(model.blocks):
            seen, caught = {}, block.attn.attend

            def catch(q, k, v, mask, dropout, seen=seen, caught=caught):
                seen.update(q=q, k=k)
                return caught(q, k, v, mask, dropout)

            block.attn.attend = catch
            weights = look(model, IDS, layer).attention  # (H, T, T)
            block.attn.attend = caught
            window = model.config.layer_window(layer) or len(IDS)
            for head in range(4):
                q, k = seen["q"][0, head], seen["k"][0, head * model.config.n_kv_head // 4]
                for i in range(len(IDS)):
                    reach = range(max(0, i - window + 1), i + 1)
                    scores = torch.stack([q[i] @ k[j] for j in reach]) / math.sqrt(q.size(-1))
                    wanted = torch.zeros(len(IDS))
                    wanted[reach.start : reach.stop] = scores.softmax(0)
                    torch.testing.assert_close(weights[head, i], wanted, atol=1e-5, rtol=1e-4)


def test_the_last_layer_of_the_lens_is_the_model_itself(model):
    seen = look(model, IDS, 0)
    layers = list(logit_lens(model, seen, 3))
    assert len(layers) == 4
    assert layers[-1].top == likeliest(seen.logits.softmax(-1), 3)
    assert layers[-1].final == [row[0][1] for row in layers[-1].top]
    assert layers[0].top != layers[-1].top
    first = model.head(model.transformer["ln_f"](seen.streams[1])).softmax(-1)
    answer = seen.logits.argmax(-1)
    assert layers[1].final == pytest.approx([float(first[i, answer[i]]) for i in range(len(IDS))])


def test_surprises_add_up_to_the_loss(model):
    nats = surprises(look(model, IDS, 0).logits, IDS)
    total, count = model(torch.tensor([IDS[:-1]]), torch.tensor([IDS[1:]]))
    assert nats[0] is None and count == len(IDS) - 1
    assert sum(nats[1:]) == pytest.approx(float(total), rel=1e-5)
    assert surprises(look(model, IDS[:1], 0).logits, IDS[:1]) == [None]


def test_pieces_are_text_or_bytes():
    tokenizer = byte_tokenizer()
    assert piece(tokenizer, ord("a")) == "a"
    assert piece(tokenizer, 0xE2) == "\\xE2"


# --- the endpoints -----------------------------------------------------------------------------------------


def client_of(served: Served) -> TestClient:
    app = FastAPI()
    handle_errors(app)
    app.include_router(inside_router(served))
    return TestClient(app)


def served_of(tokenizer, run=None, **more) -> Served:
    sizes = SIZES | {"vocab_size": tokenizer.vocab_size} | more
    return Served("tiny", GPT(GPTConfig(**sizes), seed=1).eval(), tokenizer, run, can_chat=False)


@pytest.fixture(scope="module")
def client():
    return client_of(served_of(byte_tokenizer()))


def test_what_is_served(client):
    told = client.get("/inside").json()
    assert told["layers"] == 3 and told["heads"] == 4 and told["max_tokens"] == 24 and told["can_chat"] is False


def test_inside_answers_all_questions_at_once(client):
    answer = client.post("/inside", json={"text": "héllo"}).json()
    ids = list("héllo".encode())
    assert answer["ids"] == ids and answer["text"] == "héllo" and answer["layer"] == 2
    assert answer["pieces"][str(ids[0])] == "h" and answer["pieces"][str(ids[1])] == "\\xC3"
    model = served_of(byte_tokenizer()).model
    shares = model(torch.tensor([ids]))[0].softmax(-1)
    assert [len(row) for row in answer["next"]] == [10] * 6
    for row, wanted in zip(answer["next"], shares, strict=True):
        assert [token for token, _ in row] == wanted.topk(10).indices.tolist()
        assert [p for _, p in row] == pytest.approx(wanted.topk(10).values.tolist(), abs=1e-4)
    assert len(answer["lens"]) == 4 and all(len(layer["top"]) == len(layer["final"]) == 6 for layer in answer["lens"])
    assert len(answer["attention"]) == 4
    for head in answer["attention"]:
        assert [len(row) for row in head] == [1, 2, 3, 4, 5, 6]
        assert [sum(row) for row in head] == pytest.approx([1] * 6, abs=0.01)
    other = client.post("/inside", json={"ids": ids, "layer": 0}).json()
    assert other["next"] == answer["next"] and other["attention"] != answer["attention"]


def test_a_text_begins_with_the_mark_where_there_is_one():
    tokenizer = trained_tokenizer([], "cl100k")
    answer = client_of(served_of(tokenizer)).post("/inside", json={"text": ""}).json()
    assert answer["ids"] == [tokenizer.bos] and answer["special"] and answer["text"] == ""
    assert answer["pieces"][str(tokenizer.bos)] == "<|bos|>"
    written = client_of(served_of(tokenizer)).post("/inside", json={"text": "<|bos|>"}).json()
    assert len(written["ids"]) == 8, "written by a person, it is seven characters"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"text": ""}, "no text"),
        ({"ids": []}, "no text"),
        ({"text": "x" * 25}, "25 tokens; 24 fit"),
        ({"text": "x" * 8001}, "text:"),
        ({"ids": [1] * 129}, "ids:"),
        ({"ids": [256]}, "no token 256"),
        ({"ids": [-1]}, "ids.0"),
        ({"ids": [10**30]}, "ids.0"),
        ({"ids": ["1"]}, "ids.0"),
        ({"text": "x", "layer": 3}, "no layer 3"),
        ({"text": "x", "layer": -1}, "layer:"),
        ({"text": "\ud800"}, "text: Input should be a valid string"),
        ({"text": "x", "more": 1}, "more:"),
        ([], "dict"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_words(client, asked, words):
    response = client.post("/inside", content=json.dumps(asked), headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert response.status_code == 400 and error["type"] == "invalid_request_error"
    assert words in error["message"], error


def test_characters_that_the_vocabulary_lacks_and_broken_weights_are_said():
    served = served_of(char_tokenizer("abc"))
    assert "'d'" in client_of(served).post("/inside", json={"text": "abcd"}).json()["error"]["message"]
    served.model.lm_head.weight[0, 0] = math.nan
    assert "not a number" in client_of(served).post("/inside", json={"text": "abc"}).json()["error"]["message"]


def test_those_who_wait_are_bounded(monkeypatch):
    served = served_of(byte_tokenizer())
    busy = inside._Queue(1)
    monkeypatch.setattr(inside, "_Queue", lambda places: busy)
    client = client_of(served)
    with busy.place():
        refused = client.post("/inside", json={"text": "x"})
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "1"
    assert client.post("/inside", json={"text": "x"}).status_code == 200


# --- the past of a run -------------------------------------------------------------------------------------


@pytest.fixture
def run(tiny, inkling):
    with torch.enable_grad():
        status, _, error = inkling("train", "tiny.toml", "--out_dir=run")
    assert status == 0, error
    return tiny / "run"


@pytest.fixture
def served(run):
    model, tokenizer = load(run)
    return Served("run", model, tokenizer, run, can_chat=False)


def test_learning(served, run):
    client = client_of(served)
    told = client.get("/learning").json()
    assert told["has_run"] and told["curve"]["step"] == list(range(1, 13)) and len(told["curve"]["loss"]) == 12
    assert [step for step, _ in told["curve"]["validation"]] == [5, 10, 12]
    assert told["steps"][0] == 1 and told["steps"][-1] == 12
    for step in (told["steps"][0], 12):
        asked = {"step": step, "prompt": "The ", "max_tokens": 12}
        answer = client.post("/learning/sample", json=asked).json()
        model, tokenizer = load(run / "checkpoints" / f"weights-{step:06d}")
        assert answer["text"] == generate(model, tokenizer, "The ", 12, temperature=0)
        drawn = [
            client.post("/learning/sample", json=asked | {"temperature": 1.5, "seed": s}).json() for s in (1, 1, 2)
        ]
        assert drawn[0] == drawn[1] != drawn[2]


def test_few_snapshots_stay_loaded(served, monkeypatch):
    past = history.History(served)
    question = history.Question("a", False, 1, 0.0, 1)
    steps = past.steps()
    assert len(steps) >= 4
    for step in steps:
        past.sample(step, question)
        assert len(past._loaded) <= history.KEEP and step in past._loaded
    monkeypatch.setattr(history, "KEEP_BYTES", 1)  # even one is more than that, and one is needed
    past.sample(steps[0], question)
    assert list(past._loaded) == [steps[0]]


def test_a_past_that_is_not_there_or_damaged_is_said(served, run):
    client = client_of(served)

    def problem(**asked) -> str:
        response = client.post("/learning/sample", json={"step": 1, "prompt": "a"} | asked)
        assert response.status_code == 400
        return response.json()["error"]["message"]

    assert "no snapshot of step 3333" in problem(step=3333)
    assert "never taught to chat" in problem(chat=True)
    assert "max_tokens" in problem(max_tokens=100_000)
    assert "temperature" in problem(temperature=-1)
    assert "prompt" in problem(prompt="")
    weights = run / "checkpoints" / "weights-000002" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "damaged" in problem(step=2)
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe")
    assert "metrics.jsonl" in client.get("/learning").json()["error"]["message"]
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2}\nnonsense', encoding="utf-8")
    assert client.get("/learning").json()["curve"] == {"step": [], "loss": [], "validation": []}


def test_a_snapshot_of_a_chat_model_answers_a_question(served, tmp_path):
    from inkling.train.checkpoint import save_snapshot

    tokenizer = trained_tokenizer([], "cl100k")
    config = replace(served.model.config, vocab_size=tokenizer.vocab_size, block_size=64)
    model = GPT(config, seed=1).eval()
    tokenizer.save(tmp_path / "tokenizer.json")
    save_snapshot(tmp_path, {"step": 1, "model": vars(config)}, dict(model.named_parameters()))
    client = client_of(Served("chat", model, tokenizer, tmp_path, can_chat=True))
    answer = client.post("/learning/sample", json={"step": 1, "prompt": "Hi", "chat": True, "max_tokens": 8})
    assert answer.status_code == 200 and isinstance(answer.json()["text"], str)


def test_published_weights_have_no_past(client):
    told = client.get("/learning").json()
    assert told["has_run"] is False and told["steps"] == [] and told["curve"]["step"] == []


def test_long_curves_are_thinned():
    import numpy as np

    kept = spread(np.arange(100_000))
    assert len(kept) <= history.MAX_POINTS and kept[:4] == [0, 1, 2, 3] and kept[-1] == 99_999
    assert spread(np.arange(7)) == list(range(7))
