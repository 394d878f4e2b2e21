"""`inkling serve RUN`: a model behind an address, for people, programs and the curious."""

import importlib.util
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inkling.errors import UserError
from inkling.runtime import Runtime, RuntimeSettings, decide, running
from inkling.serve.limits import LOOPBACK, LimitSettings, check_limits
from inkling.settings import Layer, build
from inkling.text.conversation import can_chat
from inkling.text.tokenizer import Tokenizer
from inkling.train.runfolder import read_resolved

if TYPE_CHECKING:
    from inkling.serve.served import Served


@dataclass(frozen=True)
class ServeSettings:
    """serve"""

    host: str = "127.0.0.1"
    """where to listen; anything but this machine's own address wants --token or --no_token"""
    port: int = 8000
    """the port; 0: any that is free"""
    token: str = ""
    """what clients must show as `Authorization: Bearer`; FILE:path reads it from a file, which no list of processes
    shows; empty: nothing"""
    no_token: bool = False
    """listen on other addresses without a token: whoever reaches the port may ask"""
    cors: str = ""
    """pages elsewhere that may ask, such as https://example.org, separated by commas"""
    name: str = ""
    """what clients call the model; empty: the folder's name"""
    pack: bool = True
    """on a CPU in float32: keep a second copy of the weights, in the order that is quickest for several streams"""
    drain_seconds: int = 30
    """after SIGTERM or Ctrl-C, how long answers may go on"""
    limits: LimitSettings = LimitSettings()
    runtime: RuntimeSettings = RuntimeSettings()


SETTINGS = ServeSettings
DESCRIPTION = """Put a model behind an address: inkling serve RUN [--key=value ...]

  inkling serve demo                                  http://127.0.0.1:8000: a page to talk and to look inside
  inkling serve demo --port=9000 --max_rows=32
  inkling serve demo --host=0.0.0.0 --token=SECRET    for other machines; better --token=FILE:path

Clients of OpenAI's API find it at http://127.0.0.1:8000/v1. RUN is a run's name below runs/, its path, or a folder of
published weights. --compile is taken and not used."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("serve takes one RUN.", "For example: inkling serve demo", status=2)
    settings, _ = build(ServeSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(run: str, settings: ServeSettings) -> None:
    """Serve until a signal ends it. `run` is a run's name or path."""
    settings = replace(settings, token=_read_token(settings.token))
    _check(settings)
    _check_packages()
    from inkling.infer.packed import can_pack, pack
    from inkling.serve.app import make_app
    from inkling.serve.listening import make_server

    runtime = decide(replace(settings.runtime, compile=False))
    with running(runtime):
        served = open_served(run, settings.name, runtime)
        if settings.pack and can_pack(served.model):
            pack(served.model)
        origins = [origin.strip() for origin in settings.cors.split(",") if origin.strip()]
        app = make_app(served, settings.limits, settings.token, settings.host, origins)
        server = make_server(app, settings.host, settings.port, settings.limits.max_connections, settings.drain_seconds)
        with _listen(settings.host, settings.port) as listening, suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, lambda *_: None)  # the server drains first, and then raises it once more
            _announce(served, settings.host, listening.getsockname()[1])
            server.run(sockets=[listening])
    print("Ended.")


def open_served(run: str, name: str, runtime: Runtime) -> "Served":
    """The model that `run` names, ready to serve. Raises UserError where there is none."""
    from inkling.hub.load import find_weights, load_weights
    from inkling.serve.served import Served

    weights = find_weights(run)
    model, tokenizer = load_weights(weights, device=runtime.device, dtype=runtime.dtype)
    folder = weights.path.parents[1] if weights.path.parent.name == "checkpoints" else None
    name = name or (folder or weights.path).resolve().name
    return Served(name, model, tokenizer, folder, _was_taught(tokenizer, folder))


def _was_taught(tokenizer: Tokenizer, folder: Path | None) -> bool:
    """Whether it learned from conversations. A base model may have their marks and never have seen one used: it was
    trained on a stream of text, in which conversations, of which only a part is learned, cannot be read."""
    if not can_chat(tokenizer):
        return False
    if folder is None or not (folder / "resolved.toml").is_file():
        return True
    values, _ = read_resolved(folder)
    return values.get("packing") != "stream"


def _read_token(given: str) -> str:
    """What stands in the file, for FILE:path."""
    if not given.startswith("FILE:"):
        return given
    path = Path(given.removeprefix("FILE:"))
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the token in {path}: {error}.", "Check the path.", status=2) from None
    if not token:
        raise UserError(f"{path} has no token: it is empty.", status=2)
    return token


def _check(settings: ServeSettings) -> None:
    check_limits(settings.limits)
    if settings.host not in LOOPBACK and not settings.token and not settings.no_token:
        raise UserError(
            f"--host={settings.host} lets other machines ask, and no token would keep them out.",
            "Add --token=SECRET, or --no_token if that is what you want.",
            status=2,
        )
    if settings.token and settings.no_token:
        raise UserError("--token and --no_token contradict each other.", "Leave one out.", status=2)
    if not settings.token.isascii() or settings.token != settings.token.strip():
        raise UserError("A token is plain ASCII without spaces around it: it travels in a header.", status=2)
    if not 0 <= settings.port <= 65535:
        raise UserError(f"port={settings.port} is not a port.", "Ports are 0 to 65535.", status=2)
    if settings.drain_seconds < 0:
        raise UserError(f"drain_seconds={settings.drain_seconds} is negative.", status=2)
    if settings.runtime.compile is True:
        print("--compile is not used: texts of all lengths share a batch.", file=sys.stderr)


def _check_packages() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if not importlib.util.find_spec(name)]
    if missing:
        raise UserError(
            f"Serving needs the package {missing[0]}, which is not installed.",
            "Install it: pip install 'inkling-lm[serve]'",
        )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections already: whoever reads the address may ask at once."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":  # there it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"Cannot listen at {host}, port {port}: {reason}.", "Choose another --port or --host."
        ) from None
    return listening


def _announce(served: "Served", host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    kind = "chat and texts" if served.can_chat else "texts; it was never taught to chat"
    print(f"Serving {served.name} ({kind}) at http://{shown}:{port}  (the API: /v1)", flush=True)
    print("Ctrl-C ends.", flush=True)
