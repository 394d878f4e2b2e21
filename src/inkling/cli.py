"""The command `inkling`: one verb per stage. Reads words and flags, hands them to stages/<verb>.command."""

import importlib
import keyword
import os
import sys

from inkling.errors import UserError, is_out_of_memory
from inkling.settings import help_text, split_flags

VERBS = {
    "prepare": "turn text into tokens on disk",
    "data": "look at what was prepared, and check that it is whole",
    "tokenizer": "learn a vocabulary, compare it with others, look at its tokens",
    "train": "train a model, or go on training one",
    "sft": "teach a trained model to talk",
    "rl": "let a model that talks practise what can be checked",
    "sample": "let a trained model write",
    "chat": "talk with a model that was taught to",
    "serve": "put a model behind an address: a page, and an API that OpenAI's clients know",
    "evaluate": "ask a model questions, and count the right answers",
    "speedrun": "all of it: facts → text → model → conversation → exam, on a CPU in minutes",
    "report": "one page of all that a run and those before it recorded",
    "miniseries": "one recipe at several depths, and how the loss falls",
    "scaling": "several sizes at several budgets of FLOPs, and the laws that the best follow",
    "import": "bring a published model here: GPT-2, Llama, Qwen3, nanochat, or nanoGPT's ckpt.pt",
    "export": "write a model as the folder that Hugging Face's tools load",
    "plot": "draw the loss curves of one run or several",
    "bench": "how fast a model trains and writes on this machine",
    "size": "what a model costs, before it is built: parameters, FLOPs, memory",
    "learn": "build it yourself: seven exercises from the tokenizer to the sampler, checked as you go",
    "doctor": "what this machine has, what inkling will use of it, and what is missing",
}

OVERVIEW = """inkling turns raw text into a language model.

usage: inkling VERB [NAME] [--key=value ...]

{verbs}

the main way:
  inkling prepare bundled                 text that is already on this machine → ./data/bundled
  inkling train demo                      → ./runs/demo, with a live bar
  inkling sample demo --start="The "      watch it write
  inkling plot demo                       its learning curves → ./runs/demo/plot.png

`inkling VERB --help` lists every key with its type, default and meaning."""


def run(argv: list[str] | None = None) -> None:
    """Entry point: runs the command and exits, without a traceback for a person's mistake."""
    try:
        dispatch(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"{_red('error')}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:  # a full disk, a folder without rights
        where = f": {error.filename}" if error.filename else ""
        print(f"{_red('error')}: the system refused, {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"{_red('error')}: there is not enough memory for this.", file=sys.stderr)
        print("Ask for less at once: fewer samples, shorter texts, a smaller batch or model.", file=sys.stderr)
        sys.exit(1)


def dispatch(argv: list[str]) -> None:
    """Find the verb, split its words from its flags, and call its stage."""
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a model may write any character, whatever the console's code page
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    if not argv or argv[0] in ("-h", "--help", "help"):
        verbs = "\n".join(f"  {verb:<12}{meaning}" for verb, meaning in VERBS.items())
        print(OVERVIEW.format(verbs=verbs))
        return
    if argv[0] in ("--version", "-V"):
        from inkling.version import __version__

        print(f"inkling {__version__}")
        return
    verb, *rest = argv
    if verb not in VERBS:
        raise UserError(f"There is no verb {verb!r}.", f"Verbs: {', '.join(VERBS)}.", status=2)
    stage = importlib.import_module(module_of(verb))
    if {"-h", "--help"} & set(rest):
        print(help_text(stage.SETTINGS, f"inkling {verb}", stage.DESCRIPTION))
        return
    stage.command(*split_flags(stage.SETTINGS, rest))


def module_of(verb: str) -> str:
    """The module of a verb's stage. `import` is a word of Python's own, which a module cannot be called."""
    return f"inkling.stages.{verb}_" if keyword.iskeyword(verb) else f"inkling.stages.{verb}"


def _red(text: str) -> str:
    return f"\033[31m{text}\033[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else text
