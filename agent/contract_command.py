"""`insi-agent contract check`: whether the editor's official package can be used, and what it says.

For whoever installs it: reads files only, asks nobody, changes nothing.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError, Code
from agent.insi.operations import Operation

if TYPE_CHECKING:
    from agent.insi.contract import Package
    from agent.insi.contract.check import Difference, Fault
    from agent.insi.contract.documents import Declared

_PUBLIC = (Operation.WITH_VITALE, Operation.BY_TRAITS)


def add_words(contract: argparse.ArgumentParser) -> None:
    """`check`, as a word after `contract`."""
    words = contract.add_subparsers(required=True, metavar="MOT")
    says = "vérifier un paquet officiel avant de le désigner dans insi.contract"
    made = words.add_parser("check", help=says, description=says)
    made.add_argument("folder", type=Path, metavar="DOSSIER", help="le dossier du paquet (WSDL et XSD)")
    made.add_argument(
        "--bindings", type=Path, metavar="DOSSIER", help="les descriptions *.toml ; sinon DOSSIER/bindings s'il existe"
    )
    made.add_argument("--json", action="store_true")
    made.set_defaults(command=check)


@dataclass(frozen=True)
class _Service:
    """What is to be said of one of the five web services."""

    operation: Operation
    name: str | None = None  # of the operation that it is in the package
    file: str | None = None  # that describes it: a WSDL, or a binding
    missing: bool = False
    faults: "Sequence[Fault]" = ()
    error: AgentError | None = None  # of a binding that cannot be read
    requests_checked: bool = False
    answers_checked: bool = False
    differences: "Sequence[Difference]" = ()  # of WS_INS1 and 2, from what the agent knows

    @property
    def well(self) -> bool:
        """WS_INS3, 4 and 5 may be missing: the agent then refuses them."""
        if self.error or self.faults or any(difference.matters for difference in self.differences):
            return False
        return not (self.missing and self.operation in _PUBLIC)

    def as_json(self) -> dict[str, Any]:
        return {
            "well": self.well,
            "missing": self.missing,
            "operation": self.name,
            "file": self.file,
            "requestsChecked": self.requests_checked,
            "answersChecked": self.answers_checked,
            "error": self.error and {"code": self.error.code.value, **self.error.facts},
            "faults": [{"path": fault.path, "reason": fault.reason.value} for fault in self.faults],
            "differences": [
                {"path": one.path, "kind": one.kind.name.lower(), "ours": one.ours, "theirs": one.theirs}
                | {"matters": one.matters}
                for one in self.differences
            ],
        }

    def tell(self) -> None:
        about = f"{self.name}, décrite par {self.file}" if self.name else self.file or "-"
        if self.missing:
            about = "absente du paquet" if self.operation in _PUBLIC else "pas décrite : l'agent la refuse"
        elif self.error:
            about = (
                f"{self.error.facts.get('file')} : {self.error.facts.get('path')} : {self.error.facts.get('reason')}"
            )
        elif self.operation in _PUBLIC and not (self.faults or self.differences):
            about += ", telle que l'agent la connaît"
        print(f"[{'ok' if self.well else '!!'}] {self.operation.value} : {about}")
        for fault in self.faults:
            print(f"     {fault.path} : {fault.reason.value}")
        for one in self.differences:
            kind = one.kind.value.format(ours=one.ours, theirs=one.theirs)
            print(f"     {'' if one.matters else 'sans conséquence : '}{one.path} : {kind}")
        if self.name and not self.requests_checked:
            print("     Les demandes n'ont pas pu être comparées à leur schéma.")
        if self.name and not self.answers_checked:
            print("     Les réponses ne pourront pas être comparées à leur schéma.")


def check(parsed: argparse.Namespace) -> int:
    """0 when what the package describes can be called; 1 when something must be mended. Raises contract.unreadable."""
    from agent.insi.contract import Package, own_package

    package = Package.read(parsed.folder, own_package())
    services = _services(package, parsed.folder, parsed.bindings)
    well = all(service.well for service in services)
    if parsed.json:
        report = {
            "well": well,
            "operations": [_declared(one) for one in package.operations],
            "webServices": {service.operation.value: service.as_json() for service in services},
        }
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return 0 if well else 1
    for told in map(_declared, package.operations):
        print(f"{told['file']} : {told['name']}")
        print(f"     action   {told['action'] or '-'}")
        print(f"     demande  {told['request'] or '-'}")
        print(f"     réponse  {told['answer'] or '-'}")
    for service in services:
        service.tell()
    print("Ce paquet peut être utilisé." if well else "Ce paquet ne peut pas être utilisé tel quel.")
    return 0 if well else 1


def _services(package: "Package", folder: Path, bindings: Path | None) -> list[_Service]:
    from agent.insi.contract import bind_all, own_bindings, own_package, read_bindings
    from agent.insi.contract.check import differences

    services = []
    for operation, bound in bind_all(package, read_bindings(folder, bindings)).items():
        known = own_bindings()[operation]
        ours, theirs = own_package().called(known), package.called(known)
        apart = list(differences(known, ours, theirs)) if ours and theirs else []
        if isinstance(bound, AgentError):
            missing = bound.code is Code.CONTRACT_MISSING
            services.append(_Service(operation, missing=missing, error=None if missing else bound, differences=apart))
        elif bound.binding.placeholder:
            services.append(_Service(operation, missing=True))
        else:
            services.append(
                _Service(
                    operation,
                    name=bound.declared.name if bound.declared else None,
                    file=bound.binding.file,
                    faults=bound.faults,
                    requests_checked=bound.request_schema is not None,
                    answers_checked=bound.answer_schema is not None,
                    differences=apart,
                )
            )
    return services


def _declared(one: "Declared") -> dict[str, str | None]:
    return {
        "file": one.file,
        "name": one.name,
        "action": one.action,
        "request": one.request.name if one.request else None,
        "answer": one.answer.name if one.answer else None,
    }
