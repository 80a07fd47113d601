"""The page's section about provenance: versions, commit, device and command from the manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MOST = 1000  # maximum number of characters of an entry; the manifests have the full text


def provenance_section(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The values for the template, or None if no part has a record.

    Args:
      records: part of the run folder -> its `experiments.provenance.record`, in the order of the stages.
        Missing entries are left out.
    """
    if not records:
        return None
    return {
        "environments": _grouped(records, _environment),
        "commands": _grouped(records, lambda record: str(record.get("command", ""))[:_MOST]),
        "parts": [(part, str(r.get("began", ""))[:_MOST], _seconds(r)) for part, r in records.items()],
    }


def _grouped(records: Mapping[str, Mapping[str, Any]], of: Any) -> list[tuple[str, Any]]:
    """Pairs (part names, value), one for each distinct value; the names are empty if all parts agree."""
    groups: dict[str, tuple[Any, list[str]]] = {}
    for part, record in records.items():
        value = of(record)
        if value:
            groups.setdefault(json.dumps(value), (value, []))[1].append(part)
    return [(", ".join(parts) if len(groups) > 1 else "", value) for value, parts in groups.values()]


def _environment(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts about the code and the machine of a part."""
    device, git = _mapping(record, "device"), _mapping(record, "git")
    kind = " ".join(dict.fromkeys(str(device[name]) for name in ("platform", "kind") if name in device))
    facts = {
        "commit": str(git.get("commit", "unknown, not a clone"))
        + (" with local changes" if git.get("dirty") else ""),
        "device": f"{device.get('count', 1)} x {kind}" if kind else "",
        "CPU cores": device.get("cpus"),
        "system": record.get("os"),
        "python": record.get("python"),
        **_mapping(record, "versions"),
    }
    return [(str(name)[:_MOST], str(value)[:_MOST]) for name, value in facts.items() if value]


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def _seconds(record: Mapping[str, Any]) -> str:
    seconds = record.get("seconds")
    return f"{seconds:,.1f} s" if isinstance(seconds, int | float) else ""
