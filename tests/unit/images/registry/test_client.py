"""A registry is read as the specification says, and not believed; credentials go to nobody else."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gns3_minivm.base.cancel import run_blocking
from gns3_minivm.base.errors import (
    ArchitectureError,
    DamagedImageError,
    ImageNotFoundError,
    MiniVMError,
    RegistryError,
    UsageError,
)
from gns3_minivm.images.registry import client as registry_module
from gns3_minivm.images.registry.authorization import parse_challenges
from gns3_minivm.images.registry.client import Repository, is_loopback
from gns3_minivm.images.registry.image import find_in_registry
from gns3_minivm.images.registry.options import RegistryOptions
from gns3_minivm.images.registry.reference import parse_reference
from tests.support.fake_registry import FakeRegistry, fake_registry
from tests.support.oci import MANIFEST, BlobImage, make_image, sha256

# Not compressible, so that packed sizes are what they look like.
LAYERS = [random.Random(1).randbytes(3_000_000), b"second layer " * 40_000, bytes(2_500_000)]


@pytest.fixture
def image() -> BlobImage:
    return make_image(LAYERS)


@pytest.fixture
def registry(image: BlobImage) -> Iterator[FakeRegistry]:
    with fake_registry(image) as server:
        yield server


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "_PAUSE_S", 0.0)


def pull(registry: FakeRegistry, folder: Path, name: str = "team/app:1", **config: Any) -> list[bytes]:
    """The layers that arrive; ``config`` is Docker's configuration."""
    (folder / "config.json").write_text(json.dumps(config))
    spool = folder / "spool"
    spool.mkdir()
    arrived = 0

    def progress(amount: int) -> None:
        nonlocal arrived
        arrived += amount

    found = find_in_registry(f"{registry.host}/{name}", RegistryOptions(), {"DOCKER_CONFIG": str(folder)})
    layers = found.fetch(spool, progress)
    assert [layer.diff_id for layer in layers] == list(found.info.diff_ids)
    assert arrived == found.info.size_bytes
    return [layer.path.read_bytes()[layer.offset : layer.offset + layer.size] for layer in layers]


def login(registry: FakeRegistry, words: str = "me:secret") -> dict[str, Any]:
    return {"auths": {registry.host: {"auth": base64.b64encode(words.encode()).decode()}}}


def everything(error: BaseException) -> str:
    """All that a user could get to see of an error."""
    hint = error.hint if isinstance(error, MiniVMError) else ""
    return "".join(traceback.format_exception(error)) + hint


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor().compress, bytes])
def test_layers_arrive_however_they_are_packed(compress: Any, tmp_path: Path) -> None:
    with fake_registry(make_image(LAYERS, compress)) as registry:
        assert pull(registry, tmp_path) == LAYERS


def test_a_layer_that_occurs_twice_is_fetched_once(tmp_path: Path) -> None:
    with fake_registry(make_image([LAYERS[1], LAYERS[0], LAYERS[1]])) as registry:
        assert pull(registry, tmp_path) == [LAYERS[1], LAYERS[0], LAYERS[1]]
        assert len(registry.asked(sha256(gzip.compress(LAYERS[1], mtime=0)))) == 1


