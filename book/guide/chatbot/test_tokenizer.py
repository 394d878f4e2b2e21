"""Step 1 holds: nothing is lost, text is shorter, and nobody can type a mark."""

from tokenizer import SPECIALS, Tokenizer, split, train

text = "The king saw the ships, and the ships saw the king: 1,234 of them! " * 20
merges = train(text, 60)
tokenizer = Tokenizer(merges)

for sample in (text, "naïve 猫 🐈\n\t_x_", "", "".join(SPECIALS)):
    assert "".join(split(sample)) == sample
    ids = tokenizer.encode(sample)
    assert tokenizer.decode(ids) == sample
    assert all(i < 256 + len(merges) for i in ids), "text became a mark"
assert len(tokenizer.encode(text)) < len(text) / 3
assert train("cd\nab\ncd\nab", 1) == [(97, 98)], "of equally frequent pairs the smallest"
assert len(tokenizer.encode("1234")) == 4, "digit by digit"
assert tokenizer.decode([255, *tokenizer.special.values()]) == "\N{REPLACEMENT CHARACTER}"
print("tokenizer: ok")
