"""Planning is a pure function of what was observed and what is wanted."""

from __future__ import annotations

import uuid
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from gns3_minivm.agent.desired import MARK, DesiredAppliance, WantedFile, is_ours, template_id, with_mark
from gns3_minivm.agent.files import numbered
from gns3_minivm.agent.observe import Observed
from gns3_minivm.agent.plan import AdoptTemplate, Conflict, CreateTemplate, Unchanged, UpdateTemplate, Upload, plan
from gns3_minivm.base.errors import BugError
from gns3_minivm.gns3.model import QemuTemplate, ServerImage, ServerTemplate

URL = "http://host:3080"
MD5 = {name: character * 32 for name, character in {"disk": "1", "kernel": "2", "other": "3"}.items()}


def appliance(name: str = "vm", *, known: bool = False, **values: Any) -> DesiredAppliance:
    template = QemuTemplate(
        template_id=template_id(name), name=name, hda_disk_image="disk", kernel_image="kernel", **values
    )
    files = [WantedFile(file, 10, MD5[file]) if known else WantedFile(file) for file in ("disk", "kernel")]
    return DesiredAppliance(template=template, files=tuple(files))


def server_template(values: QemuTemplate, kind: str = "qemu") -> ServerTemplate:
    return ServerTemplate(
        template_id=values.template_id,
        name=values.name,
        template_type=kind,
        builtin=False,
        values=values if kind == "qemu" else None,
    )


def observed(
    *templates: ServerTemplate,
    images: dict[str, ServerImage] | None = None,
    one_name_per_content: bool = False,
    compute: str = "local",
) -> Observed:
    if images is None:
        images = {name: ServerImage(filename=name, size_bytes=10, md5=MD5[name]) for name in ("disk", "kernel")}
    return Observed(url=URL, one_name_per_content=one_name_per_content, images={compute: images}, templates=templates)


def test_an_empty_server_gets_everything() -> None:
    wanted = appliance()
    found = plan(observed(images={}), [wanted])
    assert found.appliances[0].actions == (
        Upload(filename="disk", size_bytes=None, compute_id="local"),
        Upload(filename="kernel", size_bytes=None, compute_id="local"),
        CreateTemplate(wanted.template),
    )
    assert not found.nothing_to_do


def test_a_server_in_the_desired_state_needs_nothing() -> None:
    wanted = appliance()
    found = plan(observed(server_template(wanted.template)), [wanted])
    assert found.nothing_to_do and found.uploads == ()
    assert found.appliances[0].actions == (Unchanged(wanted.template.template_id, "vm", {}),)


def test_a_file_by_its_name_alone_is_trusted_and_one_with_known_content_is_compared() -> None:
    images = {
        "disk": ServerImage(filename="disk", size_bytes=10, md5=MD5["other"]),
        "kernel": ServerImage(filename="kernel", size_bytes=9, md5=MD5["kernel"]),
    }
    assert plan(observed(images=images), [appliance()]).uploads == ()
    uploads = plan(observed(images=images), [appliance(known=True)]).uploads
    assert uploads == (
        Upload(
            filename="disk-2", size_bytes=10, compute_id="local", content="disk", damaged="disk", distrusted=("disk",)
        ),
        Upload(
            filename="kernel-2",
            size_bytes=10,
            compute_id="local",
            content="kernel",
            damaged="kernel",
            distrusted=("kernel",),
        ),
    )


def test_a_file_that_was_sent_again_is_found_by_its_content_or_by_its_number() -> None:
    images = {
        name: ServerImage(filename=name, size_bytes=10, md5=MD5["other"]) for name in ("disk", "disk-2", "kernel")
    }
    images["disk-3"] = ServerImage(filename="disk-3", size_bytes=10, md5=MD5["disk"])
    images["kernel"] = ServerImage(filename="kernel", size_bytes=10, md5=MD5["kernel"])
    for known in (True, False):
        found = plan(observed(images=images), [appliance(known=known)]).appliances[0]
        assert found.uploads == () and found.desired.template.hda_disk_image == "disk-3"
    images["disk-3"] = ServerImage(filename="disk-3", size_bytes=10, md5=MD5["other"])
    [upload] = plan(observed(images=images), [appliance(known=True)]).uploads
    distrusted = ("disk", "disk-2", "disk-3")
    assert upload == Upload(
        filename="disk-4", size_bytes=10, compute_id="local", content="disk", damaged="disk", distrusted=distrusted
    )


