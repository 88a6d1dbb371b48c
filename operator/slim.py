"""Removes what operator and broker never open from an environment: run once while the image is built.

    python slim.py /opt/packages

The largest are pyarrow's other file systems, formats and servers, the service models of boto3 but for S3 and its
credentials, SQLAlchemy's tests and the databases that hold no ledger, pygments' languages but Python, and in
`kubernetes` the second, asynchronous client and the classes of every kind: its configuration alone is used.
Files that a release of a package no longer has are no error; a package that needs one of them after all fails the
image's own check.
"""

import compileall
import re
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
    "pyarrow/libarrow_s3*",
    "pyarrow/_s3fs*",
    "pyarrow/_azurefs*",
    "pyarrow/_gcsfs*",
    "pyarrow/_hdfs*",
    "pyarrow/_orc*",
    "pyarrow/_dataset_orc*",
    "pyarrow/*_parquet_encryption*",
    "pyarrow/_pyarrow_cpp_tests*",
    "sqlalchemy/testing",
    "sqlalchemy/dialects/mssql",
    "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle",
    "uvloop/**/*.pyx",
    "uvloop/**/*.pxd",
    "pygments/lexers/_*_builtins.py",
    "pygments/lexers/[a-oq-z]*",
    "pygments/lexers/p[a-x]*",
    "kubernetes/aio",
    "kubernetes/client/api/*_api.py",
    "kubernetes/client/models/v[0-9]*.py",
    "kubernetes/docs",
    "boto3/examples",
    "*/tests",
)


# Never or seldom imported: as source they work, and take half the room.
NOT_COMPILED = re.compile("/pygments/")


def slim(packages: Path) -> None:
    """Removes them below a `site-packages`; compiles what is left."""
    for pattern in UNUSED:
        for found in list(packages.glob(pattern)):
            remove(found)
    for service in (packages / "botocore" / "data").iterdir():
        if service.is_dir() and service.name not in SERVICES:
            remove(service)
    for copy in packages.glob("pyarrow/libarrow_python.so.*"):  # three copies of one library; a wheel holds no links
        copy.unlink()
        copy.symlink_to("libarrow_python.so")
    compileall.compile_dir(packages, quiet=2, rx=NOT_COMPILED, workers=0)  # some ship templates for other Pythons


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    slim(found)
