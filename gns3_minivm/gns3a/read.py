"""Reads ``.gns3a`` files, also damaged and hostile ones: everything wrong with one is a ConfigError that names it.

Registry versions 1 to 8.  Not supported: emulators other than QEMU, images inside archives (``name.ova/disk.vmdk``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.base.plurals import counted
from gns3_minivm.gns3a.model import RECORD, RECORD_FORMAT, REGISTRY_VERSIONS_READ, ApplianceFile, legible

SIZE_MAX = 4 << 20
"""The largest file in GNS3's own registry has a hundredth of this."""
_EMULATORS = ("docker", "iou", "dynamips", "virtualbox", "vmware", "vpcs")
_MISTAKES_SHOWN = 5
_HINT = "docs/use/gns3a.md says what import accepts; the GNS3 GUI imports other appliances."


def read_gns3a(path: Path) -> ApplianceFile:
    """The appliance in a file.  Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_gns3a(path, data)


def parse_gns3a(path: Path, data: bytes) -> ApplianceFile:
    """The same for bytes that have already been read."""
    values = _document(path, data)
    if isinstance(values.get("settings"), list):
        values = _flattened(path, values)
    if "qemu" not in values:
        kind = next((kind for kind in _EMULATORS if kind in values), "")
        found = f"is an appliance for {kind}" if kind else "has no settings for QEMU (the key 'qemu')"
        raise ConfigError(f"{path} {found}; only QEMU appliances can be imported", hint=_HINT)
    if RECORD in values and not _is_known(values[RECORD]):
        # Of a later release: the file itself is GNS3's and can be read all the same.
        values = {key: value for key, value in values.items() if key != RECORD}
    try:
        return ApplianceFile.model_validate(values)
    except ValidationError as error:
        mistakes = [_words(mistake) for mistake in error.errors(include_url=False, include_context=False)]
        shown = list(dict.fromkeys(mistakes))
        more = f" (and {counted(len(shown) - _MISTAKES_SHOWN, 'more mistake')})" if len(shown) > _MISTAKES_SHOWN else ""
        raise ConfigError(f"{path}: {'; '.join(shown[:_MISTAKES_SHOWN])}{more}", hint=_HINT) from error


def _document(path: Path, data: bytes) -> dict[str, Any]:
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{path} is not an appliance file: it has more than {SIZE_MAX >> 20} MiB", hint=_HINT)
    try:
        values = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not an appliance file: not UTF-8 text (byte {error.start})", hint=_HINT
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is not an appliance file: its values are nested too deeply", hint=_HINT) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not an appliance file: not JSON ({error})", hint=_HINT) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not an appliance file: not a JSON object but {type(values).__name__}", hint=_HINT)
    version = values.get("registry_version")
    if type(version) is not int:
        raise ConfigError(f"{path} is not an appliance file: it has no registry_version", hint=_HINT)
    if version not in REGISTRY_VERSIONS_READ:
        raise ConfigError(
            f"{path} has the registry_version {version}; import reads {REGISTRY_VERSIONS_READ[0]} to "
            f"{REGISTRY_VERSIONS_READ[-1]}",
            hint=_HINT,
        )
    return values


def _refuse(constant: str) -> Any:
    raise ValueError(f"the number {constant}")


def _is_known(record: Any) -> bool:
    return isinstance(record, dict) and record.get("format") == RECORD_FORMAT


def _flattened(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """A file of registry version 8, with the settings of its default, or first, set where older ones have them."""
    sets = [item for item in values["settings"] if isinstance(item, dict)]
    chosen = next((item for item in sets if item.get("default") is True), sets[0] if sets else {})
    kind = chosen.get("template_type") or chosen.get("emulator_type")
    properties = chosen.get("template_properties") or chosen.get("emulator_properties")
    versions = values.get("versions")
    named = (
        {item.get("settings") for item in versions if isinstance(item, dict)} if isinstance(versions, list) else set()
    )
    if named - {None, chosen.get("name")}:
        raise ConfigError(f"{path}: its versions have different settings, which import does not support", hint=_HINT)
    if kind != "qemu" or not isinstance(properties, dict):
        raise ConfigError(
            f"{path} is an appliance for {legible(str(kind))}; only QEMU appliances can be imported", hint=_HINT
        )
    properties = {"arch": properties.get("platform"), "adapter_type": "e1000", **properties}
    outer = ("category", "usage", "symbol", "first_port_name", "port_name_format", "port_segment_size", "linked_clone")
    return {**values, **{key: properties[key] for key in outer if key in properties}, "qemu": properties}


def _words(mistake: Any) -> str:
    where = ""
    for part in mistake["loc"]:
        name = legible(str(part))
        where += f"[{part}]" if isinstance(part, int) else f".{name}" if where else name
    if mistake["type"] == "missing":
        return f"the key {where!r} is missing"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    seen = mistake["input"]
    told = f", found {str(seen)[:60]!r}" if where and isinstance(seen, str | int | float | bool) else ""
    return (f"{where}: " if where else "") + message + told
