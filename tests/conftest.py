"""What tests of every kind may use: a PostgreSQL server, started by the first test that asks for it."""

from postgres_server import postgres

__all__ = ["postgres"]
