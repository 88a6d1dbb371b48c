"""The chart on a real node: made once for all tests of this folder, taken down afterwards."""

from collections.abc import Iterator

import lab_node
import pytest
from lab_install import DATA, USER, VALUES, VOLUME, helm


@pytest.fixture(scope="session")
def node() -> Iterator[None]:
    """A fresh cluster of one real node that knows both images; built while it runs, since it would keep older ones."""
    if reason := lab_node.missing():
        pytest.skip(reason)
    lab_node.script("down.sh", minutes=2)  # what an interrupted run left
    lab_node.script("build.sh", minutes=30)
    lab_node.script("images.sh", minutes=10)
    try:
        lab_node.script("up.sh", minutes=10)
        for name in lab_node.SOURCES:
            lab_node.build_image(name)
        yield
    finally:
        lab_node.script("down.sh", minutes=2)


@pytest.fixture(scope="session")
def installed(node: None) -> None:
    """`helm install --wait`, as docs/install.md says."""
    lab_node.run("rm", "-rf", str(DATA))
    DATA.mkdir()
    lab_node.run("chown", f"{USER}:{USER}", str(DATA))
    lab_node.run("kubectl", "apply", "-f", "-", stdin=VOLUME)
    lab_node.run(*helm("install"), stdin=VALUES)
