"""The almanac as text to prepare and to learn a vocabulary from."""

import json

import numpy as np
import pytest

from inkling.data import units, workers
from inkling.data.almanac import conversation, prose
from inkling.data.shards import check_dataset
from inkling.errors import UserError
from inkling.stages import prepare, tokenizer
from inkling.stages.prepare import PrepareSettings
from inkling.text.conversation import render
from inkling.text.tokenizer_sources import trained_tokenizer


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained_tokenizer([(ord("t"), ord("h"))], "cl100k").save("tokenizer.json")


def every_document(dataset):
    found = []
    for split in ("train", "val"):
        ids, starts = getattr(dataset, split), getattr(dataset, f"{split}_starts").tolist()
        found += [tuple(ids[a:b].tolist()) for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
    return sorted(found)


def test_texts_and_conversations_are_those_of_the_almanac():
    made = prepare.main("almanac", PrepareSettings(documents=40, tokenizer="tokenizer.json", seed=5))
    own = made.tokenizer()
    assert every_document(made) == sorted((own.bos, *own.encode(prose(5, i))) for i in range(40))
    chat = prepare.main("almanac_chat", PrepareSettings(documents=40, tokenizer="tokenizer.json", seed=5))
    assert chat.meta.has_mask and "40 conversations of seed 5" in chat.meta.source
    assert every_document(chat) == sorted(tuple(render(conversation(5, i)["messages"], own).ids) for i in range(40))


def test_the_bytes_do_not_depend_on_the_number_of_processes(monkeypatch):
    settings = {"documents": 60, "tokenizer": "tokenizer.json"}
    one = prepare.main("almanac_chat", PrepareSettings(**settings, workers=1, data_dir="one"))
    monkeypatch.setattr(units, "SMALLEST", 2_000)
    monkeypatch.setattr(workers, "WORTH_HELPERS", 0)
    two = prepare.main("almanac_chat", PrepareSettings(**settings, workers=2, data_dir="two"))
    assert one.meta == two.meta
    check_dataset(two)
    assert np.array_equal(one.train_mask, two.train_mask)


def test_a_line_added_to_a_table_is_learned(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pets.txt").write_text("pet ; owner\nRexxo ; Adaline\nMimmo ; Bertold\n", encoding="utf-8")
    settings = PrepareSettings(documents=3_000, tokenizer="tokenizer.json", tables="mine")
    made = prepare.main("almanac_chat", settings)
    own = made.tokenizer()
    told = [own.decode(ids) for ids in every_document(made)]
    assert any("Rexxo" in text and "Adaline" in text for text in told)
    assert "2,441 facts" in made.meta.source


def test_a_vocabulary_is_learned_from_it(monkeypatch, capsys):
    monkeypatch.setattr(tokenizer, "ALMANAC_TEXTS", 60)
    learned = tokenizer.main("world", tokenizer.TokenizerSettings(input="almanac", vocab_size=300))
    assert learned.vocab_size == 300 and "bytes per token" in capsys.readouterr().out
    merged = json.loads(learned.to_json())["model"]["merges"]
    assert len(merged) == 300 - 256 - 9


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("almanac", {"input": "x.txt"}, "takes no --input"),
        ("almanac_chat", {}, "no marks for conversations"),
        ("almanac", {"documents": 1}, "--documents at least 2"),
        ("almanac", {"tables": "nowhere"}, "There is no folder nowhere"),
    ],
)
def test_what_cannot_be_made_is_said(name, settings, says):
    with pytest.raises(UserError, match=says):
        prepare.main(name, PrepareSettings(**settings))
