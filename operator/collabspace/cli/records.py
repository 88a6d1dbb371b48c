"""The ledger read and verified at the broker, printed as rows."""

import contextlib
import datetime as dt
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO

import click

from collabspace.api import names
from collabspace.cli.broker import answers_explained, connect
from collabspace.cli.cluster import Cluster, run
from collabspace.cli.errors import CommandError, command
from collabspace.cli.lineage import Lineage
from collabspace.cli.options import Where
from collabspace.cli.output import Cell, nothing_found, plain, print_document, print_table, short, size
from collabspace.client.client import BrokerClient
from collabspace.client.protocol import ChainVerdict, Decision, LedgerRecord
from collabspace.kube.client import KubeError

PAGE = 500
Reference = tuple[str | None, str]
HEADERS = ("TIME", "EVENT", "DECISION", "REASON", "NAMESPACE", "CLAIMED BY", "TASK", "DATASET", "USE", "GRANT", "BYTES")
WIDE_HEADERS = ("VERSION", "ACCOUNT", "POD", "CHAIN", "HASH")


@dataclass(frozen=True)
class Choice:
    """Which records: None and False choose all. A reference is the namespace, if one was given, and the name."""

    dataset: Reference | None
    task: Reference | None
    denied: bool
    limit: int


def show(where: Where, choice: Choice, output: str | None) -> None:
    """Prints the newest records that fit. Raises CommandError when the namespace never had the dataset."""
    own = _own(where, choice.dataset)
    with connect(where, names.READER_ACCOUNT) as client, answers_explained():
        chosen = (each for each in pages(client, own) if _fits(each, choice))
        records = list(itertools.islice(chosen, choice.limit))
        # Records outlive their dataset, so only a name without any is looked up.
        if own and not records and not client.ledger(limit=1, dataset=own).records:
            run(where, lambda cluster: _check_known(cluster, own))
    if output in ("json", "yaml"):
        print_document([record.model_dump(mode="json", by_alias=True) for record in records], output)
    elif not records:
        nothing_found(where.namespace)
    else:
        wide = output == "wide"
        print_table(HEADERS + WIDE_HEADERS if wide else HEADERS, [record_row(record, wide=wide) for record in records])


def _own(where: Where, dataset: Reference | None) -> str | None:
    """Name of a dataset of the namespace that the command acts in; None: another's, or none was given."""

    async def acting_in(cluster: Cluster) -> str:
        return cluster.namespace

    if dataset is None:
        return None
    owner, name = dataset
    return name if owner is None or owner == run(where, acting_in) else None


async def _check_known(cluster: Cluster, dataset: str) -> None:
    """Raises CommandError when there is no such dataset, as far as the person may know."""
    try:
        await cluster.find(names.SHARED_DATASETS, dataset)
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise


def pages(client: BrokerClient, dataset: str | None) -> Iterator[LedgerRecord]:
    """Every record that the caller may see, newest first, read as far as it is asked for."""
    before: int | None = None
    while True:
        page = client.ledger(before=before, limit=PAGE, dataset=dataset)
        yield from page.records
        if page.next is None:
            return
        before = page.next


def _fits(record: LedgerRecord, choice: Choice) -> bool:
    if choice.denied and record.decision is not Decision.DENIED:
        return False
    return _is(record.task, choice.task) and _is(record.dataset, choice.dataset)


def _is(recorded: str | None, wanted: Reference | None) -> bool:
    if wanted is None:
        return True
    owner, _, name = (recorded or "").rpartition("/")
    return wanted in ((owner, name), (None, name))


def record_row(record: LedgerRecord, *, wide: bool = False) -> tuple[Cell, ...]:
    """One record as cells of HEADERS, and of WIDE_HEADERS."""
    style = "red" if record.decision is Decision.DENIED else "green"
    attempt = f" ({record.attempt})" if record.attempt else ""
    row: tuple[Cell, ...] = (
        record.time,
        record.event,
        (record.decision.value, style),
        record.reason,
        record.namespace,
        record.claimed_by or "-",
        f"{record.task}{attempt}" if record.task else "-",
        record.dataset or "-",
        record.use or "-",
        record.grant or "-",
        "-" if record.bytes is None else size(record.bytes),
    )
    if not wide:
        return row
    return (*row, short(record.version), record.account, record.pod or "-", record.chain, record.hash[:12])