def test_three_layers_are_downloaded_at_once(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.together = threading.Barrier(3)
    assert pull(registry, tmp_path) == LAYERS


def test_a_bearer_token_is_got_for_pulling_this_repository_only(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "bearer"
    assert pull(registry, tmp_path, **login(registry)) == LAYERS
    ((_, _, query, headers),) = [one for one in registry.seen if one[1] == "/token"]
    assert query == {"scope": ["repository:team/app:pull"], "service": ["reg"]}
    assert headers["Authorization"].startswith("Basic ")


def test_an_identity_token_is_exchanged(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth, registry.identity_token = "bearer", "id-token"
    assert pull(registry, tmp_path, auths={registry.host: {"identitytoken": "id-token"}}) == LAYERS


def test_basic_authentication_is_sent_only_when_asked_for(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "basic"
    assert pull(registry, tmp_path, **login(registry)) == LAYERS
    assert "Authorization" not in registry.seen[0][3] and "Authorization" not in registry.seen[1][3]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_wrong_credentials_are_an_error_that_does_not_show_them(
    registry: FakeRegistry, tmp_path: Path, auth: str
) -> None:
    registry.auth = auth
    config = login(registry, "me:wr0ng")
    with pytest.raises(RegistryError, match="refuses") as caught:
        pull(registry, tmp_path, **config)
    assert f"docker login {registry.host}" in caught.value.hint
    assert "wr0ng" not in everything(caught.value)
    assert base64.b64encode(b"me:wr0ng").decode() not in everything(caught.value)


def test_a_token_server_that_is_not_safe_gets_no_credentials(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth, registry.realm = "bearer", "http://token.invalid/token"
    with pytest.raises(RegistryError, match=r"token\.invalid"):
        pull(registry, tmp_path, **login(registry))


@pytest.mark.parametrize("realm", ["http://[", "https://x.invalid:99999/", "http://127.0.0.1:y/", "//", "realm"])
def test_a_token_server_with_no_proper_address_is_one_error(registry: FakeRegistry, tmp_path: Path, realm: str) -> None:
    registry.auth, registry.realm = "bearer", realm
    with pytest.raises(RegistryError):
        pull(registry, tmp_path, **login(registry))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_credentials_do_not_follow_a_redirect_to_another_host(
    registry: FakeRegistry, image: BlobImage, tmp_path: Path, auth: str, what: str
) -> None:
    registry.auth = auth
    with fake_registry(image) as other:
        setattr(registry, f"redirect_{what}_to", f"http://{other.host}")
        assert pull(registry, tmp_path, **login(registry)) == LAYERS
        assert other.asked(f"/{what}/")
        assert not [headers for headers in other.asked("") if "Authorization" in headers]
        assert all("Authorization" in headers for headers in registry.asked(f"/{what}/")[1:])


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_all_layers_of_another_host_come_without_credentials(
    registry: FakeRegistry, image: BlobImage, tmp_path: Path, auth: str
) -> None:
    registry.auth = auth
    with fake_registry(image) as other:
        registry.redirect_blobs_to = f"http://{other.host}"
        assert pull(registry, tmp_path, **login(registry)) == LAYERS
        assert len(other.asked("/blobs/")) == 4
        assert not [headers for headers in other.asked("/blobs/") if "Authorization" in headers]
        assert all("Authorization" in headers for headers in registry.asked("/blobs/"))


def test_a_host_that_we_are_redirected_to_cannot_ask_for_a_login(
    registry: FakeRegistry, image: BlobImage, tmp_path: Path
) -> None:
    registry.auth = "bearer"
    with fake_registry(image) as other:
        other.auth, registry.redirect_blobs_to = "bearer", f"http://{other.host}"
        config = login(registry)
        with pytest.raises(RegistryError, match="refuses access"):
            pull(registry, tmp_path, **config)
        assert not other.asked("/token")


@pytest.mark.parametrize("stalled", ["manifests", "blobs"])
async def test_whoever_waits_for_a_registry_can_give_up(registry: FakeRegistry, tmp_path: Path, stalled: str) -> None:
    registry.stall = (
        {registry.tags["1"]} if stalled == "manifests" else {registry.image.manifest["layers"][0]["digest"]}
    )
    task = asyncio.create_task(run_blocking(pull, registry, tmp_path))
    try:
        assert await asyncio.to_thread(registry.stalled.wait, 10)
        before = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - before < 10
    finally:
        registry.released.set()


def test_a_netrc_file_is_not_looked_into(
    registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    registry.auth = "bearer"
    assert pull(registry, tmp_path, **login(registry)) == LAYERS
    tokens = {headers.get("Authorization") for headers in registry.asked("/v2/")}
    assert tokens == {None, "Bearer the-token"}


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://x.invalid/",
        "//",
        "http://[",
        "http://x.invalid:99999/",
        "http://x.invalid:y/",
        "http://a b/",
    ],
)
def test_a_redirect_to_something_strange_is_refused(registry: FakeRegistry, tmp_path: Path, target: str) -> None:
    registry.redirect_blobs_to = target
    with pytest.raises(RegistryError):
        pull(registry, tmp_path)


def test_https_does_not_become_http_by_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def answer(_self: Any, _session: Any, _url: str, *_: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.raw = 302, io.BytesIO()
        response.headers["Location"] = "http://plain.example/blob?signature=s3cret"
        return response

    monkeypatch.setattr(Repository, "_get", answer)
    with pytest.raises(RegistryError, match="http://plain.example/blob, which is not safe") as caught:
        Repository("a.example", "x", lambda _: None).manifest("1")
    assert "s3cret" not in everything(caught.value)


def test_a_redirect_without_end_is_an_error(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.redirect_blobs_to = f"http://{registry.host}"
    with pytest.raises(RegistryError, match="redirects more than 8 times"):
        pull(registry, tmp_path)


def test_a_signed_link_is_not_shown_when_it_breaks(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.redirect_blobs_to = "http://me:passw0rd@127.0.0.1:9/x?signature=s3cret&rest="
    with pytest.raises(RegistryError) as caught:
        pull(registry, tmp_path)
    assert "s3cret" not in everything(caught.value) and "passw0rd" not in everything(caught.value)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(registry: FakeRegistry, tmp_path: Path, ranges: bool) -> None:
    registry.break_after, registry.ranges = (1_200_000, True) if ranges else (2_999_000, False)
    if not ranges:
        # Whoever starts again from the first byte gets to the end at last.
        registry.break_after = 0
        big = sha256(gzip.compress(LAYERS[0], mtime=0))
        registry.damage[big] = registry.blobs[big]
        real = registry.blobs[big]
        answers = iter([real[:1_500_000]])

        class Shortened(dict[str, bytes]):
            def get(self, key: str, default: Any = None) -> Any:
                return next(answers, default) if key == big else default

        registry.damage = Shortened()
    assert pull(registry, tmp_path) == LAYERS
    starts = [headers["Range"] for headers in registry.asked("/blobs/") if "Range" in headers]
    assert starts
    assert all(0 < int(start.removeprefix("bytes=").removesuffix("-")) < 3_100_000 for start in starts)


def test_a_download_that_breaks_without_end_is_given_up(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.break_after = 10
    with pytest.raises(RegistryError, match="5 times in a row"):
        pull(registry, tmp_path)


def test_a_registry_that_is_busy_is_asked_again(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.busy = 3
    assert pull(registry, tmp_path) == LAYERS
    registry.busy = 100
    with pytest.raises(RegistryError, match="5 times in a row: it answers 503"):
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})


@pytest.mark.parametrize("which", ["config", "layer"])
def test_a_wrong_digest_is_told(registry: FakeRegistry, image: BlobImage, tmp_path: Path, which: str) -> None:
    digest = image.manifest["config"]["digest"] if which == "config" else image.manifest["layers"][1]["digest"]
    data = image.blobs[digest]
    registry.damage[digest] = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    with pytest.raises(DamagedImageError, match="digest") as caught:
        pull(registry, tmp_path)
    if which == "layer":
        assert caught.value.message.startswith(f"layer 2 of 3 ({digest}) arrived with the digest sha256:")


def test_a_blob_that_is_longer_than_stated_is_told(registry: FakeRegistry, image: BlobImage, tmp_path: Path) -> None:
    digest = image.manifest["layers"][0]["digest"]
    registry.damage[digest] = image.blobs[digest] + b"more"
    with pytest.raises(DamagedImageError, match=r"layer 1 of 3 \(.*\) has more than its \d+ bytes"):
        pull(registry, tmp_path)


def test_a_layer_that_unpacks_to_something_else_is_told(image: BlobImage, tmp_path: Path) -> None:
    image.manifest["layers"][1] = image.add(gzip.compress(b"something else"), image.manifest["layers"][1]["mediaType"])
    with fake_registry(image) as registry, pytest.raises(DamagedImageError, match="layer 2 of 3 .* not to sha256:"):
        pull(registry, tmp_path)


def test_a_manifest_is_held_against_the_digest_that_was_asked_for(registry: FakeRegistry, image: BlobImage) -> None:
    digest = registry.tags["1"]
    name = f"{registry.host}/team/app@{digest}"
    assert find_in_registry(name, RegistryOptions(), {}).info.version == digest[7:19]
    registry.damage[digest] = json.dumps(image.manifest, indent=1).encode()
    with pytest.raises(DamagedImageError, match=f"has the digest .* not {digest}"):
        find_in_registry(name, RegistryOptions(), {})
    registry.digest_header = digest
    with pytest.raises(DamagedImageError, match=f"has the digest .* not {digest}"):
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})


def test_the_plain_platform_is_preferred_to_its_variants(registry: FakeRegistry, image: BlobImage) -> None:
    other = make_image([b"v3"])
    image.blobs |= other.blobs
    entries = [
        other.top | {"platform": {"os": "linux", "architecture": "amd64", "variant": "v3"}},
        other.top | {"platform": {"os": "unknown", "architecture": "unknown"}},
        image.top | {"platform": {"os": "linux", "architecture": "amd64"}},
    ]
    registry.tags["1"] = image.add(
        json.dumps({"schemaVersion": 2, "manifests": entries, "mediaType": "x"}).encode(), MANIFEST
    )["digest"]
    found = find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})
    assert list(found.info.diff_ids) == image.diff_ids


def test_other_platforms_are_named(registry: FakeRegistry, image: BlobImage) -> None:
    registry.tags["1"] = image.index("linux/arm64/v8", "linux/s390x", "windows/amd64")["digest"]
    with pytest.raises(ArchitectureError) as caught:
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})
    assert "made for linux/arm64/v8, linux/s390x, windows/amd64; only linux/amd64 can run" in caught.value.message


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"schemaVersion": 1}', b'{"manifests": 5}', b'{"config": {}, "layers": []}', b"[" * 100_000],
)
def test_a_strange_manifest_is_a_data_error(registry: FakeRegistry, data: bytes) -> None:
    registry.damage[registry.tags["1"]] = data
    with pytest.raises(DamagedImageError):
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})


