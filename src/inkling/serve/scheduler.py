"""The engine's thread: requests come in from the web, tokens go out, and the batch never waits for a client."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from inkling.errors import UserError
from inkling.infer.batch import Batch
from inkling.infer.request import Request
from inkling.infer.row import Row
from inkling.infer.sampling import Likelihood
from inkling.model.cost import kv_cache_bytes
from inkling.serve.metrics import Metrics
from inkling.serve.served import Served

# A prompt is read in pieces of CHUNK tokens, and about READS tokens are read in one step: whoever decodes waits for so
# much, and not for a whole prompt. With less at once more of the time would go into reading weights.
CHUNK = 64
READS = 128
REMEMBERED_BYTES = 2**28
"""for beginnings of prompts that were read before"""
CACHE_BYTES = 2**31
"""for all rows of the batch"""

Ended = Literal["done", "time", "failed"]


class Busy(Exception):
    """As many answers wait as may; `seconds` is a guess of when there is room."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds


@dataclass(eq=False)
class Job:
    """A request on its way. The engine's thread calls `take` for each token and `end` once, unless it is cancelled."""

    request: Request
    take: Callable[[int, Likelihood | None], None]
    end: Callable[[Ended, str], None]
    """the reason, and for `failed` what to tell the client"""
    seconds: float
    """how long it may take, from now on"""
    began: float = 0.0
    first_token: float = 0.0
    reused: int = 0
    """tokens of the prompt that were not read anew"""


class Scheduler:
    """Owns the batch. All public methods may be called from any thread."""

    def __init__(self, served: Served, metrics: Metrics, max_rows: int, max_waiting: int) -> None:
        self.served, self.metrics, self.max_waiting = served, metrics, max_waiting
        model = served.model
        in_a_row = kv_cache_bytes(model.config, bytes_per_number=model.compute_dtype.itemsize)
        self.max_rows = max(1, min(max_rows, CACHE_BYTES // in_a_row))
        self._remember = REMEMBERED_BYTES // max(1, in_a_row // model.config.block_size)
        self._batch = self._new_batch()
        self._jobs: dict[Row, Job] = {}  # the engine's thread alone touches these two
        self._seconds_of_an_answer = 1.0
        self._changed = threading.Condition()  # for what follows
        self._arrived: list[Job] = []
        self._cancelled: set[Job] = set()
        self._unfinished: set[Job] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="inkling engine", daemon=True)

    # --- from other threads ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; whoever is still there is told that it failed."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let all of them join, or none: raises Busy where too many wait."""
        with self._changed:
            before = len(self._unfinished)
            if before + len(jobs) > self.max_rows + self.max_waiting or self._is_closing:
                raise Busy(math.ceil(max(1.0, min(60.0, before / self.max_rows * self._seconds_of_an_answer))))
            now = time.monotonic()
            for job in jobs:
                job.began = now
            self._arrived += jobs
            self._unfinished.update(jobs)
            self._changed.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Forget these; their places are free at the next step. Those that have ended already are left alone."""
        with self._changed:
            self._cancelled.update(self._unfinished.intersection(jobs))
            self._changed.notify()

    @property
    def unfinished(self) -> int:
        """Answers that decode or wait."""
        return len(self._unfinished)

    # --- the engine's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._arrived or self._cancelled or self._batch.is_busy or self._is_closing):
                    self._changed.wait()
                if self._is_closing:
                    break
                arrived, self._arrived = self._arrived, []
                cancelled, self._cancelled = self._cancelled, set()
            for job in arrived:
                self._jobs[self._batch.add(job.request)] = job
            self._drop(cancelled)
            try:
                self._step()
            except Exception as error:
                self._fail(error)
            self._count()
            # The lock was free for a moment only, and whoever waits for it wakes up slower than this thread goes on.
            time.sleep(1e-4)
        self._fail(UserError("The server is shutting down."))

    def _step(self) -> None:
        began = time.monotonic()
        with self.served.lock:
            for row, token in self._batch.step():
                job = self._jobs[row]
                if not job.first_token:
                    job.first_token, job.reused = time.monotonic(), row.reused
                    self.metrics.first_token_seconds.observe(job.first_token - job.began)
                self.metrics.new_tokens.inc()
                job.take(token, row.likelihood)
        now = time.monotonic()
        self.metrics.step_seconds.observe(now - began)
        for row, job in list(self._jobs.items()):
            if row.is_done:
                self._end(row, "done")
            elif now - job.began > job.seconds:
                self._batch.cancel(row)
                never = f"No place became free within {job.seconds:g} seconds."
                self._end(row, *(("time", "") if job.first_token else ("failed", never)))

    def _drop(self, cancelled: set[Job]) -> None:
        for row in [row for row, job in self._jobs.items() if job in cancelled]:
            self._batch.cancel(row)
            self._forget(row)
            self.metrics.answers.labels("cancelled").inc()

    def _end(self, row: Row, reason: Ended, message: str = "") -> None:
        job = self._forget(row)
        seconds = time.monotonic() - job.began
        self._seconds_of_an_answer += 0.1 * (seconds - self._seconds_of_an_answer)
        self.metrics.answers.labels(reason).inc()
        self.metrics.answer_seconds.observe(seconds)
        self.metrics.prompt_tokens.inc(len(job.request.ids))
        self.metrics.reused_tokens.inc(job.reused)
        job.end(reason, message)

    def _forget(self, row: Row) -> Job:
        job = self._jobs.pop(row)
        with self._changed:
            self._unfinished.discard(job)
        return job

    def _fail(self, error: Exception) -> None:
        """Tell everybody, and begin with a new batch: the old one stopped somewhere between two states."""
        if not isinstance(error, UserError):
            logging.getLogger("inkling.serve").exception("the engine failed", exc_info=error)
        with self._changed:
            arrived, self._arrived = self._arrived, []
        for job in arrived:
            self._jobs[Row(job.request)] = job
        message = (
            error.problem if isinstance(error, UserError) else "The model failed at this. The server's log says more."
        )
        for row in list(self._jobs):
            self._end(row, "failed", message)
        self._batch = self._new_batch()

    def _count(self) -> None:
        cache = self._batch.cache
        self.metrics.running.set(sum(not row.is_done for row in self._batch.rows))
        self.metrics.waiting.set(sum(not row.is_done for row in self._batch.waiting))
        self.metrics.cache_bytes.set(2 * cache.k.numel() * cache.k.element_size())

    def _new_batch(self) -> Batch:
        return Batch(self.served.model, self.max_rows, CHUNK, READS, self._remember)
