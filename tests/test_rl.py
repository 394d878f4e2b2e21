"""RL: the gradient against what it should be, groups, draws, tools, and the verb as a person runs it."""

import json
import math
from pathlib import Path

import pytest
import torch

from conftest import flags
from inkling.data.almanac import EXAM_KINDS, PRACTICE_KINDS, grade, practice
from inkling.data.almanac.lexicon import spelling_words
from inkling.data.batches import BatchPlan
from inkling.errors import UserError
from inkling.evals.rollouts import roll_out
from inkling.hub.load import find_weights
from inkling.ids import IGNORE
from inkling.keyed import seed_for
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.stages.trials import Trials, TrialSettings, plan_trials, sit_exam
from inkling.tasks import TASKS, find_task
from inkling.tasks.task import Practice, Question
from inkling.train.policy import Sample, advantages, has_gradient, policy_batch
from inkling.train.runfolder import read_resolved
from test_chat import make_talker
from test_conversation import TOKENIZER, says, user
from test_dialogue import MARKS, tokens
from test_evaluate import ManyByHeart
from test_tasks import write

ONE = Runtime("cpu", "float32", False, 1)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models as small as these wait longer for a second thread than it helps them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_model(vocab_size=7, dtype=torch.float64, block_size=32):
    config = GPTConfig(vocab_size=vocab_size, n_layer=1, n_head=2, n_embd=16, block_size=block_size)
    model = GPT(config, seed=3)
    model.compute_dtype = dtype
    return model.to(dtype)


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


# --- the loss --------------------------------------------------------------------------------------------


def test_a_weight_of_one_is_the_plain_loss():
    model = small_model(dtype=torch.float32)
    ids = torch.randint(7, (3, 9), generator=torch.Generator().manual_seed(1))
    targets = ids.roll(-1, 1)
    targets[0, 4:] = IGNORE
    plain, count = model(ids, targets)
    weighted, same_count = model(ids, targets, None, torch.ones(3, 9))
    assert torch.equal(count, same_count) and plain.item() == pytest.approx(weighted.item(), rel=1e-6)
    halved, _ = model(ids, targets, None, torch.full((3, 9), 0.5))
    assert halved.item() == pytest.approx(plain.item() / 2, rel=1e-6)


SAMPLES = [
    Sample([1, 2], [3, 4, 5], [True, True, True]),
    Sample([1, 2], [6], [True]),
    Sample([4, 4, 4], [1, 0, 2, 3], [True, False, False, True]),
]


def test_the_gradient_is_advantage_times_that_of_the_log_probability():
    weights = [0.75, -0.25, -0.5]
    model = small_model()
    nats, count = model(*policy_batch(SAMPLES, weights))
    assert int(count) == 3 + 1 + 2
    (nats / count).backward()
    found = gradients(model)
    model.zero_grad()

    objective = torch.zeros((), dtype=torch.float64)
    for sample, weight in zip(SAMPLES, weights, strict=True):  # one answer after the other, without any padding
        text = torch.tensor([[*sample.prompt, *sample.new]])
        logprobs = model(text)[0].log_softmax(-1)
        for i, (token, drawn) in enumerate(zip(sample.new, sample.drawn, strict=True)):
            if drawn:
                objective = objective + weight * logprobs[len(sample.prompt) - 1 + i, token]
    (objective / 6).backward()
    for name, expected in gradients(model).items():
        torch.testing.assert_close(found[name], -expected, rtol=1e-9, atol=1e-12)


def test_over_all_answers_it_is_the_slope_of_the_expected_reward():
    """Answers of one token, each weighted by its probability: then the estimate is no estimate, but the gradient."""
    model, prompt = small_model(), [1, 2, 3]
    rewards = torch.tensor([0, 1, 0, 0, 1, 1, 0], dtype=torch.float64)

    def probabilities():
        return model(torch.tensor([prompt]))[0, -1].softmax(-1)

    with torch.no_grad():
        p = probabilities()
        weights = p * (rewards - rewards.mean())  # any baseline that the answer has no say in leaves the gradient
    samples = [Sample(prompt, [token], [True]) for token in range(7)]
    nats, _ = model(*policy_batch(samples, weights.tolist()))
    nats.backward()
    parameter = model.blocks[0].mlp.c_fc.weight
    place = parameter.grad.abs().flatten().argmax().item()
    slopes = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            parameter.view(-1)[place] += step
            slopes.append((probabilities() @ rewards).item())
            parameter.view(-1)[place] -= step
    slope = (slopes[0] - slopes[1]) / 2e-5
    assert -parameter.grad.flatten()[place].item() == pytest.approx(slope, rel=1e-4)


