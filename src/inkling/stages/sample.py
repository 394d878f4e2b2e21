"""`inkling sample RUN`: continue a prompt, once or several times."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from inkling.errors import UserError
from inkling.infer.engine import Engine, Request, sample_seed
from inkling.infer.sampling import SamplingSettings, check_sampling
from inkling.infer.textstream import TextStream
from inkling.runtime import RuntimeSettings, decide, running
from inkling.settings import Layer, build

SEPARATOR = "---------------"


@dataclass(frozen=True)
class SampleSettings:
    """sample"""

    start: str = "\n"
    """the prompt; FILE:path reads it from a UTF-8 file"""
    num_samples: int = 3
    """how many continuations, decoded together"""
    max_new_tokens: int = 500
    """tokens in each continuation"""
    stop: str = ""
    """end a sample before this text; empty: none"""
    stream: bool | Literal["auto"] = "auto"
    """print the first sample as it grows; auto does on a terminal"""
    out_dir: str = ""
    """the run, where RUN is not given"""
    init_from: str = "resume"
    """nanoGPT's other flag for it: resume (what out_dir names), or a run"""
    sampling: SamplingSettings = SamplingSettings()
    runtime: RuntimeSettings = RuntimeSettings()


SETTINGS = SampleSettings
DESCRIPTION = """Let a trained model write: inkling sample RUN [--key=value ...]

  inkling sample demo
  inkling sample demo --start="The " --num_samples=1 --temperature=0
  inkling sample runs/mine --start=FILE:prompt.txt --max_new_tokens=200 --top_p=0.9 --top_k=0

RUN is a run's name below runs/, or its path. --compile is taken and not used: the shapes of sampling
change with every token."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) > 1:
        raise UserError("sample takes one RUN.", "For example: inkling sample demo", status=2)
    settings, _ = build(SampleSettings, [Layer("flag", flags)])
    main(positional[0] if positional else "", settings)


def main(run: str, settings: SampleSettings) -> list[str]:
    """Print the samples and return them, each with its prompt. `run` is a run's name or path."""
    from inkling.hub.load import load

    where = run or (settings.out_dir if settings.init_from == "resume" else settings.init_from)
    _check(where, settings)
    prompt = read_prompt(settings.start)
    if settings.runtime.compile is True:
        print("--compile is not used: the shapes of sampling change with every token.", file=sys.stderr)
    runtime = decide(replace(settings.runtime, compile=False))
    with running(runtime):
        model, tokenizer = load(where, device=runtime.device, dtype=runtime.dtype)
        ids = [*tokenizer.prefix, *tokenizer.encode(prompt)]
        texts = [TextStream(tokenizer, [settings.stop]) for _ in range(settings.num_samples)]
        requests = [
            Request(
                ids,
                settings.max_new_tokens,
                settings.sampling,
                sample_seed(settings.runtime.seed, i),
                text.hook,
            )
            for i, text in enumerate(texts)
        ]
        live = sys.stdout.isatty() if settings.stream == "auto" else settings.stream
        samples = [prompt] * settings.num_samples
        _show(prompt if live else "")
        for i, token in Engine(model).stream(requests):
            piece = texts[i].push(token)
            samples[i] += piece
            _show(piece if live and i == 0 else "")
        for i, text in enumerate(texts):
            rest = text.finish()
            samples[i] += rest
            _show(rest if live and i == 0 else samples[i])
            _show(f"\n{SEPARATOR}\n")
    return samples


def read_prompt(start: str) -> str:
    """The text of `--start`, which may be in a file."""
    if not start.startswith("FILE:"):
        return start
    path = Path(start.removeprefix("FILE:"))
    try:
        return path.read_bytes().decode("utf-8")  # not read_text, which would change the ends of lines
    except OSError as error:
        raise UserError(f"Cannot read the prompt from {path}: {error.strerror}.", "Check --start.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None


def _check(where: str, settings: SampleSettings) -> None:
    """Refuse before the weights are loaded, which may take a while."""
    if not where:
        raise UserError("Which model?", "Name a run: inkling sample demo", status=2)
    if settings.num_samples < 1:
        raise UserError(f"num_samples={settings.num_samples} must be at least 1.", status=2)
    check_sampling(settings.sampling)


def _show(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
