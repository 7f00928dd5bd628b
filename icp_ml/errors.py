"""One tree of errors: each says what was expected, what was found and what to do.

The facts behind a message are attributes of the error, so that a job can act on them without reading text.
"""

from __future__ import annotations

from icp_ml.redact import without_secrets
from icp_ml.visible import visible


class IcpError(Exception):
    """Root of every error this package raises on purpose.

    Parameters
    ----------
    message
        One sentence or more: expected, found (value, count, at most five ids), what to do. Passwords and
        tokens in it are hidden.
    **facts
        What the message is made of; kept in ``facts`` and readable as attributes.

    Examples
    --------
    >>> error = IcpError("expected 2 tables, found 1: add accounts.csv", missing=["accounts"])
    >>> error.missing
    ['accounts']
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(visible(without_secrets(message)))
        self.facts = {
            name: without_secrets(fact) if isinstance(fact, str) else fact for name, fact in facts.items()
        }

    def __getattr__(self, name: str) -> object:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class ConfigError(IcpError):
    """A setting is unknown, of the wrong type or out of its range."""


class ParameterError(ConfigError, ValueError):
    """An argument of a function is of the wrong type or out of its range."""


class TableError(IcpError):
    """A whole table can't be used: a column is missing, of the wrong type, or the table is empty."""


class RelationError(TableError):
    """Tables don't belong together, such as subscriptions of which no account is known."""


class LeakageError(IcpError):
    """A feature knows the outcome."""


class NotEnoughDataError(IcpError):
    """There are too few accounts, events or finished horizons to say anything."""


class InputMismatchError(IcpError):
    """What is to be scored doesn't have the columns or types the model was trained on."""


class InputValueError(InputMismatchError, ValueError, TypeError):
    """A matrix or an outcome can't be used; also what scikit-learn's conventions ask for."""


class BundleError(IcpError):
    """A saved model can't be read: not a bundle, another format, or damaged."""


class OutputError(IcpError):
    """A file or folder can't be written: no room, no right, not ours, or held by another job."""


class TrackingError(IcpError):
    """The model registry refused or is in a state that can't be continued."""


class MissingDependencyError(IcpError):
    """An optional library is needed for what was asked."""


class IcpWarning(UserWarning):
    """Root of every warning this package issues."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*(visible(part) if isinstance(part, str) else part for part in parts))


class DataWarning(IcpWarning):
    """The data can be used, but something in them limits what may be said."""


class LeakageWarning(DataWarning):
    """Columns were left out of a fit because they seem to know the outcome; counted and named in the text."""


class InputWarning(IcpWarning):
    """Scoring met unseen categories, unseen tools or missing optional columns; counted in the text."""


class OutputWarning(IcpWarning):
    """Something was written in another form than it was given; counted in the text."""