@pytest.mark.parametrize("known", [True, False])
def test_of_several_whole_copies_a_template_keeps_the_one_that_it_has(known: bool) -> None:
    images = {name: ServerImage(filename=name, size_bytes=10, md5=MD5["disk"]) for name in ("disk", "disk-2", "disk-3")}
    images["kernel"] = ServerImage(filename="kernel", size_bytes=10, md5=MD5["kernel"])
    wanted = appliance(known=known)
    for has in ("disk", "disk-2", "disk-3"):
        there = server_template(replace(wanted.template, hda_disk_image=has))
        assert plan(observed(there, images=images), [wanted]).nothing_to_do
    there = server_template(replace(wanted.template, hda_disk_image="an-older-one"))
    assert plan(observed(there, images=images), [wanted]).appliances[0].desired.template.hda_disk_image == "disk-3"


def test_a_file_that_is_gone_comes_back_under_its_name_and_a_damaged_one_is_no_twin() -> None:
    images = {
        "disk": ServerImage(filename="disk", size_bytes=10, md5=MD5["disk"], state="gone"),
        "kernel": ServerImage(filename="kernel", size_bytes=10, md5=MD5["kernel"], state="damaged"),
    }
    for known in (True, False):
        size_bytes = 10 if known else None
        uploads = plan(observed(images=images, one_name_per_content=True), [appliance(known=known)]).uploads
        assert uploads == (
            Upload(filename="disk", size_bytes=size_bytes, compute_id="local", content="disk", gone=True),
            Upload(
                filename="kernel-2",
                size_bytes=size_bytes,
                compute_id="local",
                content="kernel",
                damaged="kernel",
                distrusted=("kernel",),
            ),
        )


def test_the_number_of_a_file_stands_before_its_ending() -> None:
    assert [numbered("web-1-abc.qcow2", n) for n in (1, 2)] == ["web-1-abc.qcow2", "web-1-abc-2.qcow2"]
    assert numbered("vmlinuz-6.1-abc", 3) == "vmlinuz-6.1-abc-3"


def test_what_a_server_does_not_say_is_no_difference() -> None:
    images = {name: ServerImage(filename=name, size_bytes=None, md5=None) for name in ("disk", "kernel")}
    assert plan(observed(images=images), [appliance(known=True)]).uploads == ()


def test_a_file_that_several_appliances_share_is_uploaded_once() -> None:
    found = plan(observed(images={}), [appliance("a"), appliance("b")])
    assert [upload.filename for upload in found.uploads] == ["disk", "kernel"]


def test_nothing_is_uploaded_for_an_appliance_in_conflict() -> None:
    foreign = server_template(replace(appliance().template, template_id=str(uuid.uuid4())))
    found = plan(observed(foreign, images={}), [appliance()])
    assert found.uploads == ()
    assert [type(action) for action in found.appliances[0].actions] == [Conflict]
    assert not found.nothing_to_do


def test_a_template_of_another_emulator_with_our_id_is_a_conflict() -> None:
    other = server_template(replace(appliance().template, name="x"), "docker")
    [conflict] = plan(observed(other), [appliance()]).conflicts
    assert "belongs to a docker template 'x'" in conflict.message


def test_a_built_in_template_of_our_name_is_a_conflict() -> None:
    cloud = ServerTemplate(template_id="c", name="Cloud", template_type="cloud", builtin=True, values=None)
    assert plan(observed(cloud), [appliance("Cloud")]).conflicts


def test_a_template_that_was_renamed_is_still_ours() -> None:
    wanted = appliance()
    found = plan(observed(server_template(replace(wanted.template, name="mine"))), [wanted])
    action = found.appliances[0].template
    assert isinstance(action, UpdateTemplate) and action.changes == {"name": ("mine", "vm")}


