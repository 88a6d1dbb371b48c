"""What tests of every kind may use, started by the first that asks for it: a control plane, a PostgreSQL server."""

from control_plane import admin, cluster, pytest_collection_finish
from postgres_server import postgres

__all__ = ["admin", "cluster", "postgres", "pytest_collection_finish"]