def test_what_a_registry_says_cannot_act_on_a_terminal(registry: FakeRegistry, image: BlobImage) -> None:
    registry.words = "\x1b[2J\x9b31m " + "long" * 1000
    registry.status[registry.tags["1"]] = 418
    with pytest.raises(RegistryError, match=r"answers 418 .*: \?\[2J\?31m longlong") as caught:
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})
    assert caught.value.message.isprintable() and len(caught.value.message) < 500
    registry.status.clear()
    registry.tags["1"] = image.index("linux/\x1b[2J")["digest"]
    with pytest.raises(ArchitectureError) as other:
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})
    assert other.value.message.isprintable()


def test_an_artifact_is_no_image(registry: FakeRegistry, image: BlobImage) -> None:
    image.manifest["config"]["mediaType"] = "application/vnd.example.chart"
    registry.tags["1"] = image.top["digest"]
    with pytest.raises(DamagedImageError, match="not an ordinary image: it contains 'application/vnd.example.chart'"):
        find_in_registry(f"{registry.host}/team/app:1", RegistryOptions(), {})


def test_a_name_that_is_not_there_is_not_found(registry: FakeRegistry) -> None:
    with pytest.raises(ImageNotFoundError, match="has no image team/app with '2'"):
        find_in_registry(f"{registry.host}/team/app:2", RegistryOptions(), {})
    with pytest.raises(ImageNotFoundError, match="has no registry in it") as caught:
        find_in_registry("team/app:1", RegistryOptions(), {})
    assert "GNS3_MINIVM_REGISTRY" in caught.value.hint


