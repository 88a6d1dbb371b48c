"""`collabspace-broker`: settings in, server up, every session on record at the end."""

import sys
import threading

import uvicorn
from prometheus_client import start_http_server

from collabspace.broker import metrics
from collabspace.broker.database import LedgerUnavailableError, checked
from collabspace.broker.opening import check_installed
from collabspace.broker.settings import PREFIX, BrokerSettings, SettingsError, load, split_address
from collabspace.broker.startup import Startup
from collabspace.kube import config, logs

# Short on purpose: an idle client does not answer the end of TLS, and a broken stream or upload goes on elsewhere.
GRACE_SECONDS = 5
MAX_CONNECTIONS = 2048
KEEP_ALIVE_SECONDS = 30


def main() -> None:
    """Serves until told to stop. Settings that can never be right end with one line that names the variable, and exit
    status 2; for what is missing or away it waits, and says so."""
    try:
        settings = load()
        logs.configure()
        _check(settings)
        access = config.load(settings.kubeconfig)
        _serve_metrics(settings)
    except (SettingsError, config.NoClusterError) as error:
        sys.stderr.write(f"collabspace-broker: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from None
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        server.should_exit = True

    startup = Startup(settings, access, fail)
    server = uvicorn.Server(
        uvicorn.Config(
            startup,
            host=settings.broker_host,
            port=settings.broker_port,
            ssl_context_factory=lambda _config, _default: startup.certificate.context,
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
    )
    server.run()
    if failed.is_set():
        raise SystemExit(1)


def _check(settings: BrokerSettings) -> None:
    """Raises SettingsError for what can never become right in this process."""
    check_installed(settings)
    try:
        checked(settings.broker_ledger)
    except LedgerUnavailableError as error:
        raise SettingsError(f"{PREFIX}BROKER_LEDGER: {error}") from error


def _serve_metrics(settings: BrokerSettings) -> None:
    if settings.broker_metrics is None:
        return
    host, port = split_address(settings.broker_metrics)
    metrics.prepare()
    try:
        start_http_server(port, host, metrics.REGISTRY)
    except OSError as error:
        raise SettingsError(f"{PREFIX}BROKER_METRICS: nothing can listen there ({error.strerror})") from error


if __name__ == "__main__":
    main()
