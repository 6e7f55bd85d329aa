"""What was planned and done on several servers: the result of ``register``, ``sync`` and ``status``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gns3_minivm.agent.apply import ApplianceResult
from gns3_minivm.agent.desired import NOT_BUILT
from gns3_minivm.agent.nodes import WHAT_TO_DO, OldNode
from gns3_minivm.agent.plan import AppliancePlan, Plan
from gns3_minivm.base.errors import MiniVMError

__all__ = ["NOT_BUILT", "WHAT_TO_DO", "ServerReport", "SyncResult"]


@dataclass(frozen=True, kw_only=True)
class ServerReport:
    """What was planned and done on one server; ``results`` is empty for a dry run, ``plan`` None if it failed early.

    ``old_nodes`` is None where they were not looked for.
    """

    name: str
    url: str
    version: str = ""
    warnings: tuple[str, ...] = ()
    plan: Plan | None = None
    results: tuple[ApplianceResult, ...] = ()
    error: MiniVMError | None = None
    old_nodes: tuple[OldNode, ...] | None = None

    @property
    def failed(self) -> bool:
        conflict = self.plan is not None and bool(self.plan.conflicts)
        return self.error is not None or conflict or any(result.error for result in self.results)

    @property
    def succeeded(self) -> bool:
        """Whether anything that was asked for is in place now, or would be."""
        if self.plan is None or self.error is not None:
            return False
        if self.results:
            return any(result.error is None for result in self.results)
        return not self.plan.appliances or any(not item.conflicts for item in self.plan.appliances)

    def result_of(self, template_id: str) -> ApplianceResult | None:
        return next((result for result in self.results if result.template_id == template_id), None)

    def as_dict(self) -> dict[str, Any]:
        planned = self.plan.appliances if self.plan else ()
        removals = self.plan.leftovers if self.plan else ()
        return {
            "name": self.name,
            "url": self.url,
            "version": self.version,
            "warnings": list(self.warnings),
            "error": self.error.as_dict() if self.error else None,
            "in_step": self.plan is not None and self.plan.nothing_to_do,
            "appliances": [
                _appliance_dict(item, self.result_of(item.desired.template.template_id)) for item in planned
            ],
            "leftovers": [self._leftover_dict(item.template_id, item.name) for item in removals],
            "old_nodes": None if self.old_nodes is None else [node.as_dict() for node in self.old_nodes],
        }

    def _leftover_dict(self, template_id: str, name: str) -> dict[str, Any]:
        result = self.result_of(template_id)
        return {
            "name": name,
            "template_id": template_id,
            "outcome": result.outcome if result else "left",
            "error": result.error.as_dict() if result and result.error else None,
        }


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """``pending`` are steps without which a dry run cannot tell what follows for some appliances.

    ``errors`` are those of appliances that no server gets, by name.
    """

    servers: tuple[ServerReport, ...]
    dry_run: bool
    elapsed_s: float
    pending: tuple[str, ...] = ()
    errors: tuple[tuple[str, MiniVMError], ...] = ()

    @property
    def exit_status(self) -> int:
        """0 all done, 3 some done and some failed, 1 (2: wrong usage or configuration) all failed."""
        if not self.errors and not any(server.failed for server in self.servers):
            return 0
        if any(server.succeeded for server in self.servers):
            return 3
        kinds = {error.exit_status for _, error in self.errors}
        kinds |= {server.error.exit_status if server.error else 1 for server in self.servers if server.failed}
        return kinds.pop() if len(kinds) == 1 else 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "elapsed_s": round(self.elapsed_s, 3),
            "pending": list(self.pending),
            "errors": [{"name": name, **error.as_dict()} for name, error in self.errors],
            "servers": [server.as_dict() for server in self.servers],
        }


def _appliance_dict(item: AppliancePlan, result: ApplianceResult | None) -> dict[str, Any]:
    changes = getattr(item.template, "changes", {})
    left = getattr(item.template, "left", {})
    return {
        "name": item.desired.name,
        "template_id": item.desired.template.template_id,
        "plan": {
            "uploads": [upload.filename for upload in item.uploads],
            "template": "conflict" if item.conflicts else ACTION_WORDS[type(item.template).__name__],
            "changes": {field: {"from": old, "to": new} for field, (old, new) in changes.items()},
            "left": {field: {"server": old, "catalogue": new} for field, (old, new) in left.items()},
            "conflicts": [conflict.message for conflict in item.conflicts],
        },
        "outcome": result.outcome if result else ("conflict" if item.conflicts else "unchanged"),
        "uploaded": list(result.uploaded) if result else [],
        "error": result.error.as_dict() if result and result.error else None,
    }


ACTION_WORDS = {
    "CreateTemplate": "create",
    "AdoptTemplate": "adopt",
    "UpdateTemplate": "update",
    "Unchanged": "nothing",
}
