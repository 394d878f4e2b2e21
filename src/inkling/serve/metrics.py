"""What an operator wants to see over time, in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """The counters of one server; a registry of their own, so that two servers in a process do not meet."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.responses = Counter("inkling_responses", "HTTP responses", ["path", "status"], registry=registry)
        self.answers = Counter("inkling_answers", "answers that ended, by reason", ["reason"], registry=registry)
        self.prompt_tokens = Counter("inkling_prompt_tokens", "tokens of prompts", registry=registry)
        self.reused_tokens = Counter("inkling_reused_tokens", "prompt tokens that were remembered", registry=registry)
        self.new_tokens = Counter("inkling_new_tokens", "tokens of answers", registry=registry)
        self.running = Gauge("inkling_running", "answers that decode now", registry=registry)
        self.waiting = Gauge("inkling_waiting", "answers that wait for a place", registry=registry)
        self.cache_bytes = Gauge("inkling_cache_bytes", "memory of keys and values", registry=registry)
        self.step_seconds = Histogram(
            "inkling_step_seconds", "one step of the batch", registry=registry, buckets=SECONDS
        )
        self.first_token_seconds = Histogram(
            "inkling_first_token_seconds", "from a request to its first token", registry=registry, buckets=SECONDS
        )
        self.answer_seconds = Histogram(
            "inkling_answer_seconds", "from a request to its last token", registry=registry, buckets=SECONDS
        )

    def text(self) -> str:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry).decode("utf-8")
