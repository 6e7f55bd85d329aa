"""What is asked of a server, and when: requests are few where nothing is to be done."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from gns3_minivm.agent.desired import DesiredAppliance, WantedFile, template_id
from gns3_minivm.agent.observe import Observed, observe
from gns3_minivm.gns3.model import QemuTemplate, ServerImage, ServerTemplate
from gns3_minivm.gns3.server import Server


class Recorded:
    """A server whose answers are given, and that remembers what it was asked."""

    url = "http://host:3080"
    one_name_per_content = False
    images_per_compute = True
    have_template_versions = False

    def __init__(self, *templates: QemuTemplate, images: dict[str, str | None] | None = None) -> None:
        self._templates = [
            ServerTemplate(template_id=t.template_id, name=t.name, template_type="qemu", builtin=False, values=t)
            for t in templates
        ]
        found = {"disk": "1" * 32, "kernel": "2" * 32} if images is None else images
        self._images = [ServerImage(filename=name, size_bytes=10, md5=md5) for name, md5 in found.items()]
        self.asked: list[str] = []

    def check_template(self, template: QemuTemplate) -> None:
        assert template.compute_id

    async def templates(self) -> list[ServerTemplate]:
        self.asked.append("templates")
        return self._templates

    async def images(self, compute_id: str) -> list[ServerImage]:
        self.asked.append(f"images of {compute_id}")
        return self._images

    async def default_compute(self) -> str:
        self.asked.append("default compute")
        return "vm"

    async def image_md5(self, filename: str, _compute_id: str) -> str | None:
        self.asked.append(f"md5 of {filename}")
        return "1" * 32

    async def qemu_versions(self, compute_id: str) -> tuple[str, ...] | None:
        self.asked.append(f"QEMU of {compute_id}")
        return ("7.2.0",)


def appliance(compute: str | None = None, known: bool = False) -> DesiredAppliance:
    template = QemuTemplate(
        template_id=template_id("vm"), name="vm", hda_disk_image="disk", kernel_image="kernel", compute_id=compute
    )
    md5s = {"disk": "1" * 32, "kernel": "2" * 32}
    files = [WantedFile(name, 10, md5) if known else WantedFile(name) for name, md5 in md5s.items()]
    return DesiredAppliance(template=template, files=tuple(files), qemu_minimum=(5, 1))


async def look(server: Recorded, wanted: DesiredAppliance, compute: str | None = None) -> Observed:
    return await observe(cast(Server, server), [wanted], compute=compute)


async def test_a_server_that_has_everything_is_asked_two_questions() -> None:
    there = replace(appliance().template, compute_id="vm")
    server = Recorded(there)
    observed = await look(server, appliance())
    assert server.asked == ["templates", "images of vm"]
    assert [item.template.compute_id for item in observed.desired] == ["vm"]


async def test_where_a_template_is_missing_the_compute_and_its_qemu_matter() -> None:
    server = Recorded()
    observed = await look(server, appliance())
    assert server.asked == ["templates", "default compute", "images of vm", "QEMU of vm"]
    assert observed.qemu_versions == {"vm": ("7.2.0",)}


async def test_a_compute_that_is_named_is_not_asked_for() -> None:
    server = Recorded()
    observed = await look(server, appliance(), compute="gpu")
    assert server.asked == ["templates", "images of gpu", "QEMU of gpu"]
    assert observed.desired[0].compute_id == "gpu"
    assert (await look(Recorded(), appliance("local"))).desired[0].compute_id == "local"


async def test_an_appliances_own_compute_goes_before_that_of_the_server_and_a_templates_before_both() -> None:
    assert (await look(Recorded(), appliance("gpu"), compute="other")).desired[0].compute_id == "gpu"
    there = replace(appliance().template, compute_id="vm")
    [item] = (await look(Recorded(there), appliance("gpu"), compute="other")).desired
    assert (item.compute_id, item.offered) == ("vm", (("compute_id", "gpu"),))
    # That a new one gets the server's default is nothing that was asked of this one.
    new = DesiredAppliance(template=QemuTemplate(template_id=template_id("new"), name="new", compute_id=None), files=())
    on_far = Recorded(replace(appliance().template, compute_id="far"))
    first, second = (await observe(cast(Server, on_far), [new, appliance()])).desired
    assert (first.compute_id, second.compute_id, second.offered) == ("vm", "far", ())


async def test_a_file_is_looked_at_itself_only_where_its_checksum_is_another_one() -> None:
    there = replace(appliance().template, compute_id="local")
    stale = Recorded(there, images={"disk": "9" * 32, "kernel": "2" * 32})
    observed = await look(stale, appliance(known=True))
    assert stale.asked == ["templates", "images of local", "md5 of disk"]
    assert observed.images["local"]["disk"].md5 == "1" * 32
    sent_again = Recorded(there, images={"disk": "9" * 32, "disk-2": "1" * 32, "kernel": "2" * 32})
    await look(sent_again, appliance(known=True))
    assert sent_again.asked == ["templates", "images of local"]
