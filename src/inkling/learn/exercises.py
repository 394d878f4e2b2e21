"""The seven exercises: their names, their skeletons, their hints."""

import ast
from dataclasses import dataclass
from importlib import resources

from inkling.errors import UserError


@dataclass(frozen=True)
class Exercise:
    """One subject, one file of the person's. The hints go from vague to plain."""

    number: int
    name: str
    title: str
    hints: tuple[str, ...]

    @property
    def file(self) -> str:
        """The name of the person's file."""
        return f"{self.name}.py"


EXERCISES = (
    Exercise(
        1,
        "tokenizer",
        "byte-pair encoding: train, encode, decode",
        (
            "itertools.pairwise(ids) gives the pairs of neighbours.",
            "merge walks with an index of its own: behind a pair it moves by 2, otherwise by 1.",
            "min(counts, key=lambda pair: (-counts[pair], pair)) is the most frequent pair, the smallest among equals.",
            "After a merge, two chunks may have become equal: add their counts, do not overwrite.",
            "encode is train without the counting: for each chunk, for each merge in order, merge. decode builds a "
            "list of bytes, tokens[256 + i] = tokens[left] + tokens[right], joins, and decodes with errors='replace'.",
        ),
    ),
    Exercise(
        2,
        "attention",
        "causal self-attention with several heads",
        (
            "torch.ones(T, T, dtype=torch.bool).tril() is a triangle with its diagonal.",
            "Heads: view the channels as (H, D), then transpose T and H. Backwards: transpose, then reshape.",
            "Scores: q @ k.transpose(-2, -1) has the shape (B, H, T, T): row i is what position i asks of all others.",
            "masked_fill(~mask, float('-inf')) before the softmax over the last axis.",
            "forward: c_attn, chunk into three along the last axis, split heads, attend, join heads, c_proj.",
        ),
    ),
    Exercise(
        3,
        "block",
        "norm, MLP, residual: a block, and the whole GPT",
        (
            "keepdim=True keeps the shapes of mean and variance such that they can be subtracted and divided.",
            "torch.erf is the error function.",
            "A block has two lines of the form x = x + part(norm(x)).",
            "The positions are torch.arange(T); wpe of them is (T, C), which is added to each row.",
            "The head is the table of embeddings, transposed: (B, T, C) @ (C, V).",
        ),
    ),
    Exercise(
        4,
        "loss",
        "cross-entropy with ignored targets, weighted by tokens",
        (
            "log softmax(x) = x − log Σ exp(x). Both sides stay equal when the same number is taken off all x.",
            "logs[torch.arange(N), targets] picks one number of each row.",
            "Leave out the rows to be ignored before you index: −1 is a valid index in Python, of the last one.",
            "gradient: the softmax, with 1 taken off at the target, and 0 in the rows that do not count.",
        ),
    ),
    Exercise(
        5,
        "optimizer",
        "AdamW, and Muon with Newton–Schulz",
        (
            "if not state: fill it, with zeros of the parameter's shape, and t = 0.",
            "In place means parameter.mul_(…) and parameter.sub_(…); `parameter = …` only renames.",
            "AdamW in order: t, mean, square, both corrected, shrink the parameter, step.",
            "orthogonalize: gram = x @ x.T; x = a * x + (b * gram + c * gram @ gram) @ x.",
            "muon_step: memory, look ahead with the new memory, orthogonalize, factor, step.",
        ),
    ),
    Exercise(
        6,
        "loop",
        "batches by step, accumulation, schedule, evaluation",
        (
            "np.random.default_rng([seed, step]) is a new generator that knows only these two.",
            "A window has block_size + 1 tokens: the ids are all but the last, the targets all but the first.",
            "So a window may begin at 0 … len(tokens) − block_size − 1; integers(0, n) excludes n.",
            "Count the targets of all micro-batches first. Then each one's gradient is that of nats / that number.",
            "evaluate: was_training = model.training; eval; add up nats and counts; model.train(was_training).",
        ),
    ),
    Exercise(
        7,
        "sampler",
        "temperature, top-k, top-p, greedy, stop",
        (
            "logits.topk(k).values[-1] is the least that stays.",
            "Top-p: sort from the likeliest down, softmax, cumsum. What stands before a token is cumsum − itself.",
            "sort also gives the ids, so that what is cut in the sorted order can be cut in the other.",
            "torch.multinomial(probabilities, 1, generator=generator) draws one.",
            "generate: [*ids, *new][-block_size:] is the window; the logits at its last position are about the next.",
        ),
    ),
)


def find(word: str) -> Exercise:
    """The exercise of that number or name."""
    for exercise in EXERCISES:
        if word in (str(exercise.number), exercise.name, exercise.file):
            return exercise
    names = ", ".join(f"{exercise.number} {exercise.name}" for exercise in EXERCISES)
    raise UserError(f"There is no exercise {word!r}.", f"There are: {names}.", status=2)


def solution(exercise: Exercise) -> str:
    """The exercise, solved: the text of a Python file."""
    return (resources.files("inkling.learn") / "solutions" / exercise.file).read_text(encoding="utf-8")


def skeleton(exercise: Exercise) -> str:
    """The solution without the bodies that are the exercise: all but those that begin with the comment `# given`."""
    lines = solution(exercise).splitlines()
    for function in reversed(list(_functions(ast.parse("\n".join(lines))))):
        docstring = function.body[0]
        first, last = docstring.end_lineno, function.end_lineno
        assert first and last
        if lines[first].strip() != "# given":
            indent = " " * docstring.col_offset
            lines[first:last] = [f'{indent}raise NotImplementedError("{function.name} is yours to write")']
    return "\n".join(lines) + "\n"


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Functions and methods, in the order of the file."""
    found: list[ast.FunctionDef] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.append(node)
        elif isinstance(node, ast.ClassDef):
            found += [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
    return found
