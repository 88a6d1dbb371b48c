"""`make check-rights`: the calls of the test suite against the rights that are given, in both directions.

Run after the lanes of `make test`. Each call of the platform's programs must have been allowed, by a role of ours; each
right that a role of ours gives must have been used. After a part of the suite the second half cannot be said, and the
output says so. Exit code 1: a difference, named.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audited_calls import BROKER, FOLDER, OPERATOR, PERSON, ROOT, SYSTEM, TEAM, Call
from collabspace.api import names
from collabspace.local import installation

# Kubernetes binds these to everybody who is authenticated: discovery, asking about oneself, keys of tokens.
COMMON = {
    "ClusterRole system:discovery",
    "ClusterRole system:basic-user",
    "ClusterRole system:public-info-viewer",
    "ClusterRole system:service-account-issuer-discovery",
}
PEOPLE = ("collabspace-view", "collabspace-edit", names.MEMBER_ROLE)
# By which roles people use what ours add to them.
AGGREGATED = {"ClusterRole view", "ClusterRole edit", "ClusterRole admin", f"ClusterRole {names.MEMBER_ROLE}"}
LANES = ("integration", "e2e")
Object = dict[str, Any]


@dataclass(frozen=True)
class Right:
    """One verb on one kind of thing. `place` is where it holds: everywhere when empty. `name` is any when empty."""

    who: str
    verb: str
    group: str
    resource: str
    place: str
    name: str
    role: str

    def covers(self, call: Call) -> bool:
        return (
            (self.who, self.verb, self.group, self.resource) == (call.who, call.verb, call.group, call.resource)
            and self.place in ("", call.place)
            and self.name in ("", call.name)
        )

    def __str__(self) -> str:
        where = f" in {self.place} namespaces" if self.place else ""
        what = "/".join(filter(None, (self.group, self.resource)))
        return f"{self.role} lets {self.who} {self.verb} {what} {self.name}".rstrip() + where


def granted() -> list[Right]:
    """Every single right of the operator, the broker and people, as the chart and the embedded cluster give them."""
    bodies = installation.manifests()
    roles = {(each["kind"], each["metadata"]["name"]): each for each in bodies if each["kind"].endswith("Role")}
    bound = {(OPERATOR, "ClusterRole", names.OPERATOR_TEAM_ROLE, TEAM)}
    bound |= {(PERSON, "ClusterRole", name, "") for name in PEOPLE}
    programs = {names.OPERATOR_ACCOUNT: OPERATOR, names.BROKER_ACCOUNT: BROKER}
    for body in bodies:
        if body["kind"].endswith("RoleBinding"):
            role = body["roleRef"]
            place = SYSTEM if body["kind"] == "RoleBinding" else ""
            if (role["kind"], role["name"]) in roles:
                bound |= {(programs[each["name"]], role["kind"], role["name"], place) for each in body["subjects"]}
    unbound = set(roles) - {(kind, name) for _, kind, name, _ in bound}
    if unbound:
        raise SystemExit(f"check-rights: nobody has {sorted(unbound)}: bind it, or take it out of the manifests")
    return [right for who, kind, name, place in sorted(bound) for right in _rights(roles[kind, name], who, place)]


def _rights(role: Object, who: str, place: str) -> Iterator[Right]:
    label = f"{role['kind']} {role['metadata']['name']}"
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield Right(who, verb, group, resource, place, name, label)


def compared(rights: list[Right], calls: Counter[Call]) -> tuple[list[Right], list[Call]]:
    """Rights that no call used, and calls that were let in by a role that is neither ours nor everybody's."""
    ours = COMMON | {right.role for right in rights if right.who != PERSON}
    used = [call for call in calls if call.who != PERSON or call.role in AGGREGATED]
    unused = [right for right in rights if not any(right.covers(call) for call in used)]
    return unused, [call for call in calls if call.who != PERSON and call.role not in ours]


def read(folder: Path) -> tuple[set[str], Counter[Call], list[str]]:
    """Test modules that left records, the calls of all of them, and the calls that were refused."""
    modules: set[str] = set()
    calls: Counter[Call] = Counter()
    refused: list[str] = []
    for file in sorted(folder.glob("*.json")):
        body = json.loads(file.read_text())
        modules |= set(body["modules"])
        for *fields, count in body["calls"]:
            calls[Call(*fields)] += count
        refused += body["forbidden"]
    return modules, calls, refused


def missing(modules: set[str]) -> list[str]:
    """Test modules with an API server of which there is no record."""
    wanted = {str(file.relative_to(ROOT)) for lane in LANES for file in (ROOT / "tests" / lane).rglob("test_*.py")}
    return sorted(wanted - modules)


def main() -> int:
    modules, calls, refused = read(FOLDER)
    rights = granted()
    unused, foreign = compared(rights, calls)
    absent = missing(modules)
    for line in refused:
        sys.stdout.write(f"refused: {line}\n")
    for call in foreign:
        sys.stdout.write(f"not by a right of ours but by {call.role}: {call}\n")
    if absent:
        sys.stdout.write(
            f"check-rights: {len(absent)} test modules have not run, {absent[0]} among them: of the {len(rights)} "
            f"rights {len(unused)} were not used so far, which says nothing yet. `make test` runs all\n"
        )
        unused = []
    for right in unused:
        sys.stdout.write(f"never used: {right}\n")
    faults = len(refused) + len(foreign) + len(unused)
    sys.stdout.write(
        f"check-rights: {sum(calls.values())} calls of {len(calls)} sorts in {len(modules)} test modules, "
        f"{len(rights)} rights: {len(refused)} calls refused, {len(foreign)} let in by other roles, "
        f"{len(unused)} rights never used\n"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
