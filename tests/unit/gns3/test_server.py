"""What is abstract in a server is what the two APIs do in different ways, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from gns3_minivm.gns3.server import Server
from gns3_minivm.gns3.v2.server import ServerV2
from gns3_minivm.gns3.v3.server import ServerV3


def public_methods(kind: type) -> Iterator[str]:
    return (name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_"))


def test_each_api_has_its_own_way_of_what_is_abstract() -> None:
    assert Server.__abstractmethods__
    for name in Server.__abstractmethods__:
        assert getattr(ServerV2, name) is not getattr(ServerV3, name), name
    assert not ServerV2.__abstractmethods__ and not ServerV3.__abstractmethods__


def test_an_api_has_nothing_that_the_other_one_lacks() -> None:
    assert set(public_methods(ServerV2)) == set(public_methods(ServerV3)) == set(public_methods(Server))


def test_both_apis_answer_every_question_about_what_a_server_can_do() -> None:
    asked = {name for part in Server.__mro__ for name in inspect.get_annotations(part) if not name.startswith("_")}
    # These a server tells when it is connected to.
    asked -= {"version", "url", "warnings"}
    assert {"can_delete_images", "have_template_versions", "newest_project_revision"} <= asked
    for kind in (ServerV2, ServerV3):
        assert not [name for name in asked if not hasattr(kind, name)], kind.__name__