def test_only_what_was_drawn_is_a_target():
    ids, targets, documents, weights = policy_batch(SAMPLES, [1.0, 2.0, 3.0])
    assert ids.tolist()[0] == [1, 2, 3, 4, 0, 0]
    assert targets.tolist() == [
        [IGNORE, 3, 4, 5, IGNORE, IGNORE],
        [IGNORE, 6, IGNORE, IGNORE, IGNORE, IGNORE],
        [IGNORE, IGNORE, 1, IGNORE, IGNORE, 3],
    ]
    assert weights[:, 0].tolist() == [1.0, 2.0, 3.0] and (documents == 0).all()


def test_a_batch_of_nothing_counts_nothing_and_is_no_nan():
    model = small_model(dtype=torch.float32)
    nats, count = model(*policy_batch([], []))
    nats.backward()
    assert count == 0 and nats.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_advantages():
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    found = advantages(rewards)
    assert found.tolist() == [[0.75, -0.25, -0.25, -0.25], [0] * 4, [0] * 4, [0.5, 0.5, -0.5, -0.5]]
    assert has_gradient(rewards).tolist() == [True, False, False, True]
    divided = advantages(rewards, divide_by_std=True)
    assert divided[1:3].abs().max() == 0
    assert divided[[0, 3]].pow(2).mean(dim=1).tolist() == pytest.approx([1, 1])
    assert divided[0, 0].item() == pytest.approx(math.sqrt(3))


# --- answers drawn ---------------------------------------------------------------------------------------


def test_what_a_tool_said_is_no_choice_of_the_models():
    model = ManyByHeart({"sum": "See: [ps]12*3[pe][os]36[oe] so 36.[ae]", "hi": "hello[ae]"})
    (sums, greeting) = roll_out(model, TOKENIZER, [[user("sum")], [user("hi")]], [[1, 2], [3]], 40)
    for rollout in sums:
        assert rollout.text == "See:  so 36." and rollout.new == tokens("See: [ps]12*3[pe][os]36[oe] so 36.[ae]")
        put_there = [token for token, drawn in zip(rollout.new, rollout.drawn, strict=True) if not drawn]
        assert put_there == tokens("[os]36[oe]")
    assert all(greeting[0].drawn) and greeting[0].text == "hello"
    _, targets, *_ = policy_batch([sums[0].sample], [1.0])
    assert MARKS["<|output_start|>"] not in targets and MARKS["<|python_end|>"] in targets
    # An answer that is cut in the middle of what the tool says.
    ((cut,),) = roll_out(model, TOKENIZER, [[user("sum")]], [[1]], len(tokens("See: [ps]12*3[pe][os]3")))
    assert cut.drawn[-2:] == [False, False] and sum(cut.drawn) == len(cut.new) - 2


def test_answers_are_drawn_apart_from_the_first_token_on():
    model = small_model(265, torch.float32, block_size=64)
    first = roll_out(model, TOKENIZER, [[user("hi")], [user("what")]], [range(8), range(8, 16)], 6)
    assert len({rollout.new[0] for rollout in first[0]}) > 4, "eight draws from 265 tokens"
    assert first[0][0].new != first[1][0].new
    again = roll_out(model, TOKENIZER, [[user("hi")], [user("what")]], [range(8), range(8, 16)], 6)
    assert [[r.new for r in group] for group in first] == [[r.new for r in group] for group in again]
    ((alone,),) = roll_out(model, TOKENIZER, [[user("what")]], [[10]], 6)
    assert alone.new == first[1][2].new, "neighbours have no say"


def test_a_question_that_does_not_fit_gets_no_answers():
    model = small_model(265, torch.float32, block_size=32)
    groups = roll_out(model, TOKENIZER, [[user("hi")], [user("x" * 100)]], [[1, 2], [3, 4]], 6)
    assert [len(group) for group in groups] == [2, 0]


# --- a step ----------------------------------------------------------------------------------------------


class Letters:
    """Right is what begins with a letter: one answer in five of a model that knows nothing."""

    name, practised = "letters", ("low", "high")

    def __init__(self, right=lambda reply: reply[:1].isascii() and reply[:1].isalpha(), text="Number {}?"):
        self.right, self.text = right, text

    def conversations(self, seed):
        return iter([[user("Say a."), says("a")]])

    def questions(self, seed, count):
        return [Question(kind, [user(f"Exam {i}?")], ("a",)) for kind in ("low", "high", "other") for i in range(count)]

    def practice(self, kind, seed, index):
        return Question(kind, [user(self.text.format(index))], ("a",))

    def grade(self, question, reply):
        return self.right(reply)


