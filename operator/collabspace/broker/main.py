"""`collabspace-broker`: settings in, server up, every session on record at the end."""

import logging
import sys

import uvicorn
from prometheus_client import start_http_server

from collabspace.broker.app import asgi
from collabspace.broker.custody import all_owners
from collabspace.broker.ledger import Ledger, LedgerUnavailableError
from collabspace.broker.opening import open_store
from collabspace.broker.parts import Parts
from collabspace.broker.settings import BrokerSettings, SettingsError, load, split_address
from collabspace.kube import config, logs
from collabspace.kube.client import KubeClient

logger = logging.getLogger(__name__)
# Short on purpose: an idle client does not answer the end of TLS, and a broken stream or upload goes on elsewhere.
GRACE_SECONDS = 5
MAX_CONNECTIONS = 2048
KEEP_ALIVE_SECONDS = 30


def main() -> None:
    """Serves until told to stop. Wrong settings end with one line that names the variable, and exit status 2."""
    try:
        settings = load()
        logs.configure()
        parts = _parts(settings)
    except (SettingsError, config.NoClusterError, LedgerUnavailableError, OSError) as error:
        sys.stderr.write(f"collabspace-broker: {_line(error)}\n")
        raise SystemExit(2) from None
    if settings.broker_metrics is not None:
        host, port = split_address(settings.broker_metrics)
        start_http_server(port, host)
    uvicorn.Server(
        uvicorn.Config(
            asgi(parts),
            host=settings.broker_host,
            port=settings.broker_port,
            ssl_certfile=str(settings.broker_tls_cert),
            ssl_keyfile=str(settings.broker_tls_key),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    ).run()


def _parts(settings: BrokerSettings) -> Parts:
    access = config.load(settings.kubeconfig)
    try:
        ledger = Ledger(settings.broker_ledger, password_file=settings.broker_ledger_password_file)
    except LedgerUnavailableError as error:
        raise SettingsError(f"COLLABSPACE_BROKER_LEDGER: the ledger cannot be opened or written ({error})") from error
    opened = open_store(settings, len(all_owners(ledger)))
    return Parts(settings, KubeClient(access), ledger, opened.store, opened.enforcement)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
