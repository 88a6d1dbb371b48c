"""Removes from an environment what the operator and the broker never open: run once while the image is built.

    python slim.py /opt/collabspace

The largest are pyarrow's other file systems and servers, the service models of boto3 but for S3 and its credentials,
and the second, asynchronous client in `kubernetes`. Files that a release of a package no longer has are no error; a
package that needs one of them after all fails the image's own check.
"""

import shutil
import sys
from pathlib import Path

SERVICES = {"s3", "sts", "sso", "sso-oidc", "signin"}
UNUSED = (
    "pyarrow/include",
    "pyarrow/tests",
    "pyarrow/src",
    "pyarrow/**/*.pxd",
    "pyarrow/**/*.pxi",
    "pyarrow/**/*.pyx",
    "pyarrow/**/*.h",
    "pyarrow/libarrow_flight*",
    "pyarrow/libarrow_python_flight*",
    "pyarrow/_flight*",
    "pyarrow/libarrow_substrait*",
    "pyarrow/_substrait*",
    "kubernetes/aio",
    "kubernetes/docs",
    "boto3/examples",
    "*/tests",
)


def slim(packages: Path) -> None:
    """Removes them below a `site-packages`."""
    for pattern in UNUSED:
        for found in list(packages.glob(pattern)):
            remove(found)
    for service in (packages / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            remove(service)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    slim(found)
