"""The official Kaggle client: imported late, signed in, kept quiet, its errors in the house's form.

What it is asked goes through `Session.ask`, which waits and tries again where Kaggle says "too many requests", and
takes the user's secrets out of all that is said. No token is ever written by this package; the client itself keeps what
`kaggle auth login` gave it in its own folder.
"""

import base64
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import count
from time import sleep
from typing import Any, NoReturn

from unets.config import DatasetConfig
from unets.errors import InputError
from unets.log import format_duration

logger = logging.getLogger(__name__)

_TRIES = 6  # of a request that may be repeated: some 2, 4, 8, 16, 32 s apart, a minute in all
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 300.0  # that Kaggle may ask for; above it, the user is told
_TOO_MANY, _OVERLOADED = 429, (502, 503, 504)
# The client prints whole requests, credentials among them, where one of these is set, for whatever program it was.
_LOUD = ("VERBOSE", "VERBOSE_OUTPUT")
_SETTINGS = "https://www.kaggle.com/settings/api"


class Session:
    """A signed-in client (`api`, Kaggle's KaggleApi), and the competition that it is asked about.

    It signs in with the first credentials that it finds: KAGGLE_API_TOKEN (a token, or a file that holds one),
    ~/.kaggle/access_token; KAGGLE_USERNAME and KAGGLE_KEY, kaggle.json; what `kaggle auth login` left. Raises
    InputError where the client is not installed, there are no credentials, or Kaggle refuses them.
    """

    def __init__(self, competition: str) -> None:
        self.competition = competition
        self._secrets = tuple(filter(None, (os.environ.get(name) for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN"))))
        self.api = self._import_client().KaggleApi()
        try:
            with self._keep_quiet():
                self.api.authenticate()
        except SystemExit as error:  # it prints how to make a token, and ends the process
            is_unknown = "KAGGLE_API_TOKEN" in os.environ
            received = "a token in KAGGLE_API_TOKEN, which Kaggle does not know" if is_unknown else "none"
            raise InputError(
                "Kaggle must know who asks: KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or "
                f"~/.kaggle/kaggle.json (a token is made at {_SETTINGS}), or `kaggle auth login`. Received: {received}"
            ) from error
        except Exception as error:
            self._refuse(error)
        self._secrets = _list_secrets(self.api.config_values, self._secrets)

    @property
    def user(self) -> str:
        """The name of the account."""
        return str(self.api.config_values[self.api.CONFIG_NAME_USER])

    @property
    def is_quiet(self) -> bool:
        """Whether the client shall show no progress bars: where nobody watches them."""
        return not sys.stderr.isatty()

    def ask(self, name: str, *args: Any, repeat: bool = True, absent: tuple[int, ...] = (), **options: Any) -> Any:
        """Calls one of the client's functions, and again after a while where Kaggle is busy or cannot be reached.

        Where `repeat` is False it must not be done twice. None is returned for the HTTP statuses of `absent`, by which
        Kaggle says that there is no such thing. Raises InputError where Kaggle refuses, or cannot be reached; says what
        to do.
        """
        for attempt in count(1):
            try:
                with self._keep_quiet():
                    return getattr(self.api, name)(*args, **options)
            except Exception as error:
                if _find_status(error) in absent:
                    return None
                wait_s = _find_wait(error, attempt) if repeat else None
                if wait_s is None:
                    self._refuse(error)
                logger.info("%s; once more in %s", self.hide(error), format_duration(wait_s))
                sleep(wait_s)

    def hide(self, said: object) -> str:
        """Returns a text without the user's secrets."""
        text = str(said)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\")]+", r"\1?***", text)  # a signed address opens what it names

    @contextmanager
    def _keep_quiet(self) -> Iterator[None]:
        """Sends what is printed in the block to the debug log, without secrets."""
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                yield
        finally:
            for line in said.getvalue().splitlines():
                if line.strip():
                    logger.debug("kaggle: %s", self.hide(line))

    def _import_client(self) -> Any:
        hidden = {name: os.environ.pop(name) for name in _LOUD if name in os.environ}
        try:
            with self._keep_quiet():  # importing signs in, and says so where it cannot
                return importlib.import_module("kaggle.api.kaggle_api_extended")
        except ImportError as error:
            wanted = "The package kaggle must be installed: `pip install '.[kaggle]'`"
            raise InputError(f"{wanted}. Received: {error}") from error
        finally:
            os.environ.update(hidden)

    def _refuse(self, error: Exception) -> NoReturn:
        """Raises InputError where Kaggle refused a request, could not be reached, or the client did not like what it
        was given; else the error itself.
        """
        status, page = _find_status(error), f"https://www.kaggle.com/competitions/{self.competition}"
        if status == 403:
            is_about_it = "/competitions." in error.response.url  # type: ignore[attr-defined]
            wanted = f"Kaggle must allow this{f': accept the rules at {page}/rules' if is_about_it else ''}"
        elif status is not None:
            wanted = {
                401: f"Kaggle must accept the credentials; new ones: {_SETTINGS}",
                404: f"Kaggle must know what is asked for, of {page}",
                _TOO_MANY: "Kaggle must take more requests; try again later",
            }.get(status, "Kaggle must accept the request")
        elif _is_network(error):
            wanted = "Kaggle must be within reach"
        elif isinstance(error, ValueError) and not isinstance(error, InputError):
            wanted = "Kaggle's client must accept what it is given"
        else:
            raise error
        raise InputError(f"{wanted}. Received: {self.hide(error)}") from None


def find_competition(dataset: DatasetConfig, source: object) -> str:
    """Returns the competition's name at Kaggle; raises InputError where its config, in `source`, has none."""
    if dataset.kaggle is None:
        raise InputError(f"`kaggle` in {source}/dataset.py must name the competition at Kaggle. Received: None")
    return dataset.kaggle


def _find_status(error: Exception) -> int | None:
    """Returns the HTTP status that a request ended with, if it is that."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _find_wait(error: Exception, attempt: int) -> float | None:
    """Returns the seconds after which a request may be tried again; None where that would not help."""
    if attempt == _TRIES:
        return None
    status, wait_s = _find_status(error), _FIRST_WAIT_S * 2.0 ** (attempt - 1)
    if status == _TOO_MANY:
        asked = str(error.response.headers.get("Retry-After", ""))  # type: ignore[attr-defined]
        wait_s = max(wait_s, float(asked)) if asked.isdecimal() else wait_s
        return wait_s if wait_s <= _LONGEST_WAIT_S else None
    return wait_s if status in _OVERLOADED or (status is None and _is_network(error)) else None


def _is_network(error: Exception) -> bool:
    """Tells whether a request met no answer, or a broken one."""
    requests, urllib3 = (importlib.import_module(name) for name in ("requests.exceptions", "urllib3.exceptions"))
    broken = (requests.ConnectionError, requests.Timeout, requests.ChunkedEncodingError, urllib3.HTTPError)
    return isinstance(error, broken)


def _list_secrets(values: dict[str, str], given: tuple[str, ...]) -> tuple[str, ...]:
    """Returns all that must not be said: tokens and keys, and how they travel."""
    secrets = {*given, *filter(None, (values.get(name) for name in ("key", "token")))}
    user = values.get("username", "")
    secrets |= {base64.b64encode(f"{user}:{secret}".encode()).decode() for secret in tuple(secrets)}
    return tuple(sorted((secret for secret in secrets if len(secret) > 7), key=len, reverse=True))