def trials(task, model=None, **changes):
    settings = TrialSettings(questions=4, samples=4, max_new_tokens=5, rows_at_once=8, **changes)
    model = model or small_model(265, torch.float32, block_size=64)
    return Trials(model, TOKENIZER, task, ("low", "high"), settings, plan_trials(settings, 64, ONE), ONE, seed=5)


def batches(found, step):
    plan = found.plan
    return [found.micro_batch(plan.first_row(step, m)) for m in range(plan.micro_steps)]


def test_a_batch_is_a_function_of_step_and_weights():
    one, other = trials(Letters()), trials(Letters())
    second = batches(one, 1)
    batches(other, 0)
    for expected, found in zip(second, batches(other, 1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert not torch.equal(batches(one, 2)[0][0], second[0][0])
    with torch.no_grad():
        one.model.lm_head.weight.mul_(-1)
    one.step = -1
    assert not torch.equal(batches(one, 1)[0][0], second[0][0])
    kinds = [one.task.practice(one.kinds[n % 2], 5, n).kind for n in one.questions(3)]
    assert list(one.questions(3)) == [12, 13, 14, 15] and kinds == ["low", "high"] * 2


def test_ranks_share_the_questions():
    settings = TrialSettings(questions=6, samples=5, rows_at_once=4)
    for rank in (0, 1):
        runtime = Runtime("cpu", "float32", False, 1, rank=rank, world_size=2)
        plan = plan_trials(settings, 64, runtime)
        assert plan.rows_per_step == 30 and plan.batch_size <= 4
        found = Trials(None, TOKENIZER, Letters(), ("low",), settings, plan, runtime, 1)
        assert list(found.questions(2)) == [[12, 13, 14], [15, 16, 17]][rank]


def test_leaving_out_groups_that_agree_changes_nothing_but_the_time():
    """The mean over all drawn tokens, those of dropped groups included, by hand."""
    found = trials(Letters(), small_model(265, torch.float32, block_size=64))
    made = batches(found, 0)
    facts = found.facts(0)
    assert 0 < facts["kept"] < 4 and facts["kept"] + facts["dropped"] == 4
    nats = sum(found.model(*batch)[0] for batch in made)
    (nats / sum((targets != IGNORE).sum() for _, targets, *_ in made)).backward()
    got = gradients(found.model)
    found.model.zero_grad()

    asked = [found.task.practice("low", 5, n) for n in range(4)]
    seeds = [[seed_for("rl", 5, n, s) for s in range(4)] for n in range(4)]
    groups = roll_out(found.model, TOKENIZER, [q.messages for q in asked], seeds, 5)
    rewards = torch.tensor([[float(found.task.right(r.text)) for r in group] for group in groups])
    assert facts["reward"] == pytest.approx(rewards.mean().item())
    assert facts["length"] == pytest.approx(sum(len(r.new) for g in groups for r in g) / 16)
    weights = advantages(rewards).flatten().tolist()
    nats, count = found.model(*policy_batch([r.sample for group in groups for r in group], weights))
    (nats / count).backward()
    for name, expected in gradients(found.model).items():
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("right", "reward"), [(lambda reply: True, 1.0), (lambda reply: False, 0.0)])
def test_groups_that_agree_give_no_batch(right, reward):
    found = trials(Letters(right))
    made = batches(found, 0)
    assert found.facts(0)["reward"] == reward and found.facts(0)["dropped"] == 4 and found.facts(0)["kept"] == 0
    assert len(made) == 2 and all((targets == IGNORE).all() for _, targets, *_ in made)


def test_no_answers_at_all():
    found = trials(Letters(text="x" * 200))
    made = batches(found, 0)
    facts = found.facts(0)
    assert (facts["reward"], facts["dropped"], facts["length"], facts["sampled_tokens"]) == (0, 4, 0, 0)
    assert all((targets == IGNORE).all() for _, targets, *_ in made)
    long = [Question("low", [user("x" * 200)], ("a",))]
    exam = sit_exam(found.model, TOKENIZER, found.task, long, found.settings, 1, ONE)
    assert exam == {"pass@1": 0, "pass@4": 0}


def test_the_exam_counts_answers_and_questions():
    found = trials(Letters())
    questions = found.task.questions(1, 10)
    exam = sit_exam(found.model, TOKENIZER, found.task, questions, found.settings, 1, ONE)
    assert 0.05 < exam["pass@1"] < 0.4 < exam["pass@4"] < 0.95
    assert exam == sit_exam(found.model, TOKENIZER, found.task, questions, found.settings, 1, ONE)


# --- what is practised -----------------------------------------------------------------------------------


def test_the_almanac_practises_what_its_exam_does_not_ask():
    task = find_task("almanac")
    assert isinstance(task, Practice) and set(task.practised) == set(PRACTICE_KINDS) < set(EXAM_KINDS)
    asked = {question.messages[-1]["content"] for question in task.questions(1337, 100)}
    for kind in task.practised:
        items = [task.practice(kind, 1337, index) for index in range(100)]
        assert items == [task.practice(kind, 1337, index) for index in range(100)]
        assert items != [task.practice(kind, 1338, index) for index in range(100)]
        assert not asked & {item.messages[-1]["content"] for item in items}
        assert all(item.kind == kind and item.messages[-1]["role"] == "user" for item in items)
    spelled = [practice("spelling", 1, index) for index in range(200)]
    assert not {item.expected[0] for item in spelled} & set(spelling_words(held=True))
    assert all(grade("spelling", "-".join(item.expected[0]), item.expected) for item in spelled)
    sums = [practice("arithmetic", 1, index).expected[0] for index in range(50)]
    assert all(grade("arithmetic", f"The answer is {number}.", (number,)) for number in sums)
    with pytest.raises(UserError, match="no practice in 'follow_up'"):
        practice("follow_up", 1, 0)


def test_a_file_is_practised_through_and_through(tmp_path):
    task = write(tmp_path / "mine.jsonl", *([user(f"What is {i}?"), says(f"It is {i}.")] for i in range(7)))
    assert task.practised == ("mine",)
    times = [[task.practice("mine", 1, 7 * time + i).expected for i in range(7)] for time in range(3)]
    assert all(sorted(time) == sorted((f"It is {i}.",) for i in range(7)) for time in times)
    assert times[0] != times[1]


# --- the verb --------------------------------------------------------------------------------------------

QUICK = {
    "task": "letters",
    "questions": 4,
    "samples": 4,
    "max_new_tokens": 4,
    "exam_questions": 4,
    "rows_at_once": 8,
    "eval_interval": 3,
    "rate": 1,
    "device": "cpu",
    "threads": 1,
    "dtype": "float32",
}


@pytest.fixture
def talker(tiny, inkling, monkeypatch):
    """The run `talker`, of one step, and the task `letters`."""
    make_talker(inkling)
    monkeypatch.setitem(TASKS, "letters", lambda settings: Letters())
    return tiny


def metrics(run):
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_practice_makes_better(talker, inkling):
    learning = flags(QUICK | {"max_iters": 24, "eval_interval": 12, "questions": 8, "samples": 8, "rows_at_once": 64})
    status, out, err = inkling("rl", "talker", *learning, "--learning_rate=0.01", "--kinds=low")
    assert status == 0, err
    rows = metrics("runs/talker-rl")
    exams = [row["pass@1"] for row in rows if "pass@1" in row]
    assert [row["step"] for row in rows if "pass@8" in row] == [0, 12, 24]
    assert exams[0] < 0.4 and exams[-1] > exams[0] + 0.3
    for key in ("reward", "length", "kept", "dropped", "sampled_tokens", "tokens_per_second", "grad_norm", "lr"):
        assert all(key in row for row in rows[1:]), key
    assert all(row["kept"] + row["dropped"] == 8 for row in rows[1:])
    assert "practising talker" in out and "the exam asks 4 other questions" in out and "step 24: pass@1" in out
    parent = json.loads(Path("runs/talker-rl/parent").read_text(encoding="utf-8"))
    assert parent["sha256"] == find_weights("talker").sha256() and find_weights("talker-rl").step == 24
    values, origins = read_resolved(Path("runs/talker-rl"))
    assert values["n_embd"] == 32 and values["samples"] == 8 and origins["samples"] == "flag"
    assert values["dropout"] == 0, "what is trained is what has answered"


def test_it_is_a_run_like_others(talker, inkling):
    assert inkling("rl", "talker", *flags(QUICK | {"max_iters": 2}), "--snapshots=2")[0] == 0
    on_cpu = flags({"device": "cpu", "threads": 1, "dtype": "float32"})
    for words in [
        ["evaluate", "talker-rl", "--tasks=letters", "--max_new_tokens=4", *on_cpu],
        ["chat", "talker-rl", "--prompt=hi", "--max_new_tokens=4", *on_cpu],
        ["sample", "talker-rl", "--start=hi", "--num_samples=1", "--max_new_tokens=4", *on_cpu],
        ["plot", "talker-rl", "--out=rl.svg"],
        ["rl", "talker-rl", *flags(QUICK | {"max_iters": 1}), "--out_dir=runs/more"],
    ]:
        status, _, err = inkling(*words)
        assert status == 0, (words, err)
    picture = Path("rl.svg").read_text(encoding="utf-8")
    assert "reward, and pass@1" in picture and "nats per token" not in picture
    status, _, err = inkling("train", "--out_dir=runs/talker-rl", "--resume")
    assert status == 1 and "inkling rl --out_dir=runs/talker-rl --resume" in err


def test_it_goes_on_to_the_same_weights(talker, inkling):
    words = flags(QUICK | {"max_iters": 5})
    assert inkling("rl", "talker", *words, "--out_dir=runs/whole")[0] == 0
    assert inkling("rl", "talker", *words, "--out_dir=runs/halves", "--max_iters=3")[0] == 0
    assert find_weights("runs/halves").step == 3
    assert inkling("rl", "--out_dir=runs/halves", "--resume", "--max_iters=5")[0] == 0
    one, two = (dict(find_weights(f"runs/{name}").tensors()) for name in ("whole", "halves"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    same = ("step", "reward", "loss", "length", "kept", "tokens", "grad_norm")
    one, two = ([{key: row.get(key) for key in same} for row in metrics(f"runs/{n}")] for n in ("whole", "halves"))
    assert one == two and [row["step"] for row in one] == [0, 1, 2, 3, 4, 5]
    status, out, _ = inkling("rl", "--out_dir=runs/halves", "--resume")
    assert status == 0 and "already done its 5 steps" in out


def test_a_run_that_has_saved_nothing_begins_again(talker, inkling):
    assert inkling("rl", "talker", *flags(QUICK | {"max_iters": 1}))[0] == 0
    for file in Path("runs/talker-rl/checkpoints").rglob("*"):
        file.unlink() if file.is_file() else None
    for folder in sorted(Path("runs/talker-rl/checkpoints").iterdir()):
        folder.rmdir()
    status, out, err = inkling("rl", "--out_dir=runs/talker-rl", "--resume")
    assert status == 0 and "no checkpoint yet" in out, err
    assert [row["step"] for row in metrics("runs/talker-rl")] == [0, 1]


class OnlyExam:
    """A task that asks and grades, and has nothing to practise on."""

    name = "only"

    def conversations(self, seed):
        return iter([])

    def questions(self, seed, count):
        return [Question("word", [user("Say a.")], ("a",))]

    def grade(self, question, reply):
        return "a" in reply


def test_what_the_verb_refuses(talker, inkling, monkeypatch):
    monkeypatch.setitem(TASKS, "only", lambda settings: OnlyExam())
    write(talker / "mine.jsonl", [user("What is 1?"), says("It is 1.")])
    assert inkling("train", "tiny.toml", "--out_dir=runs/writer", "--max_iters=1")[0] == 0
    quick = flags({"device": "cpu", "threads": 1})
    for words, says_ in [
        (["writer"], "writer cannot be asked: its tokenizer has no marks"),
        (["writer"], "inkling sft"),
        (["none"], "There is no run 'none'"),
        ([], "rl takes the RUN"),
        (["talker", "--task=almanack"], "Did you mean almanac?"),
        (["talker", "--task=only"], "no questions to practise on"),
        (["talker", "--task=mine.jsonl"], "--exam=HELD.jsonl"),
        (["talker", "--kinds=spelling,king"], "no practice in 'king'"),
        (["talker", "--samples=1"], "samples=1 must be at least 2"),
        (["talker", "--questions=0"], "questions=0"),
        (["talker", "--max_iters=0"], "max_iters=0"),
        (["talker", "--rate=0"], "rate=0 must be above 0"),
        (["talker", "--learning_rate=-1"], "cannot be negative"),
        (["talker", "--out_dir=runs/writer"], "exists already"),
        (["--resume"], "Which run shall go on?"),
        (["--resume", "--out_dir=runs/writer"], "does not practise by trial"),
    ]:
        status, out, err = inkling("rl", *words, *quick)
        assert status in (1, 2), words
        assert says_ in err and "Traceback" not in out + err, (words, err)
    assert not Path("runs/talker-rl").exists()
    assert inkling("rl", "talker", *flags(QUICK | {"max_iters": 1}))[0] == 0
    status, _, err = inkling("rl", "--out_dir=runs/talker-rl", "--resume", "--samples=5", "--max_iters=2")
    assert status == 2 and "--samples cannot change from 4 to 5" in err
    with pytest.raises(UserError, match="cannot be shared by 3"):
        plan_trials(TrialSettings(questions=16), 64, Runtime("cpu", "float32", False, 1, world_size=3))
    assert isinstance(plan_trials(TrialSettings(), 64, ONE), BatchPlan)
