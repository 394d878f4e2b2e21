"""Step 3 holds: shapes, causality, order, the first loss, and the file gives the same model back."""

import math
import tempfile
from pathlib import Path

import torch
from model import GPT, Config

torch.manual_seed(1)
V = 300
model = GPT(Config(V, n_layer=2, n_embd=32))
ids = torch.randint(V, (2, 20))

nats, count = model(ids[:, :-1], ids[:, 1:])
assert model(ids).shape == (2, 20, V)
assert abs(nats.item() / count - math.log(V)) < 0.1, "a fresh model gives every token about the same chance"

with torch.no_grad():  # blocks begin as nothing; give them something to say
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
changed = ids.clone()
changed[:, 12] = (changed[:, 12] + 1) % V
before, after = model(ids), model(changed)
assert torch.allclose(before[:, :12], after[:, :12], atol=1e-5), "the past saw the future"
assert not torch.allclose(before[:, 12:], after[:, 12:], atol=1e-3), "the future did not see the past"
swapped = ids[:, [1, 0, *range(2, 20)]]
assert not torch.allclose(model(ids)[:, -1], model(swapped)[:, -1], atol=1e-3), "the order of tokens changes nothing"

ignored = ids.clone()
ignored[:, 10:] = -1
assert model(ids, ignored)[1] == 20, "targets of -1 do not count"
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder))
    assert torch.equal(GPT.load(Path(folder))(ids), model(ids))
print(f"model: ok, {sum(p.numel() for p in model.parameters()):,} parameters here")
