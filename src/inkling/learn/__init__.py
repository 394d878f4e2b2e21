"""Build it yourself: seven exercises from the tokenizer to the sampler, each with a skeleton, checks and a solution."""
