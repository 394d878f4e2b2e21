"""Conversations from a file to a gradient: what is on disk, in a batch, and learned; and the verb that does it all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, flags
from inkling.data import encode, units, workers
from inkling.data.mixture import open_mixture
from inkling.data.packing import make_plan, rows_of_plan
from inkling.data.shards import check_dataset, open_dataset
from inkling.errors import UserError
from inkling.hub.load import find_weights
from inkling.ids import IGNORE
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.stages import prepare
from inkling.text.conversation import render
from inkling.text.tokenizer_sources import trained_tokenizer
from inkling.train.runfolder import read_resolved
from test_conversation import QUESTION, calls, result, says, system, user

TOKENIZER = trained_tokenizer([(ord("I"), ord("t")), (ord("i"), ord("s"))], "cl100k")

TALK = [
    QUESTION,
    [system("Be brief."), user("Who are you?"), says("A bot."), user("And who am I?"), says("You are you.")],
    [user("<|assistant_start|>hello"), says("")],
    [user("2+2 and 3+3?"), calls("", "2+2", "3+3"), result("4"), result("6"), says("4 and 6. 👍")],
    *([user(f"What is number {i}?"), says(f"It is {i}.")] for i in range(16)),
]


def write_talk(file: str = "talk.jsonl", talk=TALK) -> None:
    lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in talk]
    Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """A folder with the data set `talk`; the current folder."""
    monkeypatch.chdir(tmp_path)
    TOKENIZER.save("tokenizer.json")
    write_talk()
    return prepare.main("talk", prepare.PrepareSettings(input="talk.jsonl", tokenizer="tokenizer.json"))


def documents(dataset, split):
    """(ids, mask) of every document."""
    ids, starts, mask = (getattr(dataset, split + part) for part in ("", "_starts", "_mask"))
    stops = [*starts[1:].tolist(), len(ids)]
    return [(ids[a:b].tolist(), mask[a:b].astype(bool).tolist()) for a, b in zip(starts.tolist(), stops, strict=True)]


def test_on_disk_every_conversation_is_as_it_is_rendered(talk):
    check_dataset(talk)
    assert talk.meta.has_mask and talk.meta.separator == "bos_before"
    found = sorted(documents(talk, "train") + documents(talk, "val"))
    rendered = [render(messages, TOKENIZER) for messages in TALK]
    assert found == sorted((each.ids, each.mask) for each in rendered)
    assert len(documents(talk, "val")) == talk.meta.val.documents >= 1
    said = sum(len((m["content"] or "").encode()) for messages in TALK for m in messages)
    assert talk.meta.train.bytes + talk.meta.val.bytes == said


def test_any_number_of_processes_and_shards_gives_the_same_conversations(talk, monkeypatch):
    whole = [talk.train, talk.train_mask, talk.val, talk.val_mask]
    monkeypatch.setattr(units, "SMALLEST", 300)
    monkeypatch.setattr(encode, "GROUP", 100)
    monkeypatch.setattr(encode, "PART", 200)
    monkeypatch.setattr(workers, "WORTH_HELPERS", 0)
    many = prepare.main(
        "many", prepare.PrepareSettings(input="talk.jsonl", tokenizer="tokenizer.json", workers=2, shard_tokens=50)
    )
    check_dataset(many)
    assert len(many.meta.train.shards) > 3 and Path("data/many/train-00001.mask").exists()
    parts = [many.train, many.train_mask, many.val, many.val_mask]
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other[:])


def test_a_changed_mask_is_found(talk):
    file = Path("data/talk/train.mask")
    changed = bytearray(file.read_bytes())
    changed[0] ^= 1
    file.write_bytes(changed)
    with pytest.raises(UserError, match=r"train\.mask has changed"):
        check_dataset(talk)
    file.write_bytes(changed[:-1])
    with pytest.raises(UserError, match=r"train\.mask has the wrong size"):
        open_dataset("talk")


# --- batches ---------------------------------------------------------------------------------------------


def test_the_targets_are_what_the_assistant_says_and_nothing_else(talk):
    length = 64
    data = open_mixture("talk", answers_only=True).packed(length, "pad", document_mask=True, seed=1, keep=False)
    ids, targets, numbers = data.batch(length, 1, 0, len(data.plans[0]))
    learned = [token for row in targets.tolist() for token in row if token != IGNORE]
    kept = [(i[:length], m[: length + 1]) for i, m in documents(talk, "train")]
    full = [i for i, _ in documents(talk, "train")]
    expected = [
        t for i, (_, m) in zip(full, kept, strict=True) for t, is_learned in zip(i, m, strict=False) if is_learned
    ]
    assert sorted(learned) == sorted(expected)
    forced = TOKENIZER.special_tokens["<|output_start|>"]
    assert forced in ids and forced not in targets
    # What is learned at a place is the next token of the same conversation.
    places = (targets[:, :-1] != IGNORE) & (ids[:, 1:] != TOKENIZER.special_tokens["<|bos|>"]) & (numbers[:, 1:] >= 0)
    assert torch.equal(targets[:, :-1][places], ids[:, 1:][places])


def test_a_conversation_longer_than_the_context_ends_with_its_row_and_is_counted(talk):
    starts = np.array([0, 30, 40])
    plan = make_plan(starts, 45, 16, "pad", seed=0, truncate=True)
    assert plan.shares.truncated == 1 and plan.shares.cropped == 14
    assert sorted(zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True)) == [(0, 16), (30, 10), (40, 5)]
    assert "1 of them truncated" in plan.shares.describe(16)
    tokens, mask = np.arange(1, 46), np.ones(45, dtype=np.uint8)
    _, targets, _ = rows_of_plan(tokens, plan, 16, np.arange(len(plan)), mask=mask)
    row = next(row for row in targets.tolist() if row[0] == 2)
    assert row == list(range(2, 18)), "the last target is the token after the cut, which is still its own"


def test_rows_without_any_target_count_nothing_and_are_no_nan(talk):
    plan = make_plan(np.array([0, 8]), 16, 8, "pad", seed=0, truncate=True)
    ids, targets, documents_ = rows_of_plan(np.arange(16) % 7, plan, 8, np.arange(2), mask=np.zeros(16, dtype=np.uint8))
    assert (targets == IGNORE).all()
    model = GPT(GPTConfig(vocab_size=16, block_size=8, n_layer=1, n_head=1, n_embd=8), seed=1)
    nats, count = model(ids, targets, documents_)
    assert count == 0 and nats.item() == 0.0
    nats.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_all_tokens_are_targets_when_conversations_are_read_as_text(talk):
    data = open_mixture("talk", answers_only=False)
    ids, targets = data.batch(16, 1, 0, 4)
    assert torch.equal(ids[:, 1:], targets[:, :-1]) and (targets != IGNORE).all()


def test_validation_reads_the_same_tokens_whatever_the_batch_size(talk):
    data = open_mixture("talk", answers_only=True).packed(32, "pad", document_mask=False, seed=3, keep=False)
    sums = set()
    for rows in (1, 2, 5):
        batches = [make() for make in data.eval_batches(0, 32, 2**20, rows)]
        targets = torch.cat([targets.flatten() for _, targets in batches])
        sums.add((int((targets != IGNORE).sum()), int(targets[targets != IGNORE].sum())))
    assert len(sums) == 1 and sums.pop()[0] > 0


# --- the verb --------------------------------------------------------------------------------------------

QUICK = {key: value for key, value in TINY.items() if key not in ("n_layer", "n_head", "n_embd", "max_iters")}


@pytest.fixture
def base(talk, inkling):
    """A base run, and the data set `talk` beside it."""
    lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in TINY.items()]
    Path("tiny.toml").write_text("\n".join([*lines, 'optimizer = "muon"', "matrix_lr = 0.01"]).replace("'", '"'))
    Path("text.txt").write_text("Some text to read. " * 200, encoding="utf-8")
    prepare.main("text", prepare.PrepareSettings(input="text.txt", tokenizer="tokenizer.json"))
    status, _, err = inkling("train", "tiny.toml", "--dataset=text", "--block_size=48", "--out_dir=runs/base")
    assert status == 0, err
    return talk


def test_sft_keeps_what_the_base_was_trained_with_and_says_where_from(base, inkling):
    status, out, err = inkling("sft", "base", "--dataset=talk", "--epochs=3", "--grad_clip=0.5", "--eval_interval=5")
    assert status == 0, err
    values, origins = read_resolved(Path("runs/base-sft"))
    assert values["matrix_lr"] == 0.005 and "× 0.5" in origins["matrix_lr"]
    assert values["optimizer"] == "muon" and "base" in origins["optimizer"]
    assert values["block_size"] == 48 and values["n_embd"] == TINY["n_embd"]
    assert values["grad_clip"] == 0.5 and origins["grad_clip"] == "flag"
    assert values["packing"] == "pad" and origins["packing"] == "sft"
    assert origins["max_iters"].startswith("3 epochs of")
    parent = json.loads(Path("runs/base-sft/parent").read_text(encoding="utf-8"))
    assert parent["sha256"] == find_weights("base").sha256()
    assert "grad_clip" in out and "flag" in out
    rows = [json.loads(line) for line in Path("runs/base-sft/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["val_loss"] < rows[0]["loss"], "something was learned"


def test_sft_goes_on_to_the_same_weights(base, inkling):
    words = ["--dataset=talk", "--max_iters=9", "--eval_interval=3"]
    assert inkling("sft", "base", *words, "--out_dir=runs/whole")[0] == 0
    assert inkling("sft", "base", *words, "--out_dir=runs/halves", "--max_seconds=0.0001")[0] == 0
    assert inkling("sft", "--out_dir=runs/halves", "--resume", "--max_seconds=0")[0] == 0
    assert find_weights("runs/whole").step == find_weights("runs/halves").step
    one, two = (dict(find_weights(f"runs/{name}").tensors()) for name in ("whole", "halves"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_mixture_says_how_often_each_part_is_read(base, inkling):
    status, out, err = inkling("sft", "base", "--dataset=talk:0.75,text:0.25", "--epochs=1", "--out_dir=runs/both")
    assert status == 0, err
    assert "the mixture" in out and "75.0%" in out
    status, _, err = inkling("sft", "base", "--dataset=talk", "--loss_on=all", "--packing=stream", "--out_dir=runs/mid")
    assert status == 0, err


@pytest.mark.parametrize(
    ("words", "says_"),
    [
        ([], "sft takes the RUN"),
        (["base"], "Which data"),
        (["nothing", "--dataset=talk"], "There is no run"),
        (["base", "--dataset=talk", "--packing=stream"], "packed whole"),
        (["base", "--dataset=talk", "--packing=crop"], "packed whole"),
        (["base", "--dataset=talk", "--epochs=0"], "epochs=0 must be above 0"),
        (["base", "--dataset=talk", "--rate=-1"], "rate=-1 must be above 0"),
        (["base", "--dataset=talk", "--epoch=2"], "--epochs"),
    ],
)
def test_sft_speaks_to_the_person(base, inkling, words, says_):
    status, out, err = inkling("sft", *words)
    assert status in (1, 2) and says_ in err and "Traceback" not in out + err


def test_train_refuses_conversations_without_packing(base, inkling):
    status, _, err = inkling("train", "tiny.toml", "--dataset=talk", *flags(QUICK), "--out_dir=runs/no")
    assert status == 1 and "--loss_on=all" in err and not Path("runs/no").exists()


# --- preparing conversations: what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "says_"),
    [
        ([json.dumps({"messages": QUESTION})], "only one conversation"),
        ([json.dumps({"messages": QUESTION}), '{"messages": []}'], r"talk.jsonl:2: The conversation is empty"),
        ([json.dumps({"messages": QUESTION}), "{"], r"talk.jsonl:2: Not valid JSON"),
        ([json.dumps(QUESTION), '{"text": "x"}'], r"talk.jsonl:2: The messages are not a list"),
        (['{"messages": [{"role": "king", "content": "x"}]}', "[]"], r"talk.jsonl:1: Message 1 has the role 'king'"),
    ],
)
def test_what_is_no_conversation_is_refused(tmp_path, monkeypatch, lines, says_):
    monkeypatch.chdir(tmp_path)
    TOKENIZER.save("tokenizer.json")
    Path("talk.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=says_):
        prepare.main("talk", prepare.PrepareSettings(input="talk.jsonl", tokenizer="tokenizer.json"))
    assert not Path("data/talk/meta.json").exists()


def test_conversations_want_a_tokenizer_with_marks_and_no_company(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_talk()
    for name in ("byte", "char"):
        with pytest.raises(UserError, match="no marks for conversations"):
            prepare.main("talk", prepare.PrepareSettings(input="talk.jsonl", tokenizer=name))
    Path("mixed").mkdir()
    write_talk("mixed/talk.jsonl")
    Path("mixed/text.txt").write_text("text", encoding="utf-8")
    with pytest.raises(UserError, match="two data sets"):
        prepare.main("talk", prepare.PrepareSettings(input="mixed", tokenizer="byte"))


def test_the_tokens_of_a_conversation_are_shown_with_the_learned_ones_apart(talk, inkling):
    status, out, err = inkling("data", "show", "talk", "--documents=30")
    assert status == 0, err
    assert "what is learned stands in «»" in out
    shown = [line.replace("|", "") for line in out.splitlines() if "number" in line.replace("|", "")]
    assert shown and all(
        "<assistant_start>«It is " in line.replace("<|", "<").replace("|>", ">") or "«It" in line for line in shown
    )
    status, out, _ = inkling("data", "show", "talk", "--document=2000")
    assert status == 2
