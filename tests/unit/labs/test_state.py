"""Which project is a lab: the mark belongs to one project, and copies of it are none."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gns3_minivm.base.errors import ConflictError, NotFoundError
from gns3_minivm.gns3.model import Node, Project
from gns3_minivm.gns3.server import Server
from gns3_minivm.labs.state import find_project, lab_state, mark, observe


class Projects:
    """A server that has projects, and in each of them a node ``a``."""

    url = "http://here"

    def __init__(self, *projects: Project) -> None:
        self._projects = projects

    async def projects(self) -> list[Project]:
        return list(self._projects)

    async def nodes(self, project_id: str) -> list[Node]:
        return [
            Node(project_id=project_id, node_id=f"{project_id}-a", name="a", node_type="vpcs", status="stopped",
                 compute_id="local", template_id=None, console_host="", console_port=None, ports=(), properties={})
        ]  # fmt: skip

    async def nothing(self, _project_id: str) -> list[Any]:
        return []

    links = drawings = nothing


def server(*projects: Project) -> Server:
    return cast(Server, Projects(*projects))


def lab(project_id: str = "p1", name: str = "lab") -> Project:
    return Project(project_id, name, "opened", mark("lab", project_id, {"a": f"{project_id}-a"}))


def copy(name: str, project_id: str = "p2") -> Project:
    """What GNS3 makes of a lab that it imports or duplicates: the variables are as they were, the id is new."""
    return Project(project_id, name, "opened", lab().variables)


async def test_a_lab_is_known_by_its_mark_whatever_its_project_is_called() -> None:
    assert await find_project(server(lab()), "lab") == lab()
    assert await find_project(server(copy("a copy"), lab(name="production")), "lab") == lab(name="production")


async def test_a_copy_of_a_lab_is_never_taken_for_it() -> None:
    assert await find_project(server(copy("backup")), "lab") is None
    with pytest.raises(NotFoundError, match=r"http://here: there is no lab 'lab'; there are copies of it: 'backup'"):
        await lab_state(server(copy("backup")), "lab")


async def test_a_copy_that_is_called_like_the_lab_is_told_with_what_can_be_done() -> None:
    with pytest.raises(ConflictError, match=r"the project 'lab' \(p2\) is a copy of the lab 'lab'") as caught:
        await find_project(server(copy("lab")), "lab")
    assert "lab up --adopt" in caught.value.hint
    with pytest.raises(ConflictError) as caught:
        await find_project(server(copy("lab"), lab(name="renamed")), "lab")
    assert "The lab itself is the project 'renamed'" in caught.value.hint


async def test_a_project_of_the_name_that_is_another_lab_or_none_is_told_as_what_it_is() -> None:
    with pytest.raises(ConflictError, match="the project 'other' .* is the lab 'lab'"):
        await find_project(server(lab(name="other")), "other")
    with pytest.raises(ConflictError, match="was not made from a lab file"):
        await find_project(server(Project("p3", "lab", "opened", {})), "lab")


async def test_two_projects_of_one_lab_are_a_conflict() -> None:
    with pytest.raises(ConflictError, match="'one', 'two' are all marked as the lab"):
        await find_project(server(lab("p1", "one"), lab("p2", "two")), "lab")


async def test_the_record_of_another_lab_or_another_project_says_nothing_of_these_nodes() -> None:
    here = server(lab())
    assert (await observe(here, lab(), "lab")).record == {"a": "p1-a"}
    assert (await observe(here, copy("lab"), "lab")).record == {}
    assert (await observe(here, lab(name="other"), "other")).record == {}
