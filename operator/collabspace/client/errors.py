"""What can go wrong between a caller and the broker: one family, so that a caller can catch it whole."""


class BrokerError(Exception):
    """The broker refused the request as it stands. `reason` is a CamelCase word, `status` the HTTP status (0: none)."""

    def __init__(self, reason: str, message: str, status: int = 0) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.status = status


class AccessRefused(BrokerError):
    """No grant allows it, or there is no such thing: the broker does not say which."""


class BrokerUnavailable(BrokerError):
    """The broker could not be reached, or could not decide, for as long as the client was told to be patient."""
