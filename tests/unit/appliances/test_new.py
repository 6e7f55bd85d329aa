"""``gns3-minivm new``: the folder of an appliance of one's own, and where such folders are found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gns3_minivm import Agent
from gns3_minivm.appliances import read_appliance
from gns3_minivm.base.errors import DiskFullError, UsageError
from gns3_minivm.ops.context import RunContext
from gns3_minivm.ops.new import new_appliance
from gns3_minivm.settings import Settings
from tests.support.minivm import gns3_minivm


def context(folder: Path, *named: Path, dry_run: bool = False) -> RunContext:
    settings = Settings(cache_root=folder / "cache", appliances=named, user_appliances=folder / "data" / "appliances")
    return RunContext(settings=settings, dry_run=dry_run)


async def test_a_new_appliance_can_be_used_as_it_is(tmp_path: Path) -> None:
    made = await new_appliance("my-web", "nginx:1.27", context(tmp_path))
    assert made.folder == tmp_path / "data" / "appliances" / "my-web"
    assert sorted(path.name for path in made.folder.iterdir()) == list(made.files) == ["Dockerfile", "appliance.yaml"]
    appliance = read_appliance(made.folder / "appliance.yaml")
    assert (appliance.name, appliance.build, appliance.symbol_svg) == ("my-web", ".", None)
    assert (made.folder / "Dockerfile").read_text().startswith("FROM nginx:1.27\n")
    assert context(tmp_path).settings.appliance_folders == (tmp_path / "data" / "appliances",)


@pytest.mark.parametrize(
    ("image", "base"),
    [
        ("docker://registry.example:5000/lab/r:2", "registry.example:5000/lab/r:2"),
        ("docker-daemon:mine", "mine"),
        ("a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
    ],
)
async def test_an_image_may_be_named_as_elsewhere(tmp_path: Path, image: str, base: str) -> None:
    made = await new_appliance("mine", image, context(tmp_path))
    assert (made.folder / "Dockerfile").read_text().splitlines()[0] == f"FROM {base}"


async def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    made = await new_appliance("mine", "nginx", context(tmp_path, tmp_path / "own", dry_run=True))
    assert made.folder == tmp_path / "own" / "mine" and made.dry_run
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("My-Web", "nginx", "'My-Web' is not a name for an appliance"),
        ("../web", "nginx", "'../web' is not a name for an appliance"),
        ("web", "Nginx", "'Nginx' does not name an image"),
        ("web", "nginx\nRUN true", "does not name an image"),
        ("web", "rootfs:/tmp/a.tar", "a Dockerfile cannot start from 'rootfs:/tmp/a.tar'"),
        ("web", "", "'' does not name an image"),
        ("debian-minivm", "nginx", "there is an appliance 'debian-minivm' already"),
    ],
)
async def test_a_wrong_word_makes_nothing(tmp_path: Path, name: str, image: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        await new_appliance(name, image, context(tmp_path))
    assert message in caught.value.message
    assert not list(tmp_path.iterdir())


async def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists already"):
        await new_appliance("mine", "nginx", context(tmp_path, tmp_path / "own"))
    assert not list((tmp_path / "own" / "mine").iterdir())


async def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFullError, match="cannot be created"):
        await new_appliance("mine", "nginx", context(tmp_path), folder=tmp_path / "file")


async def test_own_folders_come_from_the_option_the_environment_and_the_data_folder(tmp_path: Path) -> None:
    for number, place in enumerate(("option", "environment", "data/gns3-minivm/appliances")):
        folder = tmp_path / place
        for name in ("everywhere", f"only-{number}"):
            (folder / name).mkdir(parents=True)
            text = f'name: {name}\nversion: "{number}"\ndescription: Test.\nimage: some/image\n'
            (folder / name / "appliance.yaml").write_text(text)
    environment = {"GNS3_MINIVM_APPLIANCES": str(tmp_path / "environment"), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = await gns3_minivm("list", "--appliances", str(tmp_path / "option"), "--json", environment=environment)
    found = {item["name"]: item["version"] for item in done.result()["appliances"]}
    assert {"only-0", "only-1", "only-2", "debian-minivm"} <= found.keys()
    assert found["everywhere"] == "0"
    without = await gns3_minivm("list", "--json", environment=environment)
    assert {item["name"]: item["version"] for item in without.result()["appliances"]}["everywhere"] == "1"


async def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    words = ("new", "mine", "--from", "nginx", "--appliances", str(tmp_path), "--json")
    result = (await gns3_minivm(*words)).result()
    assert (result["folder"], result["dry_run"]) == (str(tmp_path / "mine"), False)
    assert json.loads((await gns3_minivm(*words)).out.splitlines()[-1])["code"] == "usage"


async def test_the_next_command_finds_what_was_made(tmp_path: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path / "data"), "GNS3_MINIVM_APPLIANCES": str(tmp_path / "named")}
    places = {
        "one": ((), ""),
        "other": (("--appliances", str(tmp_path / "my own")), f" --appliances '{tmp_path}/my own'"),
    }
    for name, (option, said) in places.items():
        done = await gns3_minivm("new", name, "--from", "nginx", *option, environment=environment)
        assert done.out.splitlines()[-1] == f"Next: edit them, then gns3-minivm boot {name}{said}", done.err


async def test_a_program_can_make_one_and_has_folders_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNS3_MINIVM_APPLIANCES", os.pathsep.join(["/a", "/b"]))
    assert Settings.from_environment().appliances == (Path("/a"), Path("/b"))
    monkeypatch.delenv("GNS3_MINIVM_APPLIANCES")
    made = await Agent(appliances=[tmp_path]).new("mine", "nginx")
    assert made.folder == tmp_path / "mine"
