"""A language model that grades answers, behind any OpenAI-compatible endpoint: an option, as Visual-CoT is scored.

The key comes from the environment variable ``FLMM_JUDGE_KEY``; an endpoint on this machine needs none.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

import httpx
import tenacity

from flmm.errors import StepError
from flmm.progress import tracked
from flmm.sections import Judge

KEY = "FLMM_JUDGE_KEY"
ATTEMPTS = 4
TIMEOUT = 60.0  # seconds
# Seconds between attempts: 1, 2, 4.
BACKOFF: tenacity.wait.wait_base = tenacity.wait_exponential_jitter(initial=1, max=30, jitter=1)
_RETRIED = {408, 409, 425, 429}
_SCORE = re.compile(r"score\W{0,4}([01](?:\.\d+)?|\.\d+)(?![\d.]*\d)", re.IGNORECASE)
_SYSTEM = (
    "You compare a model's answer to a question about a picture with the right answer. Give a score from 0 (wrong) to "
    "1 (means the same), and nothing but the line `score: <number>`."
)


class _Busy(Exception):
    """The endpoint could not be reached or is overloaded: worth another attempt."""


def graded(rows: Sequence[dict[str, Any]], judge: Judge, description: str) -> list[dict[str, Any]]:
    """The rows of a table of thoughts with ``grade``; equal answers to one question are asked about once.

    Raises:
        StepError: the endpoint does not answer, or refuses (names it and says what to do).
    """
    known: dict[tuple[str, str, str], float] = {}
    with httpx.Client(timeout=TIMEOUT) as client:
        for row in tracked(rows, f"{description}: judge"):
            key = (row["text"], row["label"], row["answer"])
            if key not in known:
                known[key] = _grade(client, judge, *key)
    return [{**row, "grade": known[row["text"], row["label"], row["answer"]]} for row in rows]


def score_in(reply: str) -> float:
    """The score in a reply; 0 where there is none, as upstream counts it."""
    found = _SCORE.search(reply)
    return min(1.0, float(found.group(1))) if found else 0.0


def _grade(client: httpx.Client, judge: Judge, question: str, label: str, answer: str) -> float:
    url = f"{judge.url.rstrip('/')}/chat/completions"
    asked = f"Question: {question}\nRight answer: {label}\nThe model's answer: {answer}"
    body = {
        "model": judge.model,
        "temperature": 0,
        "max_tokens": 20,
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": asked}],
    }
    key = os.environ.get(KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Busy),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=BACKOFF,
        reraise=True,
    )
    try:
        return score_in(attempts(_reply, client, url, body, headers))
    except _Busy as error:
        raise StepError(
            f"{url}: the judge does not answer ({error}; {ATTEMPTS} attempts); run again when it does, or empty "
            "evaluate.thoughts.judge in params.yaml to go without"
        ) from error


def _reply(client: httpx.Client, url: str, body: dict[str, Any], headers: dict[str, str]) -> str:
    """What the model said.

    Raises:
        _Busy: worth another attempt.
        StepError: not so: the endpoint refuses, or is none.
    """
    try:
        response = client.post(url, json=body, headers=headers)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise _Busy(str(error) or type(error).__name__) from error
    if response.status_code in _RETRIED or response.status_code >= 500:
        raise _Busy(f"status {response.status_code}")
    if response.is_error:
        hint = f"; is {KEY} set?" if response.status_code in (401, 403) else ""
        raise StepError(
            f"{url}: the judge refuses (status {response.status_code}{hint}); check evaluate.thoughts.judge in "
            "params.yaml"
        )
    try:
        return str(response.json()["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError) as error:
        raise StepError(
            f"{url}: not the reply of an OpenAI-compatible endpoint; check evaluate.thoughts.judge in params.yaml"
        ) from error
