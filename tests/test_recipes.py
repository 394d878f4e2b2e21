"""Recipes: every one trains when shrunk and says what it costs; nanoGPT's config files are read and never run."""

import json
import math
import operator
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conftest import ROOT, flags
from inkling.errors import UserError
from inkling.model.config import GPTConfig
from inkling.model.cost import flops_per_token, parameters_by_part
from inkling.recipes import load_recipe, recipe_names
from inkling.recipes.nanogpt import read_nanogpt
from inkling.settings import flatten
from inkling.stages.train_settings import TrainSettings, compose

RECIPES = ROOT / "src" / "inkling" / "recipes"
# the rest are in GPT-2's tokens
VOCABULARY = {"bundled": 256, "shakespeare_char": 65, "almanac:0.6,almanac_chat:0.4": 512}
RELEASED = {  # the four sizes of GPT-2, to count the parameters of recipes that begin from them
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}


def settings_of(name: str, **given: str) -> TrainSettings:
    return compose([name], given)[0]


# --- the recipes that ship ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_when_shrunk(tiny, inkling, name):
    """Sizes, steps and the parent shrink; every other key stays as the recipe has it."""
    full = settings_of(name)
    assert full.data.dataset
    small = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "batch_size": 2, "max_iters": 3}
    small |= {"dataset": "tiny", "eval_interval": 2, "eval_iters": 1, "eval_tokens": 64, "log_interval": 1}
    small |= {"init_from": "scratch", "lora_rank": 0, "eval_only": False}
    small |= {"device": "cpu", "compile": False, "threads": 1}
    small["warmup_iters"] = min(1, full.schedule.warmup_iters)
    if full.model.n_kv_head is not None:
        small["n_kv_head"] = 1
    if full.data.gradient_accumulation_steps is not None:
        small["gradient_accumulation_steps"] = min(2, full.data.gradient_accumulation_steps)
    if full.data.tokens_per_step is not None:
        small["tokens_per_step"] = 2 * 2 * 8
    if full.schedule.lr_decay_iters is not None:
        small["lr_decay_iters"] = 3
    status, _, err = inkling("train", name, f"--out_dir=runs/{name}", *flags(small))
    assert status == 0, err
    rows = [json.loads(line) for line in Path(f"runs/{name}/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(row["loss"]) for row in rows) and math.isfinite(rows[-1]["val_loss"])


def header(name: str) -> str:
    """The comment that a recipe begins with, as one line."""
    lines = (RECIPES / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment)


@pytest.mark.parametrize("name", recipe_names())
def test_every_header_says_what_was_seen(name):
    assert "Not run here" in header(name) or re.search(r"Seen .*\d\.\d+", header(name))


@pytest.mark.parametrize("name", recipe_names())
def test_every_number_in_a_header_is_the_recipes(name):
    """Parameters, steps, tokens and FLOPs are computed again."""
    settings, text = settings_of(name), header(name)
    config = replace(settings.model, vocab_size=VOCABULARY.get(settings.data.dataset, 50257))
    if settings.run.init_from != "scratch":
        config = GPTConfig("gpt2", vocab_size=50257, **RELEASED[settings.run.init_from])
    assert f"{sum(parameters_by_part(config).values()):,} parameters" in text
    if settings.loop.eval_only:
        return
    accumulation = settings.data.gradient_accumulation_steps or 1
    step = settings.data.tokens_per_step or settings.data.batch_size * accumulation * config.block_size
    assert f"{settings.loop.max_iters:,} steps of {step:,} tokens" in text
    assert f"{settings.loop.max_iters * step:,} tokens in all" in text
    for flops in re.findall(r"([\d,.]+) MFLOP a token", text):
        assert flops == f"{flops_per_token(config) / 1e6:,.1f}"


def test_names_that_nanogpt_uses():
    ours = {"train_shakespeare_char": "shakespeare_char", "train_gpt2": "gpt2_124m"}
    for same in ("finetune_shakespeare", "eval_gpt2", "eval_gpt2_medium", "eval_gpt2_large", "eval_gpt2_xl"):
        ours[same] = same
    for theirs, name in ours.items():
        assert load_recipe(theirs) == load_recipe(name)
        assert load_recipe(theirs)[0] == name
    assert load_recipe("train_demo")[0] == "demo"


def test_a_missing_file_of_nanogpts_leads_to_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no recipe file config/train_gpt2\.py") as caught:
        load_recipe("config/train_gpt2.py")
    assert caught.value.remedy.endswith("give the name alone: train_gpt2")
    with pytest.raises(UserError, match=r"no recipe file config/mine\.py") as caught:
        load_recipe("config/mine.py")
    assert "gpt2_124m" in caught.value.remedy
    for name in ("config/train_gpt2", "gpt2", "train_"):
        with pytest.raises(UserError, match="There is no recipe"):
            load_recipe(name)


# --- nanoGPT's files ---------------------------------------------------------------------------------------

SHAKESPEARE_CHAR = '''
"""A small model that writes one character after the other."""
out_dir = 'out-shakespeare-char'
eval_interval = 250 # often, since it learns by heart
eval_iters = 200
log_interval = 10 # not too chatty

always_save_checkpoint = False

wandb_log = False # flags may switch it on
wandb_project = 'shakespeare-char'
wandb_run_name = 'mini-gpt'

dataset = 'shakespeare_char'
gradient_accumulation_steps = 1
batch_size = 64
block_size = 256 # characters

n_layer = 6
n_head = 6
n_embd = 384
dropout = 0.2

learning_rate = 1e-3
max_iters = 5000
lr_decay_iters = 5000
min_lr = 1e-4
beta2 = 0.99

warmup_iters = 100

# device = 'cpu'
# compile = False
'''

GPT2 = """
# torchrun --standalone --nproc_per_node=8 train.py config/train_gpt2.py
wandb_log = True
wandb_project = 'owt'
wandb_run_name='gpt2-124M'

# 12 rows of 1024 tokens, 5 micro-batches on each of 8 GPUs
batch_size = 12
block_size = 1024
gradient_accumulation_steps = 5 * 8

max_iters = 600000
lr_decay_iters = 600000

eval_interval = 1000
eval_iters = 200
log_interval = 10

weight_decay = 1e-1
"""

FINETUNE = """
import time

out_dir = 'out-shakespeare'
eval_interval = 5
eval_iters = 40
wandb_log = False
wandb_project = 'shakespeare'
wandb_run_name = 'ft-' + str(time.time())

dataset = 'shakespeare'
init_from = 'gpt2-xl'

always_save_checkpoint = False

batch_size = 1
gradient_accumulation_steps = 32
max_iters = 20

learning_rate = 3e-5
decay_lr = False
"""

EVALUATE = """
batch_size = 8
eval_iters = 500
eval_only = True
wandb_log = False
init_from = '{}'
"""

CPU = """
from os import path
device = 'cpu'
compile = False
backend = 'gloo'
dtype = 'float32'
batch_size = (8 * 1024) // 512 - 4
gradient_accumulation_steps = 5 * 8
learning_rate = 1e-4 * 2
max_iters = 2000
lr_decay_iters = max_iters
min_lr = learning_rate / 10
weight_decay = -(-1e-1)
n_head = 4
n_embd = 32 * n_head
"""

WHOLE = {  # what nanoGPT does where its files say nothing
    "dataset": "openwebtext",
    "init_from": "scratch",
    "preset": "gpt2",
    "mlp": "gelu",
    "bias": False,
    "position": "learned",
    "tie_weights": True,
    "optimizer": "adamw",
    "schedule": "cosine",
    "decay_lr": True,
    "gradient_accumulation_steps": 40,
    "tokens_per_step": None,
    "batch_size": 12,
    "block_size": 1024,
    "pad_vocab_to": 64,
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "dropout": 0.0,
    "learning_rate": 6e-4,
    "min_lr": 6e-5,
    "max_iters": 600000,
    "lr_decay_iters": 600000,
    "warmup_iters": 2000,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "grad_clip": 1.0,
    "eval_interval": 2000,
    "eval_iters": 200,
    "eval_only": False,
    "log_interval": 1,
    "always_save_checkpoint": True,
    "seed": 1337,
}

FILES = {  # the file's name → its text, and what it makes of the above
    "train_shakespeare_char": (
        SHAKESPEARE_CHAR,
        {
            "out_dir": "out-shakespeare-char",
            "dataset": "shakespeare_char",
            "pad_vocab_to": 1,
            "gradient_accumulation_steps": 1,
            "batch_size": 64,
            "block_size": 256,
            "n_layer": 6,
            "n_head": 6,
            "n_embd": 384,
            "dropout": 0.2,
            "learning_rate": 1e-3,
            "min_lr": 1e-4,
            "max_iters": 5000,
            "lr_decay_iters": 5000,
            "warmup_iters": 100,
            "beta2": 0.99,
            "eval_interval": 250,
            "log_interval": 10,
            "always_save_checkpoint": False,
            "wandb_log": False,
            "wandb_project": "shakespeare-char",
            "wandb_run_name": "mini-gpt",
        },
    ),
    "train_gpt2": (
        GPT2,
        {
            "out_dir": str(Path("runs/train_gpt2")),
            "eval_interval": 1000,
            "log_interval": 10,
            "wandb_log": True,
            "wandb_project": "owt",
            "wandb_run_name": "gpt2-124M",
        },
    ),
    "finetune_shakespeare": (
        FINETUNE,
        {
            "out_dir": "out-shakespeare",
            "dataset": "shakespeare",
            "init_from": "gpt2-xl",
            "decay_lr": False,
            "warmup_iters": 0,
            "gradient_accumulation_steps": 32,
            "batch_size": 1,
            "learning_rate": 3e-5,
            "max_iters": 20,
            "eval_interval": 5,
            "eval_iters": 40,
            "always_save_checkpoint": False,
            "wandb_project": "shakespeare",
        },
    ),
    **{
        f"eval_{model.replace('-', '_')}": (
            EVALUATE.format(model),
            {"init_from": model, "eval_only": True, "batch_size": 8, "eval_iters": 500},
        )
        for model in RELEASED
    },
    "small_on_cpu": (
        CPU,
        {
            "device": "cpu",
            "compile": False,
            "dtype": "float32",
            "learning_rate": 2e-4,
            "min_lr": 2e-5,
            "max_iters": 2000,
            "lr_decay_iters": 2000,
            "n_head": 4,
            "n_embd": 128,
        },
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_nanogpt_files_become_the_right_settings(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    source, expected = FILES[name]
    file = Path("config") / f"{name}.py"
    file.parent.mkdir()
    file.write_text(source, encoding="utf-8")
    settings, origins, given = compose([str(file)], {"eval_tokens": "5000"})
    flat = flatten(settings)
    wanted = WHOLE | {"out_dir": str(Path(f"runs/{name}")), "eval_tokens": 5000} | expected
    assert {key: flat[key] for key in wanted} == wanted
    assert origins["n_layer"] == f"recipe {file}" and origins["eval_tokens"] == "flag"
    assert given["n_layer"] == flat["n_layer"], "config.toml tells the whole, since the file itself may go away"


@pytest.mark.parametrize("name", ["train_shakespeare_char", "train_gpt2"])
def test_a_nanogpt_file_and_the_recipe_of_its_name_train_the_same(tmp_path, name):
    file = tmp_path / f"{name}.py"
    file.write_text(FILES[name][0], encoding="utf-8")
    theirs, ours = flatten(settings_of(str(file))), flatten(settings_of(name))
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert differing <= {"out_dir", "wandb_log", "wandb_project", "wandb_run_name"}


def test_a_nanogpt_file_trains_and_goes_on(tiny, inkling):
    source = "import os\ndataset = 'tiny'\ndevice = 'cpu'\ncompile = False\nn_layer = n_head = 2\n"
    Path("small.py").write_text(source, encoding="utf-8")
    status, _, err = inkling("train", "small.py")
    assert status == 2 and "small.py, line 5: " in err and "n_layer = n_head = 2" in err and "Traceback" not in err
    source = source.replace("n_layer = n_head = 2", "n_layer = 2\nn_head = n_layer\nn_embd = 8 * n_head")
    source += "block_size = 4 ** 2\nbatch_size = 2\ngradient_accumulation_steps = 2\nmax_iters = 3\neval_iters = 1\n"
    Path("small.py").write_text(source, encoding="utf-8")
    status, _, err = inkling("train", "small.py", "--threads=1")
    assert status == 0, err
    assert err.count("note: ") == 1 and "import os" in err
    status, out, err = inkling("train", "small.py", "--resume", "--max_iters=4")
    assert status == 0, err
    assert "resuming runs/small at step 3" in out


def test_notes_say_once_what_was_passed_over(tmp_path, monkeypatch, capsys):
    file = tmp_path / "finetune.py"
    file.write_text(FINETUNE + "backend = 'gloo'\nwarmup_iters = 7\n", encoding="utf-8")
    settings_of(str(file))
    out, err = capsys.readouterr()
    assert out == ""
    time_line, name_line, backend_line, warmup_line = err.splitlines()
    assert time_line == f"note: {file}, line 2: passed over, nothing is imported: import time"
    assert name_line.startswith(f"note: {file}, line 9: ") and "wandb_run_name = 'ft-' + str(time.time())" in name_line
    assert backend_line.startswith(f"note: {file}, line 22: ") and "backend = 'gloo'" in backend_line
    assert "warmup_iters is taken as 0" in warmup_line
    monkeypatch.setenv("RANK", "1")
    load_recipe(str(file))
    assert capsys.readouterr().err == "", "of several processes only one speaks"


def test_unknown_names_and_wrong_types_are_the_usual_errors(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("n_layers = 6\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"n_layers \(recipe .*mine.py\)\.\nDid you mean --n_layer\?"):
        compose([str(file)], {})
    file.write_text("n_layer = 'six'\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"--n_layer does not take 'six' \(from recipe .*mine.py\)"):
        compose([str(file)], {})


def read(tmp_path: Path, content: str | bytes) -> dict:
    file = tmp_path / "config.py"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_nanogpt(file)[0]


def test_literals_and_arithmetic(tmp_path):
    source = """
x = 2 + 3 * 4 - 10 // 4 % 2
y = (2 + 3) * -x
z = 2 ** 10
half = 1 / 2
name = 'one' " two"
nothing = None
truth = True
learning_rate = learning_rate / 2
x = x + 1
"""
    values = read(tmp_path, source)
    assert (values["x"], values["y"], values["z"], values["half"]) == (15, -70, 1024, 0.5)
    assert values["name"] == "one two" and values["nothing"] is None and values["truth"] is True
    assert values["learning_rate"] == 3e-4, "nanoGPT's defaults are there to compute with, as they are there"


def test_marks_line_ends_and_an_empty_file(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfn_layer = 3\r\nn_head = 2\r\nout_dir = '\xc3\xbc'\r\n")["out_dir"] == "ü"
    assert read(tmp_path, "")["n_layer"] == 12
    with pytest.raises(UserError, match="line 3"):
        read(tmp_path, b"n_layer = 3\r\n\r\nf()\r\n")


REFUSED = [
    "print('hello')",
    "exec('n_layer = 1')",
    "if True: n_layer = 2",
    "for n_layer in (1, 2): pass",
    "def f(): return 3",
    "class C: pass",
    "with open('x') as f: pass",
    "try: pass\nexcept: pass",
    "assert n_layer",
    "del n_layer",
    "pass",
    "5",
    "n_layer",
    "n_layer = n_head = 3",
    "n_layer, n_head = 3, 3",
    "n_layer += 1",
    "n_layer: int = 3",
    "settings.n_layer = 3",
    "settings['n_layer'] = 3",
    "n_layer = int('3')",
    "n_layer = __import__('os').getpid()",
    "n_layer = float",
    "n_layer = os.cpu_count",
    "n_layer = [3][0]",
    "n_layer = [3]",
    "n_layer = {'a': 3}",
    "n_layer = (3, 4)",
    "n_layer = [x for x in (1, 2)]",
    "n_layer = lambda: 3",
    "n_layer = (n := 3)",
    "n_layer = 3 if True else 4",
    "n_layer = not True",
    "n_layer = ~3",
    "n_layer = 1 < 2",
    "n_layer = 1 and 2",
    "n_layer = 1 << 3",
    "n_layer = 2 @ 3",
    "n_layer = 3j",
    "n_layer = b'3'",
    "n_layer = ...",
    "n_layer = true",
    "n_layer = 3 * 'a'",
    "n_layer = 'a' + 'b'",
    "n_layer = -'a'",
    "n_layer = 3 + None",
    "n_layer = 1 / 0",
    "n_layer = 1 // 0",
    "n_layer = 1 % 0",
    "n_layer = 0 ** -1",
    "n_layer = 9**9**9",
    "n_layer = 2 ** -(9 ** 15)",
    "n_layer = 10.0 ** 400",
    "n_layer = (-8) ** 0.5",
    "n_layer = 10 ** 18 * 10",
    "n_layer = 1e999",
    "n_layer = 1e308 * 10",
    "out_dir = f'out-{n_layer}'",
    "out_dir = f'out-{print(1)}'",
    "out_dir = str(3)",
    "dataset = wandb_run_name",
    "n_layer = = 3",
    "n_layer = 3 +",
    "n_layer 3",
    "n_layer = 'open",
    "  n_layer = 3",
    "n_layer = 3\0",
]


@pytest.mark.parametrize("line", REFUSED)
def test_anything_else_is_refused_by_its_line(tmp_path, line):
    first = line.split("\n")[0]
    with pytest.raises(UserError) as caught:
        read(tmp_path, f"batch_size = 8\n\n{line}\nn_head = 2\n")
    assert f"{tmp_path / 'config.py'}, line 3: " in caught.value.problem
    assert caught.value.problem.endswith(first.strip())
    assert "name = value" in caught.value.remedy and caught.value.status == 2


def test_the_line_is_that_of_the_fault_and_not_of_the_statement(tmp_path):
    with pytest.raises(UserError, match=r"line 3: .*: \+ int\('4'\)\n"):
        read(tmp_path, "n_layer = (\n    2\n    + int('4')\n)\n")
    with pytest.raises(UserError, match=r"line 2: .*not UTF-8.*: n_head = 2 # Gr.*e\n"):
        read(tmp_path, "n_layer = 3\nn_head = 2 # Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"line 1: .*\.\.\.\n"):
        read(tmp_path, f"n_layer = f('{'x' * 1000}')")


ENDLESS = ["-" * 50000 + "1", "1" + "+1" * 50000, "(" * 5000 + "1" + ")" * 5000, "9" * 5000]


@pytest.mark.parametrize("expression", ENDLESS, ids=["signs", "sum", "brackets", "digits"])
def test_expressions_without_end_are_refused(tmp_path, expression):
    with pytest.raises(UserError, match="line 1"):
        read(tmp_path, f"n_layer = {expression}\n")


def test_nothing_is_run(tmp_path, monkeypatch):
    """9**9**9 alone would take longer than the suite may."""
    monkeypatch.chdir(tmp_path)
    source = "import antigravity_of_mine\nwandb_run_name = open('made', 'w').name\nwandb_project = str(9**9**9)\n"
    assert "wandb_run_name" not in read(tmp_path, source)
    assert not Path("made").exists()


@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: f"x = {text}".encode())))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content):
    try:
        read(tmp_path_factory.getbasetemp(), content)
    except UserError as error:
        assert "line " in error.problem


OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
LEAVES = st.integers(-20, 20).map(lambda n: (f"({n})", n))  # an expression's text, and its value in Python


def larger(parts: st.SearchStrategy) -> st.SearchStrategy:
    """Expressions made of `parts`; text and value are put together side by side."""

    def join(left: tuple, sign: str, right: tuple) -> tuple:
        assume(right[1] != 0 or sign not in ("/", "//", "%"))
        value = OPERATORS[sign](left[1], right[1])
        assume(abs(value) <= 10**15)
        return f"({left[0]} {sign} {right[0]})", value

    def power(base: tuple, exponent: int) -> tuple:
        assume(abs(base[1]) < 1000)
        return f"({base[0]} ** {exponent})", base[1] ** exponent

    return st.one_of(
        st.builds(join, parts, st.sampled_from(sorted(OPERATORS)), parts),
        st.builds(power, parts, st.integers(0, 4)),
        parts.map(lambda part: (f"(-{part[0]})", -part[1])),
    )


@given(expression=st.recursive(LEAVES, larger, max_leaves=8))
def test_arithmetic_is_pythons(tmp_path_factory, expression):
    text, value = expression
    found = read(tmp_path_factory.getbasetemp(), f"x = {text}")["x"]
    assert found == value and type(found) is type(value)
