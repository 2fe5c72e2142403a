"""An OpenAI-compatible endpoint: one request a row, several at a time, with retries and a limit.

The key comes from an environment variable and is sent, never written. A request that fails for a
time (too many, server at fault, connection lost) is sent again, after a wait that doubles; Retry-
After is obeyed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from rounds.machines.prompt import read_reply, shown_to_model
from rounds.machines.rows import Example
from stages.contract.errors import PipelineError
from stages.machines.frozen import MachineAnswer

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT = 60.0
TIMEOUT = 120.0  # seconds for one reply
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
PER_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """The price of a million tokens read and written; None: not known."""

    read: float | None = None
    written: float | None = None

    def of(self, usage: dict[str, Any]) -> float | None:
        """The cost of a request; what the endpoint itself says goes first. None: not known."""
        said = usage.get("cost")
        if isinstance(said, int | float) and not isinstance(said, bool):
            return float(said)
        if self.read is None and self.written is None:
            return None
        tokens = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
        cost = tokens[0] * (self.read or 0.0) + tokens[1] * (self.written or 0.0)
        return float(cost) / PER_MILLION


@dataclass
class Pace:
    """Requests at even distances, at most so many a minute; None: no limit."""

    per_minute: float | None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _next: float = 0.0
    _guard: Lock = field(default_factory=Lock)

    def wait(self) -> None:
        """Return when the next request may go."""
        if self.per_minute is None:
            return
        with self._guard:
            now = self.clock()
            start = max(now, self._next)
            self._next = start + 60 / self.per_minute
        if start > now:
            self.sleep(start - now)


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers, and how it is asked.

    key: "" for none; prompt: its text; digits: of its hash; tries: of one request; sleep: waits.
    """

    url: str
    model: str
    key: str
    prompt: str
    digits: str
    labels: list[str]
    prices: Prices
    pace: Pace
    tries: int = 6
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            remedy = "as https://api.example.org/v1, without /chat/completions"
            raise PipelineError("--url", f"{self.url!r} is no address of an endpoint", remedy)
        if self.key and address.scheme == "http" and address.hostname not in LOOPBACK:
            what = "a key would go unencrypted over http://"
            raise PipelineError("--url", what, "use https://, or take the key away")

    def ask(self, client: httpx.Client, example: Example) -> MachineAnswer:
        """The answer to one row. Raises PipelineError where the endpoint refuses."""
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": self.prompt},
                {"role": "user", "content": shown_to_model(example.content)},
            ],
        }
        document = self._post(client, body)
        try:
            raw = str(document["choices"][0]["message"]["content"] or "")
        except (LookupError, TypeError) as error:
            what = "the reply is not of the form of chat completions"
            raise PipelineError(self.url, what, "check the address and the model") from error
        reply = read_reply(raw, self.labels)
        return MachineAnswer(
            id=example.id,
            label=reply.label,
            confidence=reply.confidence if reply.label else None,
            probabilities=None,
            raw=raw,
            prompt=self.digits,
            model=self.model,
            version=str(document.get("system_fingerprint") or document.get("model") or ""),
            cost=self.prices.of(document.get("usage") or {}),
        )

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        address = self.url.rstrip("/") + "/chat/completions"
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        wait = FIRST_WAIT
        fault = ""
        for attempt in range(self.tries):
            if attempt:
                self.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            self.pace.wait()
            try:
                response = client.post(address, json=body, headers=headers, timeout=TIMEOUT)
            except httpx.TransportError as error:
                fault = type(error).__name__
                continue
            if response.status_code in AGAIN:
                fault = f"HTTP {response.status_code}"
                wait = max(wait, _seconds(response.headers.get("retry-after")))
                continue
            return self._document(response)
        what = f"no answer after {self.tries} tries ({fault})"
        raise PipelineError(self.url, what, "what came is kept: run the same command again later")

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        """The reply's JSON object. Raises PipelineError, without the key, for anything else."""
        if response.status_code != httpx.codes.OK:
            said = " ".join(response.text.split())[:200]
            if self.key:
                said = said.replace(self.key, "[key]")
            remedy = "check --url, --model and the key's variable (--key-env)"
            raise PipelineError(self.url, f"HTTP {response.status_code}: {said}", remedy)
        try:
            document = response.json()
        except ValueError as error:
            raise PipelineError(self.url, "the reply is no JSON", "check --url") from error
        if not isinstance(document, dict):
            raise PipelineError(self.url, "the reply is no JSON object", "check --url")
        return document


def _seconds(retry_after: str | None) -> float:
    """The seconds of a Retry-After header, at most LONGEST_WAIT; 0 for none, or a date."""
    try:
        return min(max(float(retry_after or 0), 0.0), LONGEST_WAIT)
    except ValueError:
        return 0.0