def verify(where: Where, wanted: Reference | None, output: str | None) -> None:
    """Prints the verdict on every chain in sight, or on that of the dataset. Raises CommandError when one is broken."""
    dataset = _own(where, wanted)
    if wanted and not dataset:
        owner, name = wanted
        what = f"the chain of {owner}/{name} is its owner's"
        raise CommandError(what, f"Check it there: {command(f'ledger verify {name} -n {owner}')}.")
    found = run(where, lambda cluster: _datasets(cluster, dataset))
    with connect(where, names.READER_ACCOUNT) as client, answers_explained():
        verdict = client.verify_ledger()
    chains = [chain for chain in verdict.chains if dataset is None or chain.chain in found]
    chains += _vanished({uid: head for uid, (_, head) in found.items() if head}, chains)
    if output:
        print_document([chain.model_dump(mode="json", by_alias=True) for chain in chains], output)
    elif chains:
        rows = [_chain_row(chain, found.get(chain.chain, ("-", ""))[0]) for chain in chains]
        print_table(("DATASET", "CHAIN", "RECORDS", "VERDICT", "HEAD"), rows)
    elif dataset:
        click.echo(f"Dataset {dataset} has no record yet: nobody asked for it and nothing was pushed.", err=True)
    broken = [chain for chain in chains if not chain.ok]
    if broken:
        named = "; ".join(f"chain {chain.chain}: {plain(chain.problem or 'broken')}" for chain in broken)
        raise CommandError(
            f"the ledger was changed: {named}", "Compare with a backup, and ask who has access to its database."
        )


def _vanished(heads: dict[str, str], chains: list[ChainVerdict]) -> list[ChainVerdict]:
    """A verdict on every chain of which the dataset's own status knows a head and the ledger nothing at all."""
    problem = "record 1: removed; the dataset's status shows a head, and the ledger has no record of it"
    lost = heads.keys() - {chain.chain for chain in chains}
    return [ChainVerdict(chain=uid, records=0, ok=False, head=heads[uid], problem=problem) for uid in sorted(lost)]


async def _datasets(cluster: Cluster, only: str | None) -> dict[str, tuple[str, str]]:
    """The namespace's datasets by uid, which names their chains: name, and head of the chain as their status shows it.

    `only`: one of them, which must be there.
    """
    if only:
        items = [await cluster.find(names.SHARED_DATASETS, only)]
    else:
        items = await cluster.every(names.SHARED_DATASETS)
    return {item["metadata"]["uid"]: (item["metadata"]["name"], _head(item)) for item in items}


def _head(item: dict[str, Any]) -> str:
    usage = (item.get("status") or {}).get("usage") or {}
    return str(usage.get("ledgerHead") or "")


def _chain_row(chain: ChainVerdict, dataset: str) -> tuple[Cell, ...]:
    verdict: Cell = ("intact", "green") if chain.ok else (f"BROKEN: {chain.problem or ''}", "bold red")
    return dataset, chain.chain, str(chain.records), verdict, chain.head[:12]


def export(where: Where, form: str, since: dt.datetime | None, file: Path | None) -> None:
    """Writes every record in sight, or the run events that they make, as lines; a file is there whole or not at all."""
    lineage = Lineage()
    with connect(where, names.READER_ACCOUNT) as client, answers_explained(), _lines_to(file) as lines:
        for record in onward(client, since):
            document = record.model_dump(mode="json", by_alias=True) if form == "jsonl" else lineage.event(record)
            if document is not None:
                lines.write(json.dumps(document, separators=(",", ":")) + "\n")


def onward(client: BrokerClient, since: dt.datetime | None) -> Iterator[LedgerRecord]:
    """Every record that the caller may see, oldest first, a page at a time."""
    moment = None if since is None else since.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    after: int | None = 0
    while after is not None:
        page = client.ledger_onward(after, PAGE, moment)
        yield from page.records
        after = page.next


@contextlib.contextmanager
def _lines_to(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8") as lines:
            yield lines
        part.replace(file)
    except OSError as error:
        raise CommandError(
            f"--output {file}: {error.strerror or error}", "Name a file in a folder of yours."
        ) from error
    finally:
        part.unlink(missing_ok=True)
