"""Posting to a webhook whose URL is a secret: bounded, patient with a busy server, and silent about the URL."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from journeys_dagster.settings import AlertSettings

_MOST_SECONDS = 40.0
"""Over all attempts; Dagster gives a sensor's tick sixty."""
_FIRST_WAIT_SECONDS = 0.5
_WORTH_ANOTHER_ATTEMPT = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Delivery:
    """How posting went.

    Attributes
    ----------
    delivered : bool
    outcome : str
        The message; names neither the URL nor its host.
    attempts : int
    """

    delivered: bool
    outcome: str
    attempts: int


def webhook_is_set(settings: AlertSettings) -> bool:
    """Whether a webhook is set."""
    return bool(os.environ.get(settings.webhook_variable, "").strip())


def post(settings: AlertSettings, message: Mapping[str, Any]) -> Delivery:
    """Post a message as JSON; what goes wrong is reported, never raised.

    A failed connection, no answer in time, a 5xx, 408, 425 or 429 is tried again with doubling waits, or as long as
    ``Retry-After`` says. Redirects are not followed: a message must not end up elsewhere.
    """
    import requests

    # At a lower level it would log the URL's path.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.WARNING)
    url = os.environ.get(settings.webhook_variable, "").strip()
    deadline = time.monotonic() + _MOST_SECONDS
    outcome = ""
    for attempt in range(1, settings.retries + 2):
        wait = _FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
        try:
            # Only the status counts; a body without end is not read.
            with requests.post(
                url, json=dict(message), timeout=settings.timeout_seconds, allow_redirects=False, stream=True
            ) as response:
                status, retry_after = response.status_code, response.headers.get("Retry-After", "")
        except (requests.ConnectionError, requests.Timeout) as error:
            outcome = f"no answer ({type(error).__name__})"
        # The other errors are about the URL or headers, and their text holds the URL.
        except (requests.RequestException, ValueError) as error:
            return Delivery(False, f"{settings.webhook_variable} holds no usable URL ({type(error).__name__})", attempt)
        else:
            if 200 <= status < 300:
                return Delivery(True, f"delivered (HTTP {status})", attempt)
            outcome = f"HTTP {status}"
            if status not in _WORTH_ANOTHER_ATTEMPT:
                return Delivery(False, outcome, attempt)
            if retry_after.isdecimal():
                wait = float(retry_after)
        if attempt > settings.retries or time.monotonic() + wait + settings.timeout_seconds > deadline:
            return Delivery(False, f"{outcome} after {attempt} attempts", attempt)
        time.sleep(wait)
    raise AssertionError("the last attempt returns")
