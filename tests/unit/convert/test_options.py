"""Sizes are read as QEMU reads them; a disk's recipe names everything that its bytes depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gns3_minivm.base.errors import UsageError
from gns3_minivm.convert import recipe as recipe_module
from gns3_minivm.convert.options import DiskOptions, parse_size
from gns3_minivm.convert.recipe import DiskRecipe
from gns3_minivm.guest.contract import GuestConfig
from gns3_minivm.images.model import ImageInfo

INFO = ImageInfo(
    reference="debian:12",
    name="debian",
    version="12",
    architecture="amd64",
    diff_ids=("sha256:" + "a" * 64, "sha256:" + "b" * 64),
    config=GuestConfig(cmd=("bash",), env=("A=1",)),
    size_bytes=5,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8G", 8 << 30),
        ("512M", 512 << 20),
        (" 16 MiB ", 16 << 20),
        ("1t", 1 << 40),
        ("1048576K", 1 << 30),
        ("2GB", 2 << 30),
    ],
)
def test_a_size_is_read(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "8", "G", "-1G", "1.5G", "8 GG", "8P", "0x8G", "eight", "٨G" * 9])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert "8G" in caught.value.hint


@pytest.mark.parametrize("text", ["0M", "15M", "17T", "20000K", "999999999999T"])
def test_a_size_that_no_disk_can_have_is_told_with_the_limits(text: str) -> None:
    with pytest.raises(UsageError, match="from 16M to 16T"):
        parse_size(text)


def test_a_disk_is_named_before_it_is_made() -> None:
    recipe = DiskRecipe(INFO, DiskOptions())
    assert recipe.filename == f"debian-12-{recipe.id[:12]}.qcow2"
    # What is registered on servers under this name must not change: raise FORMAT when the bytes do.
    assert recipe.id == "d369d352d690528bdd636c8bd00369191f46a9229eb475c01cf15b423af7abbc"


def test_the_names_of_an_image_do_not_change_its_disk() -> None:
    other = replace(INFO, reference="x/y:1", name="y", version="1", size_bytes=None)
    assert DiskRecipe(other, DiskOptions()).id == DiskRecipe(INFO, DiskOptions()).id


@pytest.mark.parametrize(
    "recipe",
    [
        DiskRecipe(replace(INFO, diff_ids=INFO.diff_ids[::-1]), DiskOptions()),
        DiskRecipe(replace(INFO, config=GuestConfig(cmd=("bash",))), DiskOptions()),
        DiskRecipe(replace(INFO, config=GuestConfig(entrypoint=("bash",), env=("A=1",))), DiskOptions()),
        DiskRecipe(INFO, DiskOptions(size_bytes=1 << 30)),
        DiskRecipe(INFO, DiskOptions(compression="zlib")),
    ],
)
def test_everything_that_changes_the_bytes_changes_the_recipe(recipe: DiskRecipe) -> None:
    plain = DiskRecipe(INFO, DiskOptions())
    assert recipe.id != plain.id
    assert recipe.uuid != plain.uuid and recipe.hash_seed != plain.hash_seed


def test_a_new_disk_format_changes_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = DiskRecipe(INFO, DiskOptions()).id
    monkeypatch.setattr(recipe_module, "FORMAT", recipe_module.FORMAT + 1)
    assert DiskRecipe(INFO, DiskOptions()).id != before


def test_uuid_and_hash_seed_are_two_values_of_16_bytes() -> None:
    recipe = DiskRecipe(INFO, DiskOptions())
    assert len(recipe.uuid) == len(recipe.hash_seed) == 16
    assert recipe.uuid != recipe.hash_seed
