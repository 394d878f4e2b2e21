"""The exercises: solutions pass, skeletons do not, usual mistakes are called by their names; and the verb `learn`."""

import re
import sys

import pytest

from inkling.learn import compare
from inkling.learn.checking import ask, checks_of
from inkling.learn.exercises import EXERCISES, find, skeleton, solution

NAMES = [exercise.name for exercise in EXERCISES]


@pytest.fixture
def outcomes(tmp_path, monkeypatch):
    """outcomes("loss", text) → what the checks say of that text as the person's file, in this process."""

    def of(name: str, text: str) -> list:
        file = tmp_path / f"{name}.py"
        file.write_text(text, encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", list(sys.path))
            patch.setattr(sys, "dont_write_bytecode", True)  # two texts of one length within a second look the same
            patch.delitem(sys.modules, name, raising=False)
            found = list(ask(find(name), file))
            sys.modules.pop(name, None)
        return found

    return of


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_and_the_skeleton_does_not(outcomes, name):
    found = outcomes(name, solution(find(name)))
    assert [outcome for outcome in found if outcome.state != "ok"] == []
    assert [outcome.says for outcome in found[1:]] == list(checks_of(find(name))) and len(found) > 6
    assert all(": " in outcome.says for outcome in found[1:])
    assert [outcome.state for outcome in outcomes(name, skeleton(find(name)))] == ["ok"] + ["open"] * (len(found) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_skeleton_keeps_what_is_said_and_loses_what_is_asked(name):
    text, full = skeleton(find(name)), solution(find(name))
    open_functions = re.findall(r'NotImplementedError\("(\w+) is yours to write"\)', text)
    assert len(open_functions) >= 3
    assert len(full.splitlines()) - len(text.splitlines()) >= 5
    for line in full.splitlines():
        if re.match(r"\s*(def|class|@|import|from)\b", line):
            assert line in text.splitlines()


MISTAKES = [
    ("tokenizer", "+= times", "+= 1", "as often as it occurs"),
    ("tokenizer", "i += 2", "i += 1", "go on behind it"),
    (
        "tokenizer",
        "key=lambda pair: (-counts[pair], pair)",
        "key=lambda pair: -counts[pair]",
        "the smallest comes first",
    ),
    ("tokenizer", "for chunk in split(text))", "for chunk in [text])", "border of two chunks"),
    ("tokenizer", "in enumerate(merges):", "in sorted(enumerate(merges), reverse=True):", "expected [97, 256]"),
    (
        "tokenizer",
        'return b"".join(tokens[i] for i in ids).decode("utf-8", errors="replace")',
        'return "".join(tokens[i].decode("utf-8", errors="replace") for i in ids)',
        "a character may lie across two",
    ),
    ("attention", ".tril()", ".tril(1)", "may not look at the next one"),
    ("attention", ".tril()", ".tril(-1)", "may look at itself"),
    ("attention", ".tril()", ".triu()", "hides the past"),
    ("attention", " / math.sqrt(q.size(-1))", "", "Divide the scores"),
    ("attention", "math.sqrt(q.size(-1))", "q.size(-1)", "not by D"),
    ("attention", "~causal_mask(q.size(2))", "torch.zeros(1, dtype=torch.bool)", "The mask is missing"),
    ("attention", 'float("-inf")', "0.0", "0 is a score like others"),
    ("attention", "scores.softmax(dim=-1) @ v", "scores.softmax(dim=-2).nan_to_num() @ v", "over the keys"),
    (
        "attention",
        "scores.softmax(dim=-1) @ v",
        "(scores.exp() / scores.exp().sum(-1, keepdim=True)) @ v",
        "overflowed",
    ),
    ("attention", "x.view(B, T, n_head, C // n_head).transpose(1, 2)", "x.view(B, n_head, T, C // n_head)", "mixes"),
    ("attention", "self.c_proj(join_heads(y))", "join_heads(y)", "c_proj"),
    ("block", ".square().mean(dim=-1, keepdim=True)", ".square().sum(-1, keepdim=True) / (x.size(-1) - 1)", "C − 1"),
    ("block", "(variance + 1e-5)", "variance", "add 1e-5"),
    ("block", "x / math.sqrt(2)", "x", "erf takes"),
    ("block", "self.c_proj(gelu(self.c_fc(x)))", "self.c_proj(self.c_fc(x))", "gelu is missing"),
    ("block", "x + self.attn(self.ln_1(x))", "self.attn(self.ln_1(x))", "around the attention is missing"),
    ("block", "return x + self.mlp(self.ln_2(x))", "return self.mlp(self.ln_2(x))", "around the MLP is missing"),
    (
        "block",
        "x = x + self.attn(self.ln_1(x))\n        return x + self.mlp(self.ln_2(x))",
        "x = self.ln_1(x + self.attn(x))\n        return self.ln_2(x + self.mlp(x))",
        "Post-norm",
    ),
    ("block", " + self.wpe(positions)", "", "position embeddings"),
    ("block", "self.ln_f(x) @", "x @", "ln_f, is missing"),
    ("loss", "shifted = logits - logits.max(dim=-1, keepdim=True).values", "shifted = logits", "exp(10,000)"),
    (
        "loss",
        "return shifted - shifted.exp().sum(dim=-1, keepdim=True).log()",
        "return logits.softmax(-1).log()",
        "rounds",
    ),
    ("loss", ".sum(), len(places)", ".mean(), len(places)", "This is the mean"),
    ("loss", ".sum(), len(places)", ".sum(), len(targets)", "holds the ignored ones"),
    ("loss", "(targets != IGNORE).nonzero().squeeze(1)", "torch.arange(len(targets))", "scored and counted"),
    (
        "loss",
        "nats / targets if targets else 0.0",
        "sum(p[0] / p[1] for p in parts if p[1]) / len(parts)",
        "mean of the means",
    ),
    ("loss", "said * counted.unsqueeze(1)", "said", "must be 0"),
    ("loss", "nats / math.log(2) / n_bytes", "nats / n_bytes", "nats per byte"),
    ("optimizer", ' / (1 - betas[0] ** state["t"])', "", "mean has no bias correction"),
    (
        "optimizer",
        "parameter.mul_(1 - lr * weight_decay)",
        "pass",
        "The decay is missing",
    ),
    (
        "optimizer",
        'state["mean"] = betas[0]',
        "gradient = gradient + weight_decay * parameter; parameter.div_(1 - lr * weight_decay)\n"
        '    state["mean"] = betas[0]',
        "Adam with L2",
    ),
    ("optimizer", "(square.sqrt() + eps)", "(square + eps).sqrt()", "outside the root"),
    ("optimizer", "parameter.sub_(lr * mean", "parameter = parameter - (lr * mean", "in place"),
    ("optimizer", "x = x / x.norm().clamp(min=1e-7)", "pass", "Divide by the norm"),
    ("optimizer", "return x.T if tall else x", "return x", "shape"),
    ("optimizer", " * max(1, parameter.size(0) / parameter.size(1)) ** 0.5", "", "√max(1, R / C) is missing"),
    (
        "optimizer",
        'orthogonalize(momentum * state["memory"] + (1 - momentum) * gradient)',
        'orthogonalize(state["memory"])',
        "Nesterov",
    ),
    ("loop", "both[:, :-1], both[:, 1:]", "both[:, :-1], both[:, :-1]", "learn to copy"),
    ("loop", "np.random.default_rng([seed, step]).integers", "np.random.randint", "remembers"),
    ("loop", "len(tokens) - block_size, size", "len(tokens) - block_size - 1, size", "Off by one"),
    ("loop", "(step + 1) / (warmup + 1)", "step / warmup", "would change nothing"),
    (
        "loop",
        "progress = min(1.0, (step - warmup) / max(1, max_iters - warmup))",
        "progress = (step - warmup) / max(1, max_iters - warmup)",
        "rises again",
    ),
    (
        "loop",
        "(nats / n_targets).backward()",
        "(nats / (targets != -1).sum() / len(batches)).backward()",
        "mean of means",
    ),
    ("loop", "(nats / n_targets).backward()", "nats.backward()", "was not divided"),
    ("loop", "    optimizer.zero_grad()\n", "", "old gradient"),
    (
        "loop",
        "        (nats / n_targets).backward()",
        "        optimizer.zero_grad(); (nats / n_targets).backward()",
        "last micro-batch",
    ),
    ("loop", "    optimizer.step()\n", "", "Nothing was updated"),
    (
        "loop",
        "range(0, len(tokens) - 1, block_size)",
        "range(0, len(tokens) - block_size, block_size)",
        "short last window",
    ),
    ("loop", "    model.eval()\n", "", "the loss of a model with dropout"),
    ("loop", "    model.train(was_training)\n", "", "Put back"),
    ("sampler", "topk(k).values[-1]", "topk(k + 1).values[-1]", "One too many"),
    ("sampler", "likelier >= p", "share.cumsum(dim=-1) > p", "always stays"),
    ("sampler", "likelier >= p", "likelier >= 0.6 * p", "crosses p"),
    ("sampler", "logits / temperature", "logits * temperature", "do not multiply"),
    (
        "sampler",
        "if temperature == 0:",
        "if temperature == 0 and generator.manual_seed(1) and torch.rand(1) < 0:",
        "at temperature 0",
    ),
    ("sampler", "[*ids, *new][-block_size:]", "[*ids, *new]", "grew beyond"),
    (
        "sampler",
        "        new.append(token)\n",
        "        new.append(token)\n        generator.manual_seed(seed)\n",
        "for every token",
    ),
    (
        "sampler",
        "        if token == stop:\n            break\n        new.append(token)\n",
        "        new.append(token)\n        if token == stop: break\n",
        "not part of the text",
    ),
]


@pytest.mark.parametrize(("name", "old", "new", "words"), MISTAKES)
def test_a_usual_mistake_is_called_by_its_name(outcomes, name, old, new, words):
    text = solution(find(name))
    assert old in text, "the mistake can be made in the solution of today"
    wrong = [outcome for outcome in outcomes(name, text.replace(old, new)) if outcome.state == "wrong"]
    said = "\n".join(f"{outcome.says}\n{outcome.problem}\n{outcome.reason}" for outcome in wrong)
    assert words in said


def test_whatever_a_file_does_becomes_a_sentence(outcomes):
    (only,) = outcomes("loss", "def log_softmax(logits:\n    return 1\n")
    assert only.state == "wrong" and only.problem.startswith("line 1 is not Python")
    (only,) = outcomes("loss", "import a_module_that_is_not_there\n")
    assert "No module named 'a_module_that_is_not_there'\nin line 1" in only.problem
    found = outcomes(
        "loss", "import sys\ndef log_softmax(logits):\n    sys.exit(3)\n\ndef mean_loss(parts):\n    return None\n"
    )
    assert "SystemExit: 3\nin line 3, log_softmax: sys.exit(3)" in found[1].problem
    assert "has no 'cross_entropy'" in found[3].problem and "Keep the names" in found[3].reason
    assert "is there a return?" in found[5].problem
    (only,) = outcomes("loss", "while True:\n    break\nraise KeyboardInterrupt\n")
    assert "KeyboardInterrupt" in only.problem


def test_differences_in_words():
    import torch

    one = torch.arange(6.0).view(2, 3)
    assert compare.difference(one, one + 1e-7) is None
    assert "shape (2, 3), got (3, 2)" in compare.difference(one.T, one)
    assert "torch.float32, got torch.int64" in compare.difference(one.long(), one)
    assert "expected a tensor (2, 3), got a float" in compare.difference(1.5, one)
    assert "expected [0, 1, 2, 3, 4, 5], got [0, 1, 2, 3, 4, nan]" in compare.difference(
        one.where(one < 5, torch.nan), one
    )
    far = torch.arange(20.0).view(4, 5)
    assert "1 of 20 numbers differ; at [3, 4] expected 19, got -19" in compare.difference(
        far.where(far < 19, -far), far
    )
    assert compare.difference([1, 2], (1, 2)) is None and compare.difference(torch.tensor(2.0), 2) is None
    assert compare.difference([1, 2, 3], [1, 2]) == "expected 2 in it, got 3: [1, 2, 3]"
    assert compare.difference(True, 1) == "expected a number, got a bool"
    assert compare.difference("a", "b") == "expected 'b', got 'a'"


# --- the verb ----------------------------------------------------------------------------------------------


def test_start_check_and_list(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = inkling("learn")
    assert status == 0 and "no exercises in exercises yet" in out
    status, out, _ = inkling("learn", "start")
    assert status == 0 and "inkling learn check 1" in out
    assert sorted(file.stem for file in (tmp_path / "exercises").iterdir()) == sorted(NAMES)
    assert inkling("learn")[1].count("not begun") == 7

    mine = tmp_path / "exercises" / "loss.py"
    mine.write_text(
        solution(find("loss")).replace("return nats / targets", "print('Ä')\n    return nats / targets"),
        encoding="utf-8",
    )
    status, out, _ = inkling("learn", "start")
    assert status == 0 and "left as they are" in out and "print('Ä')" in mine.read_text(encoding="utf-8")
    status, out, err = inkling("learn", "check", "4")
    assert status == 0 and "All 7 checks passed." in out and "Ä" in out, err
    assert "done" in inkling("learn")[1]
    mine.write_text(mine.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert "changed since it was right" in inkling("learn")[1]

    status, out, err = inkling("learn", "check", "tokenizer.py")
    assert status == 1 and "open   train: 60 merges" in out and "train is yours to write" in out
    assert "Not done yet: 1 tokenizer." in err and "Traceback" not in out + err


def test_a_loop_that_never_ends_and_a_process_that_dies(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inkling("learn", "start", "mine")
    (tmp_path / "mine" / "random.py").write_text("raise SystemExit\n", encoding="utf-8")  # must not stand in the way
    file = tmp_path / "mine" / "loss.py"
    text = solution(find("loss"))
    file.write_text(
        text.replace("    shifted = logits -", "    import os\n    os._exit(7)\n    shifted = logits -"),
        encoding="utf-8",
    )
    status, out, err = inkling("learn", "check", "loss", "--folder=mine")
    assert status == 1 and "status 7" in out and "wrong  log_softmax: equal" in out and "Traceback" not in out + err
    file.write_text("while True:\n    pass\n", encoding="utf-8")
    status, out, err = inkling("learn", "check", "loss", "--folder=mine", "--seconds=8")
    assert status == 1 and "Is there a loop that never ends?" in out and "Traceback" not in out + err


def test_hints_and_solutions(inkling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for exercise in EXERCISES:
        for i, hint in enumerate(exercise.hints, 1):
            status, out, _ = inkling("learn", "hint", exercise.name, str(i))
            assert status == 0 and hint in out
        assert inkling("learn", "show", str(exercise.number))[1] == solution(exercise)
    assert "1 of 5" in inkling("learn", "hint", "2")[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check", "8"), "There is no exercise '8'"),
        (("check", "1"), "There is no exercises"),
        (("hint", "1", "9"), "no hint '9'"),
        (("hint",), "does not take 0 words"),
        (("forget",), "does not know 'forget'"),
        (("check", "--seconds=0"), "must be above 0"),
        (("start", "a_file"), "is a file"),
    ],
)
def test_bad_words(inkling, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("", encoding="utf-8")
    status, _, err = inkling("learn", *words)
    assert status in (1, 2) and says in err and "Traceback" not in err
