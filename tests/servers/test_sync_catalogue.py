"""``sync``, ``status`` and ``remove`` as a user runs them, against real GNS3 servers of both generations at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gns3_minivm.agent.desired import MARK, template_id
from gns3_minivm.base.events import Event, Events, StepFinished, StepStarted
from gns3_minivm.bundle.model import Bundle
from gns3_minivm.gns3.address import parse_address
from gns3_minivm.gns3.detect import connect
from gns3_minivm.gns3.model import QemuTemplate
from tests.support.catalogue import TestSite, actions, outcomes, write_root
from tests.support.gns3 import GNS3Process, free_port
from tests.support.minivm import gns3_minivm

SERVERS = ("two", "three")


@pytest.fixture
async def site(gns3_v2: GNS3Process, gns3_v3: GNS3Process, bundle: Bundle, tmp_path: Path) -> AsyncIterator[TestSite]:
    """Both servers, in a catalogue of its own name; API v3 asks for the password."""
    del bundle  # it is there from now on
    servers = {
        "two": {"url": gns3_v2.bare_url},
        "three": {"url": gns3_v3.bare_url, "username": "admin", "password": "admin"},
    }
    found = TestSite(tmp_path, servers, {"two": gns3_v2, "three": gns3_v3})
    found.name = f"test-{found.tag}"
    yield found
    await found.clean()


async def test_both_servers_get_the_same_template_and_a_second_run_finds_nothing_to_do(site: TestSite) -> None:
    web, only = site.add("web", ram=200, adapters=3), site.add("only", servers=["three"])
    dry = await site.sync("--dry-run")
    assert dry.status == 0 and "create" in dry.out and "nothing was changed" in dry.out
    assert await site.template("two", web) is None
    first = await site.synced()
    assert [outcomes(first[name]) for name in SERVERS] == [{"web": "created"}, {"web": "created", "only": "created"}]
    two, three = [await site.template(name, web) for name in SERVERS]
    # API v2 has no versions.
    assert two is not None and three is not None and two == replace(three, version="")
    assert three.version and three.version in three.hda_disk_image
    assert (two.template_id, two.ram_mb, two.adapters) == (template_id(web), 200, 3)
    assert re.fullmatch(rf"Image: {web} .*sha256:[0-9a-f]{{64}}\n{MARK} Catalogue: {site.name}\.", two.usage), two.usage
    assert await site.template("two", only) is None and await site.template("three", only) is not None
    second = await site.sync()
    assert second.status == 0 and second.out.count("nothing    to do") == 2, second.out


async def test_status_says_what_differs_and_changes_nothing(site: TestSite) -> None:
    web = site.add("web")
    before = await site.run("status")
    assert before.status == 0 and before.out.count("create     template") == 2
    assert await site.template("two", web) is None
    await site.synced()
    after = await site.status()
    assert [after[name]["in_step"] for name in SERVERS] == [True, True]
    assert [after[name]["old_nodes"] for name in SERVERS] == [[], []]


async def test_only_the_named_server_is_touched(site: TestSite) -> None:
    web = site.add("web")
    assert list(await site.synced("three")) == ["three"]
    assert await site.template("two", web) is None and await site.template("three", web) is not None
    unknown = await site.sync("--server", "four")
    assert unknown.status == 2 and "no server named 'four'" in unknown.err and "two, three" in unknown.err


async def test_what_was_changed_by_hand_is_shown_and_kept_unless_the_catalogue_states_it(site: TestSite) -> None:
    web = site.add("web", adapters=2)
    await site.synced()
    by_hand = {
        "name": f"Mine-{site.tag}",
        "ram_mb": 333,
        "symbol": ":/symbols/classic/server.svg",
        "usage": f"My words.\n\n{MARK} Catalogue: {site.name}.",
    }
    for server in SERVERS:
        await site.change(server, web, **by_hand, adapters=5, kernel_image="")
    # Without a name stated, the template is the image's, whatever it is called now.
    del site.appliances[0]["name"]
    shown = await site.sync("--dry-run")
    assert shown.out.count("left       as it was set on the server") == 2
    assert "ram 333 (not 256)" in shown.out and "symbol" in shown.out and "My words." in shown.out
    for report in (await site.synced()).values():
        [item] = report["appliances"]
        assert set(item["plan"]["changes"]) == {"adapters", "kernel_image"}
        assert set(item["plan"]["left"]) == {"name", "ram_mb", "symbol", "usage"}
    for server in SERVERS:
        template = await site.template(server, web)
        assert template is not None and template.adapters == 2 and template.kernel_image
        assert {field: getattr(template, field) for field in by_hand} == by_hand
    site.appliances[0] |= {"ram": 128, "usage": "Ours."}
    await site.synced()
    template = await site.template("three", web)
    assert template is not None and template.ram_mb == 128
    assert template.usage == f"Ours.\n\n{MARK} Catalogue: {site.name}."
    assert template.name == by_hand["name"]


async def test_prune_removes_what_carries_this_catalogues_mark_and_nothing_else(site: TestSite) -> None:
    web, gone, unmarked = site.add("web"), site.add("gone"), site.add("unmarked")
    await site.synced()
    await site.change("two", unmarked, usage="No mark any more.")
    other = TestSite(site.folder, site.servers, site.processes, name=f"other-{site.tag}", tag=site.tag)
    theirs = other.add("theirs")
    await other.synced()
    duplicates = {name: await duplicate(process, template_id(gone)) for name, process in site.processes.items()}
    site.appliances = site.appliances[:1]
    told = await site.run("status")
    assert told.out.count(f"leftover   template {gone}") == 2
    assert await site.template("two", gone) is not None
    pruned = await site.synced(prune=True)
    for server in SERVERS:
        assert await site.template(server, gone) is None
        assert await site.template(server, web) is not None and await site.template(server, theirs) is not None
        assert [item["outcome"] for item in pruned[server]["leftovers"]][:1] == ["removed"]
        async with await connect(parse_address(site.processes[server].url)) as client:
            assert await client.template(duplicates[server]) is not None
            await client.delete_template(duplicates[server])
    assert await site.template("two", unmarked) is not None and await site.template("three", unmarked) is None


async def duplicate(process: GNS3Process, found: str) -> str:
    """The id of a copy of a template, made as the GUI makes it: with all of its usage text."""
    async with await connect(parse_address(process.url)) as client:
        made = await client._object("POST", f"/templates/{found}/duplicate", "duplicate a template")
        copy = await client.template(made["template_id"])
        assert copy is not None and copy.values is not None and MARK in copy.values.usage
        return copy.template_id


async def test_prune_wants_a_catalogue_with_a_name_and_all_of_its_images(site: TestSite) -> None:
    site.add("web")
    gone = site.add("gone")
    await site.synced()
    site.appliances[1] = {"name": "missing", "image": f"rootfs:{site.folder}/missing.tar"}
    partly = await site.sync("--prune")
    assert partly.status == 3 and "missing.tar" in partly.err
    assert await site.template("two", gone) is not None
    site.name = None
    nameless = await site.sync("--prune")
    assert nameless.status == 2 and "needs a name" in nameless.err


async def test_a_foreign_template_is_a_conflict_until_it_is_adopted(site: TestSite) -> None:
    web = site.add("web", ram=128)
    foreign = {
        name: QemuTemplate(template_id=str(uuid.uuid4()), name=web, adapters=7, usage="Theirs.", ram_mb=99)
        for name in SERVERS
    }
    for name, process in site.processes.items():
        async with await connect(parse_address(process.url)) as client:
            await client.create_template(foreign[name])
    refused = await site.sync()
    assert refused.status == 1 and refused.out.count("conflict   ") == 2 and "--adopt" in refused.err
    assert await site.template("two", web) is None
    dry = await site.sync("--adopt", "--dry-run")
    assert dry.out.count("adopt      template") == 2
    adopted = await site.synced(adopt=True)
    for name, process in site.processes.items():
        assert outcomes(adopted[name]) == {"web": "adopted"}
        template = await site.template(name, web)
        assert template is not None and (template.ram_mb, template.adapters) == (128, 7)
        ours = rf"Image: {web} .*sha256:[0-9a-f]{{64}}\n{MARK} Catalogue: {site.name}\."
        assert re.fullmatch(rf"Theirs\.\n\n{ours}", template.usage), template.usage
        async with await connect(parse_address(process.url)) as client:
            assert await client.template(foreign[name].template_id) is None
            assert [item.name for item in await client.templates() if site.tag in item.name] == [web]
    assert actions((await site.synced())["two"]) == {"web": "nothing"}


async def test_a_template_of_another_catalogue_is_a_conflict_until_it_is_adopted(site: TestSite) -> None:
    web = site.add("web")
    await site.synced()
    other = TestSite(site.folder, site.servers, site.processes, name=f"other-{site.tag}", tag=site.tag)
    other.appliances = site.appliances
    refused = await other.sync()
    assert refused.status == 1 and f"belongs to the catalogue '{site.name}'" in refused.out
    await other.synced(adopt=True)
    template = await site.template("three", web)
    assert template is not None and template.usage.endswith(f"Catalogue: {other.name}.")
    registered = await gns3_minivm(
        "register", site.appliances[0]["image"], "--as", web, "--ram", "300", "--server", site.processes["three"].url
    )
    assert registered.status == 0, registered.err
    template = await site.template("three", web)
    assert template is not None and template.ram_mb == 300
    assert template.usage.endswith(f"Catalogue: {other.name}."), "register takes a template from no catalogue"


async def test_a_new_version_is_a_new_file_and_nodes_on_the_old_one_are_listed(site: TestSite) -> None:
    web = site.add("web")
    await site.synced()
    projects = {}
    old = {}
    for name, process in site.processes.items():
        async with await connect(parse_address(process.url)) as client:
            project = await client.create_project(f"p-{site.tag}")
            await client.create_node(project.project_id, template_id(web), name="pc1")
            # Nodes of closed projects count as well.
            await client.close_project(project.project_id)
            projects[name] = project.project_id
        template = await site.template(name, web)
        assert template is not None
        old[name] = template.hda_disk_image
    try:
        assert actions((await site.synced())["two"]) == {"web": "nothing"}
        write_root(Path(site.appliances[0]["image"].removeprefix("rootfs:")), "a new version")
        result = await site.sync()
        assert result.status == 0, result.err
        assert result.out.count(f"old node   pc1 of project p-{site.tag}: {old['two']}") == 2, result.out
        for name in SERVERS:
            template = await site.template(name, web)
            assert template is not None and template.hda_disk_image != old[name]
            images = site.processes[name].images
            assert (images / old[name]).is_file() and (images / template.hda_disk_image).is_file()
        assert "delete it and add it again" in result.out
        listed = await site.status()
        assert [[node["node"] for node in listed[name]["old_nodes"]] for name in SERVERS] == [["pc1"], ["pc1"]]
    finally:
        for name, process in site.processes.items():
            async with await connect(parse_address(process.url)) as client:
                await client.delete_project(projects[name])


@pytest.mark.parametrize("machines", ["one machine", "several machines"])
async def test_agents_at_once_make_no_duplicates(site: TestSite, tmp_path: Path, machines: str) -> None:
    names = [site.add(stem) for stem in ("a", "b", "c")]
    site.write()
    # Locks of several machines do not know of each other.
    places = [tmp_path / (str(number) if machines == "several machines" else "one") for number in range(3)]
    for place in places:
        place.mkdir(exist_ok=True)
    results = await asyncio.gather(
        *(gns3_minivm("sync", str(site.path), environment={"XDG_RUNTIME_DIR": str(place)}) for place in places)
    )
    assert [(result.status, result.err) for result in results if result.status] == []
    for process in site.processes.values():
        async with await connect(parse_address(process.url)) as client:
            assert sorted(item.name for item in await client.templates() if site.tag in item.name) == sorted(names)
    assert all(set(actions(server).values()) == {"nothing"} for server in (await site.synced()).values())


async def test_a_dead_server_and_one_without_its_password_do_not_stop_the_others(site: TestSite) -> None:
    web = site.add("web")
    site.servers["dead"] = {"url": f"http://127.0.0.1:{free_port()}"}
    site.servers["locked"] = {"url": "http://127.0.0.1:9", "username": "a", "password_env": "NOT_SET_AT_ALL"}
    site.servers["three"]["password"] = "wrong-s3cret"
    wrong = await site.sync("--server", "three", "--json", "--verbose")
    assert wrong.status == 1 and "refuses this user name and password" in wrong.out
    assert "wrong-s3cret" not in wrong.out + wrong.err
    site.servers["three"]["password"] = "admin"
    partly = await site.sync()
    assert partly.status == 3, partly.err
    assert "NOT_SET_AT_ALL" in partly.err and "nothing answers there" in partly.err
    assert partly.err.count("error: ") == 2 and partly.err.count("hint: ") == 2
    assert await site.template("two", web) is not None and await site.template("three", web) is not None
    failed = await site.sync("--server", "dead")
    assert failed.status == 1
    assert (await site.sync("--server", "locked")).status == 2


async def test_an_image_that_cannot_be_found_or_made_does_not_stop_the_others(site: TestSite) -> None:
    broken, web = site.add("broken"), site.add("web")
    tar = Path(site.appliances[0]["image"].removeprefix("rootfs:"))
    tar.write_bytes(tar.read_bytes()[:515])
    site.appliances.append({"name": "missing", "image": f"rootfs:{site.folder}/missing.tar"})
    partly = await site.sync("--json")
    assert partly.status == 3
    events = [json.loads(line) for line in partly.out.splitlines()]
    [planned] = [event for event in events if event["event"] == "plan"]
    assert [actions(server) for server in planned["servers"]] == [
        {"broken": "create", "web": "create"},
        {"broken": "create", "web": "create"},
    ]
    assert events[-1]["event"] == "result"
    for server in events[-1]["servers"]:
        assert outcomes(server) == {"broken": "failed", "web": "created"}
        assert server["appliances"][0]["error"]["code"] == "image-damaged"
        assert await site.template(server["name"], broken) is None
    assert [error["name"] for error in events[-1]["errors"]] == ["missing"]
    assert await site.template("two", web) is not None


async def test_uploads_to_several_servers_run_side_by_side_and_shared_files_are_sent_once(site: TestSite) -> None:
    for stem in ("a", "b"):
        site.add(stem, size="1G")
        write_root(Path(site.appliances[-1]["image"].removeprefix("rootfs:")), os.urandom(12 << 20).hex())
    seen: list[Event] = []
    await site.synced(events=Events(seen.append))
    started = {event.step: event.title for event in seen if isinstance(event, StepStarted)}
    uploads = [title.split() for title in started.values() if title.startswith("Upload")]
    assert len({tuple(words) for words in uploads}) == len(uploads), uploads
    order = [
        (started[event.step].split()[-1], isinstance(event, StepStarted))
        for event in seen
        if isinstance(event, StepStarted | StepFinished) and started[event.step].startswith("Upload")
    ]
    overlaps = [one for one, other in itertools.pairwise(order) if one[1] and other[1] and one[0] != other[0]]
    assert overlaps, order


async def test_an_initrd_that_a_prune_took_away_is_noticed_and_put_back(site: TestSite) -> None:
    web = site.add("web")
    await site.synced()
    template = await site.template("three", web)
    assert template is not None and template.initrd
    async with await connect(parse_address(site.processes["three"].url)) as client:
        await client._transport.send("DELETE", "/v3/images/prune", "prune the images")
        assert template.initrd not in {image.filename for image in await client.images()}
        assert template.hda_disk_image in {image.filename for image in await client.images()}
    result = (await site.synced())["three"]
    assert [item["uploaded"] for item in result["appliances"]] == [[template.initrd]]
    assert outcomes(result) == {"web": "unchanged"}
    assert (site.processes["three"].images / template.initrd).is_file()


async def test_nothing_is_built_that_every_server_has_and_what_several_need_is_built_once(
    site: TestSite, bundle: Bundle
) -> None:
    site.add("web")
    site.cache = site.folder / "cache"
    kernels = site.cache / "kernels"
    kernels.mkdir(parents=True)
    (kernels / bundle.id).symlink_to(bundle.folder)
    await site.synced()
    kernel_cache, site.cache = site.cache, site.folder / "empty"
    again = await site.synced()
    assert [set(actions(server).values()) for server in again.values()] == [{"nothing"}, {"nothing"}]
    assert not list(site.cache.rglob("manifest.json"))
    # A new template needs a kernel; until one is made, not even the name of its file is known.
    site.add("new")
    dry = await site.sync("--dry-run")
    assert dry.status == 0 and "would first build a kernel bundle" in dry.out
    assert dry.out.count(f"create     template new-{site.tag}") == 2
    assert not list(site.cache.rglob("manifest.json"))
    site.cache = kernel_cache
    await site.synced()
    # And what several servers need is built once.
    site.add("more")
    finished = await site.sync()
    assert finished.status == 0 and finished.err.count(f"Converting more-{site.tag} ...") == 1


async def test_remove_takes_the_template_away_and_names_its_nodes(site: TestSite) -> None:
    web = site.add("web")
    await site.synced()
    words = [word for process in site.processes.values() for word in ("--server", process.url)]
    dry = await gns3_minivm("remove", web, "--dry-run", "--delete-images", *words)
    assert dry.status == 0 and dry.out.count("would be removed") == 2
    # What one API deletes, the other one leaves to people.
    assert f"by hand    images/QEMU/{web}-" in dry.out and f"delete     {web}-" in dry.out
    assert await site.template("two", web) is not None
    process = site.processes["two"]
    async with await connect(parse_address(process.url)) as client:
        project = await client.create_project(f"p-{site.tag}")
        try:
            await client.create_node(project.project_id, template_id(web), name="pc1")
            done = await gns3_minivm("remove", web, "--delete-images", *words)
            assert done.status == 0, done.err
        finally:
            await client.delete_project(project.project_id)
    assert f"pc1 of project p-{site.tag}" in done.out and f"catalogue {site.name}" in done.out
    assert await site.template("two", web) is None and await site.template("three", web) is None
    left = {name: list(p.images.glob(f"web-{site.tag}-*.qcow2")) for name, p in site.processes.items()}
    # On API v2 a node used it; nor can that API delete a file.
    assert len(left["two"]) == 1 and left["three"] == [], done.out
    again = await gns3_minivm("remove", web, *words)
    assert again.status == 0 and again.out.count("nothing to do") == 2


async def test_remove_leaves_a_foreign_template_alone(site: TestSite) -> None:
    name, process = f"foreign-{site.tag}", site.processes["three"]
    async with await connect(parse_address(process.url)) as client:
        await client.create_template(QemuTemplate(template_id=str(uuid.uuid4()), name=name))
    refused = await gns3_minivm("remove", name, "--server", process.url)
    assert refused.status == 1 and "is not ours" in refused.err
    async with await connect(parse_address(process.url)) as client:
        assert name in {item.name for item in await client.templates()}
