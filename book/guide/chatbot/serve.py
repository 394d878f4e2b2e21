"""Serve: `python serve.py`, then open http://127.0.0.1:8000. Only this machine can reach it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from threading import Lock
from typing import Any

from chat import reply
from data import BOT
from facts import Message
from model import GPT
from tokenizer import Tokenizer

LARGEST = 20_000  # bytes of a request
PAGE = """<!doctype html><meta charset="utf-8"><title>bot</title>
<pre id="log"></pre><form><input size="60" autofocus></form>
<script>
const log = document.querySelector("pre"), box = document.querySelector("input"), messages = [];
document.querySelector("form").onsubmit = async (event) => {
  event.preventDefault();
  messages.push({role: "user", content: box.value});
  log.append("you: " + box.value + "\\nbot: ");
  box.value = "";
  const answer = await fetch("/chat", {method: "POST", body: JSON.stringify({messages})});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part; !(part = await reader.read()).done; text += part.value) log.append(part.value);
  messages.push({role: "assistant", content: text});
  log.append("\\n");
};
</script>"""


def check(body: Any) -> list[Message]:
    """The messages of a request: turn about, the first and the last the person's. Raises ValueError in plain words."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or len(messages) % 2 == 0:
        raise ValueError("messages must be a list that begins and ends with a user.")
    for i, message in enumerate(messages):
        role = "assistant" if i % 2 else "user"
        if not isinstance(message, dict) or message.get("role") != role or not isinstance(message.get("content"), str):
            raise ValueError(f"message {i} must have the role {role} and a text as its content.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


class Handler(BaseHTTPRequestHandler):
    """One request. The model answers one person at a time."""

    model: GPT
    tokenizer: Tokenizer
    lock = Lock()
    timeout = 30  # a client that says nothing is let go

    def do_GET(self) -> None:
        """The page."""
        if self.path == "/":
            self.answer(200, PAGE, "text/html")
        else:
            self.answer(404, "There is nothing here.\n")

    def do_POST(self) -> None:
        """The answer, in pieces as they come."""
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if self.path != "/chat" or not 0 < length <= LARGEST:
                self.answer(404 if self.path != "/chat" else 413, "POST /chat, with at most 20,000 bytes.\n")
                return
            messages = check(json.loads(self.rfile.read(length)))
            with self.lock:
                pieces = reply(self.model, self.tokenizer, messages)
                first = next(pieces, "")  # so that a question that is too long is refused before the 200
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                for piece in chain([first], pieces):
                    self.wfile.write(piece.encode("utf-8"))
        except (ValueError, RecursionError) as error:
            self.answer(400, f"{error}\n")
        except (ConnectionError, TimeoutError):
            pass  # the person has gone

    def answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        """A whole text at once."""
        body = text.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def server(port: int) -> ThreadingHTTPServer:
    """A server that is ready to serve_forever(); port 0 takes a free one."""
    Handler.model, Handler.tokenizer = GPT.load(BOT), Tokenizer.load(BOT / "tokenizer.json")
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serving = server(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    print(f"http://127.0.0.1:{serving.server_port}  (Ctrl-C ends it)", flush=True)
    serving.serve_forever()