def test_fields_of_the_user_and_fields_set_once_are_left() -> None:
    wanted = replace(appliance(), user_fields=frozenset({"ram_mb"}))
    there = replace(wanted.template, ram_mb=1, compute_id="vm", adapters=5)
    action = plan(observed(server_template(there)), [wanted]).appliances[0].template
    assert isinstance(action, UpdateTemplate)
    assert action.changes == {"adapters": (5, 1)}
    assert action.left == {"ram_mb": (1, 256), "compute_id": ("vm", "local")}


def test_the_same_content_under_another_name_is_used_where_the_server_wants_it_so() -> None:
    images = {
        "old": ServerImage(filename="old", size_bytes=10, md5=MD5["disk"]),
        "kernel": ServerImage(filename="kernel", size_bytes=10, md5=MD5["kernel"]),
    }
    strict = plan(observed(images=images, one_name_per_content=True), [appliance(known=True)]).appliances[0]
    assert strict.uploads == () and strict.desired.template.hda_disk_image == "old"
    assert isinstance(strict.template, CreateTemplate) and strict.template.template.hda_disk_image == "old"
    free = plan(observed(images=images), [appliance(known=True)]).appliances[0]
    assert [upload.filename for upload in free.uploads] == ["disk"]


def test_images_are_looked_for_on_the_compute_that_the_node_runs_on() -> None:
    wanted = appliance(compute_id="vm")
    assert [upload.compute_id for upload in plan(observed(), [wanted]).uploads] == ["vm", "vm"]
    assert plan(observed(compute="vm"), [wanted]).uploads == ()


def test_plans_are_values() -> None:
    found, again = (plan(observed(images={}), [appliance()]) for _ in range(2))
    assert found == again
    with pytest.raises(FrozenInstanceError):
        found.url = ""  # type: ignore[misc]


def test_template_ids_never_change() -> None:
    # Projects of users refer to these.
    assert template_id("debian-minivm") == "50eb9cb5-2748-5e29-a95f-c4ca28b8a1a8"
    ids = {template_id("a"), template_id("b"), template_id("a", version="1"), template_id("a", compute_id="1")}
    assert len(ids) == 4


def test_the_mark_is_added_once_and_recognised() -> None:
    wanted = appliance(usage="Log in as root.\n")
    assert wanted.template.usage == f"Log in as root.\n\n{MARK}"
    assert replace(wanted).template.usage == wanted.template.usage
    assert appliance().template.usage == MARK
    assert is_ours(server_template(wanted.template))
    assert is_ours(server_template(replace(wanted.template, usage="changed by hand")))
    assert is_ours(server_template(replace(wanted.template, name="renamed")))
    assert not is_ours(server_template(replace(wanted.template, name="renamed", usage="")))
    assert not is_ours(server_template(wanted.template, "docker"))


def test_files_and_template_must_name_the_same_images() -> None:
    wanted = appliance()
    for files in (wanted.files[:1], (*wanted.files, WantedFile("more")), (*wanted.files, wanted.files[0])):
        with pytest.raises(BugError, match="names the images"):
            replace(wanted, files=files)


# Catalogues


def marked(name: str, catalogue: str) -> ServerTemplate:
    values = QemuTemplate(template_id=template_id(name), name=name, usage=with_mark("", catalogue))
    return server_template(values)


def of_catalogue(name: str = "vm", catalogue: str = "lab", **values: object) -> DesiredAppliance:
    return replace(appliance(name, **values), catalogue=catalogue)  # type: ignore[arg-type]


def test_leftovers_carry_the_catalogues_mark_and_are_removed_on_request_only() -> None:
    wanted = of_catalogue()
    there = [server_template(wanted.template), marked("old", "lab"), marked("other", "lab2"), marked("plain", "")]
    there.append(server_template(replace(wanted.template, template_id=template_id("x"), name="x"), "docker"))
    kept = plan(observed(*there), [wanted], catalogue="lab")
    assert [item.name for item in kept.leftovers] == ["old"]
    assert kept.removals == () and kept.nothing_to_do
    pruned = plan(observed(*there), [wanted], catalogue="lab", prune=True)
    assert [item.name for item in pruned.removals] == ["old"] and not pruned.nothing_to_do
    assert plan(observed(*there), [wanted], prune=True).removals == ()


