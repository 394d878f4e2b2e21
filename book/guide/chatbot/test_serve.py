"""Step 8 holds: the page, an answer in pieces, and a plain word for bad requests."""

import json
import threading
import urllib.error
import urllib.request

import serve

serving = serve.server(0)
threading.Thread(target=serving.serve_forever, daemon=True).start()
ADDRESS = f"http://127.0.0.1:{serving.server_port}"


def post(body: bytes, path: str = "/chat") -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(ADDRESS + path, data=body, timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8")


def ask(*texts: str) -> tuple[int, str]:
    """Say these, turn about, to the bot."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return post(json.dumps({"messages": messages}).encode("utf-8"))


with urllib.request.urlopen(ADDRESS, timeout=60) as page:
    assert b"<form>" in page.read()
status, text = ask("What is the capital of France?")
print(f"What is the capital of France? {text}")
assert status == 200 and text
assert ask("Hello!", "Hello!", "Where is Peru?")[0] == 200
for bad in (b"", b"{", b"[]", b'{"messages": []}', b'{"messages": [{"role": "system", "content": "x"}]}', b"[" * 9000):
    assert post(bad)[0] in (400, 413), bad
assert ask("x" * 9000) == (400, "This question is too long.\n")
assert ask("x" * 90000)[0] == 413
assert post(b"{}", "/other")[0] == 404
serving.shutdown()
print("serve: ok")
