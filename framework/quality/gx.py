"""Great Expectations at arm's length: imported late, told to be silent, kept from Python's global settings.

Importing it takes about 2 CPU seconds and redirects warnings; using it logs on the way to results that we report ourselves.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from framework.errors import MissingExtra
from framework.imports import EarlyImport, put_off

# Imported for an expectation or two: a third of the time.
_SELDOM_USED = ("scipy.stats", "altair")


def import_gx() -> None:
    """Import Great Expectations and leave Python's warnings as they were.

    It posts usage data to its makers when a data context is made; nothing in this package makes one.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        _early.finish()
    except ImportError as exc:
        raise MissingExtra(f"checks need Great Expectations: {exc}", fix="pip install 'emrjobs[quality]'") from exc


def _import() -> None:
    showwarning = warnings.showwarning
    # Deprecations inside its own modules, and pyspark's use of distutils, met while it looks for Spark Connect. Filters
    # instead of catch_warnings, which would swap the filters of other threads too.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"great_expectations(\.|$)")
    warnings.filterwarnings("ignore", message="distutils Version classes are deprecated", category=DeprecationWarning)
    with put_off(*_SELDOM_USED):
        import great_expectations  # noqa: F401

    if warnings.showwarning is not showwarning:
        # Five of its modules call logging.captureWarnings(True).
        logging.captureWarnings(False)


_early = EarlyImport(_import)
preload = _early.begin
"""Start importing Great Expectations in the background, while the JVM computes; `import_gx` waits for it."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Great Expectations' warnings and logging while it works: its results are what counts, and they are reported."""
    log = logging.getLogger("great_expectations")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
