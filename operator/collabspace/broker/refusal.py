"""How the broker says no: a reason and the remedy; for all that is forbidden or missing one same answer."""

from http import HTTPStatus
from typing import Final

ACCESS_REFUSED: Final = "AccessRefused"
ACCESS_REFUSED_MESSAGE: Final = (
    "there is no such thing, or nothing allows this caller to use it in this way; "
    "the owner of the data can grant it: kubectl collab grants add"
)


class Refused(Exception):
    """The request cannot be served as it stands; the caller may be told why."""

    def __init__(self, status: HTTPStatus, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Undecided(Refused):
    """The broker could not find out: never a yes, and not a no either. The caller comes back."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, reason, message, retry_after=2)


def too_many(message: str) -> Refused:
    """The caller goes beyond its share; it may come back in a moment."""
    return Refused(HTTPStatus.TOO_MANY_REQUESTS, "RateLimited", message, retry_after=1)


def session_over() -> Refused:
    """The client opens another, and hears of a refusal there."""
    return Refused(HTTPStatus.NOT_FOUND, "SessionUnknown", "this session is over; open it again")
