"""Where the API server is and how to speak to it; kubeconfig, in-cluster and exec plugins by the kubernetes package."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from kubernetes import client as generated
from kubernetes import config as loader


class NoClusterError(Exception):
    """No usable cluster configuration was found."""


@dataclass(frozen=True)
class Access:
    """A server, a way to trust it and a way to be known to it.

    `authorization` is asked anew for every request, since tokens rotate; raises aiohttp.ClientOSError when it
    cannot be had.
    """

    server: str
    ssl: ssl.SSLContext | None
    authorization: Callable[[], str | None]
    namespace: str
    ca_file: str | None
    cert_file: str | None
    key_file: str | None

    def session(self, limit: int = 32) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.ssl if self.ssl is not None else False, limit=limit)
        return aiohttp.ClientSession(connector=connector)


def load(kubeconfig: Path | None = None, context: str | None = None) -> Access:
    """Access from the given kubeconfig, else KUBECONFIG or ~/.kube/config, else the pod's own account.

    Raises NoClusterError with the remedy.
    """
    configuration = generated.Configuration()
    namespace = "default"
    try:
        try:
            loader.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=configuration,
            )
            namespace = _context_namespace(kubeconfig, context)
        except loader.ConfigException:
            if kubeconfig is not None or context is not None:
                raise
            loader.load_incluster_config(client_configuration=configuration)
    except (loader.ConfigException, OSError) as error:
        raise NoClusterError(
            f"no cluster to talk to: {str(error).rstrip('.')}. "
            "Start one with `collabspace local up`, or set KUBECONFIG."
        ) from error
    return _access(configuration, namespace)


def _context_namespace(kubeconfig: Path | None, context: str | None) -> str:
    contexts, active = loader.list_kube_config_contexts(config_file=str(kubeconfig) if kubeconfig else None)
    chosen = next((entry for entry in contexts if entry["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def _access(configuration: generated.Configuration, namespace: str) -> Access:
    context: ssl.SSLContext | None = None
    if configuration.host.startswith("https"):
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, configuration.key_file)

    def authorization() -> str | None:
        # The loaders keep it under the first name, and read a pod's token file again when it is a minute old.
        try:
            token: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except (loader.ConfigException, OSError) as error:
            raise aiohttp.ClientOSError(f"the account's token cannot be read: {error}") from error
        return token

    return Access(
        server=configuration.host.rstrip("/"),
        ssl=context,
        authorization=authorization,
        namespace=namespace,
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
    )