def test_a_duplicate_that_somebody_made_in_the_gui_is_no_leftover() -> None:
    wanted = of_catalogue()
    duplicate = server_template(replace(wanted.template, template_id=str(uuid.uuid4()), name="vm-copy"))
    assert plan(observed(duplicate), [wanted], catalogue="lab", prune=True).leftovers == ()


def test_a_template_of_another_catalogue_is_a_conflict_unless_it_is_adopted() -> None:
    wanted = of_catalogue()
    there = server_template(replace(wanted.template, usage=with_mark("", "other")))
    [conflict] = plan(observed(there), [wanted]).conflicts
    assert "belongs to the catalogue 'other'" in conflict.message
    action = plan(observed(there), [wanted], adopt=True).appliances[0].template
    assert isinstance(action, UpdateTemplate) and set(action.changes) == {"usage"}
    assert not plan(observed(there), [appliance()]).conflicts, "register keeps the catalogue's mark"


def test_adopting_keeps_the_settings_that_people_change_and_takes_ours_for_the_rest() -> None:
    wanted = replace(of_catalogue(adapters=4), user_fields=frozenset({"ram_mb", "usage", "name"}))
    theirs = QemuTemplate(
        template_id=str(uuid.uuid4()), name="vm", ram_mb=99, adapters=1, usage="Theirs.", hda_disk_image="old.img"
    )
    action = plan(observed(server_template(theirs)), [wanted], adopt=True).appliances[0].template
    assert isinstance(action, AdoptTemplate) and action.foreign_id == theirs.template_id
    made = action.template
    assert (made.template_id, made.hda_disk_image, made.adapters) == (template_id("vm"), "disk", 4)
    assert (made.ram_mb, made.usage) == (99, with_mark("Theirs.", "lab"))


def test_only_one_qemu_template_can_be_adopted() -> None:
    values = [QemuTemplate(template_id=str(uuid.uuid4()), name="vm") for _ in range(2)]
    for there in ([server_template(value) for value in values], [server_template(values[0], "docker")]):
        assert plan(observed(*there), [appliance()], adopt=True).conflicts


def test_a_foreign_template_is_not_in_the_way_of_one_that_keeps_its_own_name() -> None:
    foreign = server_template(QemuTemplate(template_id=str(uuid.uuid4()), name="vm"))
    ours = server_template(replace(appliance().template, name="renamed"))
    for adopt in (False, True):
        [conflict] = plan(observed(foreign, ours), [appliance()], adopt=adopt).conflicts
        assert "--adopt" not in conflict.hint, "there is nothing to take over beside ours"
    kept = replace(appliance(), user_fields=frozenset({"name"}))
    assert not plan(observed(foreign, ours), [kept]).conflicts


# QEMU


def with_zstd() -> DesiredAppliance:
    return replace(appliance(), qemu_minimum=(5, 1), qemu_hint="Say zlib.")


@pytest.mark.parametrize(
    ("versions", "refused"),
    [
        (["4.2.1"], True),
        (["5.0.0"], True),
        (["5.1.0"], False),
        (["4.2.1", "7.2.22"], False),
        ([], False),
        ([""], False),
    ],
)
def test_an_old_qemu_is_a_conflict_that_names_the_setting(versions: list[str], refused: bool) -> None:
    found = plan(replace(observed(images={}), qemu_versions={"local": versions}), [with_zstd()])
    assert bool(found.conflicts) is refused
    if refused:
        assert "needs QEMU 5.1" in found.conflicts[0].message and found.conflicts[0].hint == "Say zlib."
        assert found.uploads == ()


def test_an_old_qemu_matters_only_where_something_is_to_be_done() -> None:
    there = replace(observed(server_template(with_zstd().template)), qemu_versions={"local": ["4.2"]})
    assert plan(there, [with_zstd()]).nothing_to_do
    assert not plan(replace(there, templates=()), [appliance()]).conflicts