def test_mirrors_are_asked_first_and_the_registry_when_they_fail(registry: FakeRegistry, image: BlobImage) -> None:
    with fake_registry(image) as mirror:
        options = RegistryOptions.parse("", (f"{registry.host}=127.0.0.1:9", f"{registry.host}={mirror.host}"), ())
        assert find_in_registry(f"{registry.host}/team/app:1", options, {}).info.name == "app"
        assert mirror.seen and not registry.seen
        mirror.tags.clear()
        assert find_in_registry(f"{registry.host}/team/app:1", options, {}).info.name == "app"
        assert registry.seen


def test_a_registry_that_is_not_there_is_one_message() -> None:
    with pytest.raises(RegistryError, match=r"^the registry 127\.0\.0\.1:9 cannot be reached: Connection refused$"):
        find_in_registry("127.0.0.1:9/x", RegistryOptions(), {})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("debian", ("", "debian", "", "latest")),
        ("team/app:1", ("", "team/app", "1", "1")),
        ("localhost/app", ("localhost", "app", "", "latest")),
        ("127.0.0.1:5000/a/b/c:x", ("127.0.0.1:5000", "a/b/c", "x", "x")),
        ("[::1]:5000/a", ("[::1]:5000", "a", "", "latest")),
        ("a.example/x:1@sha256:" + "0" * 64, ("a.example", "x", "1", "sha256:" + "0" * 64)),
    ],
)
def test_a_reference_is_taken_apart(text: str, parts: tuple[str, ...]) -> None:
    found = parse_reference(text)
    assert (found.host, found.path, found.tag, found.target) == parts
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER",
        "a//b",
        "a:",
        "a@sha256:12",
        "me:s3cret@a.example/x",
        "../x",
        "a/../b",
        "a b",
        "a?b",
        "-a/x",
        "a:99999/x",
        "[:::::]/x",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert "s3cret" not in caught.value.message


def test_challenges_are_read_and_bearer_comes_first() -> None:
    header = 'Basic realm="a, Bearer b", Bearer realm="https://t.example/token?x=1",service="s"'
    found = parse_challenges(header)
    assert [(one.scheme, one.realm, one.service) for one in found] == [
        ("bearer", "https://t.example/token?x=1", "s"),
        ("basic", "a, Bearer b", ""),
    ]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("[::1]:5", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_this_machine_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
