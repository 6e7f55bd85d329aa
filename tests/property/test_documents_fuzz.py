"""Odd values anywhere in an image's documents, with digests that fit: a disk, or a data error, and nothing left."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.hostile import convert_or_refuse
from tests.support.layers import file, tar_bytes
from tests.support.oci import CONFIG, MANIFEST, archive, layout, make_image, saved, write_files

LAYERS = [tar_bytes([file("a", b"x")]), tar_bytes([file("b", b"y")])]
DIGESTS = ["sha256:" + "0" * 64, "sha512:" + "0" * 128, "md5:0", "sha256:"]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1.5,
    "",
    "x",
    *DIGESTS,
    [],
    {},
    [[]],
    ["x"],
    {"a": 1},
    "\0\ud800",
    "../../etc/passwd",
]
PLATFORM = {"os": "linux", "architecture": "amd64"}
TAG = "org.opencontainers.image.ref.name"


def documents() -> dict[str, Any]:
    image = make_image(LAYERS)
    config = json.loads(image.blobs[image.manifest["config"]["digest"]])
    config["config"] = {
        "Cmd": ["sh"],
        "Env": ["A=1"],
        "Labels": {"a": "b"},
        "User": "x",
        "ExposedPorts": {"80/tcp": {}},
    }
    image.manifest["config"] = image.add(json.dumps(config).encode(), CONFIG)
    entry = image.top | {"annotations": {TAG: "1"}, "platform": PLATFORM}
    list_of_images = json.loads(saved(image, "a:1")["manifest.json"])
    return {
        "config": config,
        "manifest": image.manifest,
        "index": {"schemaVersion": 2, "manifests": [entry]},
        "saved": list_of_images,
    }


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything in a document."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return value


CASES = [(document, at) for document, value in documents().items() for at in places(value)]


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200)
@given(st.sampled_from(CASES), st.sampled_from(ODD))
def test_an_odd_value_in_a_document_is_refused_or_gives_a_disk(case: tuple[str, tuple[Any, ...]], odd: Any) -> None:
    document, at = case
    changed = documents()
    changed[document] = replaced(changed[document], at, odd)
    image = make_image(LAYERS)
    config = image.add(json.dumps(changed["config"]).encode(), CONFIG)
    # What stands above a changed document names its digest, unless that is what was changed.
    manifest = changed["manifest"] if document == "manifest" else changed["manifest"] | {"config": config}
    top = image.add(json.dumps(manifest).encode(), MANIFEST)
    whole = {"schemaVersion": 2, "manifests": [top | {"annotations": {TAG: "1"}, "platform": PLATFORM}]}
    index = changed["index"] if document == "index" else whole
    image.manifest["config"] = config
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if document == "saved":
            files = saved(image, "a:1") | {"manifest.json": json.dumps(changed["saved"]).encode()}
            (folder / "image.tar").write_bytes(archive(files))
            convert_or_refuse(f"docker-archive:{folder}/image.tar", folder / "cache")
            return
        files = layout(image) | {"index.json": json.dumps(index).encode()}
        (folder / "image.tar").write_bytes(archive(files))
        for place in (f"oci:{write_files(folder / 'image', files)}", f"oci-archive:{folder}/image.tar"):
            convert_or_refuse(place, folder / "cache")
