"""Server URLs: what is accepted, and that credentials are never shown again."""

from __future__ import annotations

import pytest

from gns3_minivm.base.errors import UsageError
from gns3_minivm.gns3.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://gns3.example:3080", "http://gns3.example:3080"),
        ("http://gns3.example", "http://gns3.example:3080"),
        ("https://gns3.example/", "https://gns3.example:3080"),
        ("gns3.example:8000", "http://gns3.example:8000"),
        ("127.0.0.1", "http://127.0.0.1:3080"),
        (" http://gns3.example:3080/v2/ ", "http://gns3.example:3080"),
        ("http://gns3.example:3080/v3", "http://gns3.example:3080"),
        ("https://proxy.example:443/gns3/", "https://proxy.example:443/gns3"),
        ("http://[::1]:3080", "http://[::1]:3080"),
        ("http://[fe80::1]", "http://[fe80::1]:3080"),
    ],
)
def test_urls_get_the_default_scheme_and_port(text: str, url: str) -> None:
    assert parse_address(text) == Address(url=url)


def test_credentials_are_percent_decoded_and_taken_out() -> None:
    address = parse_address("http://us%40er:p%3Ass%2Fw%25rd@host:3080")
    assert (address.url, address.username, address.password) == ("http://host:3080", "us@er", "p:ss/w%rd")


def test_given_credentials_take_precedence() -> None:
    address = parse_address("http://a:b@host", username="c", password="d")
    assert (address.username, address.password) == ("c", "d")
    assert address.with_credentials("e", "f").password == "f"


def test_a_user_without_a_password_has_none() -> None:
    assert parse_address("http://user@host").password is None


def test_neither_str_nor_repr_shows_credentials() -> None:
    address = parse_address("http://somebody:secret@host")
    assert str(address) == "http://host:3080"
    assert "secret" not in repr(address) and "somebody" not in repr(address)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://somebody:secret@host",
        "http://somebody:secret@",
        "http://somebody:secret@host:port",
        "http://somebody:secret@host:99999",
        "http://somebody:sec/ret@host:3080",
        "http://somebody:sec#ret@host:3080",
        "http://somebody:sec?ret@host:3080",
        "http://somebody:secret@host/?token=secret",
        "http://somebody:secret@[::1",
        "somebody:secret@host:x",
        "",
    ],
)
def test_a_wrong_url_is_told_without_its_credentials(text: str) -> None:
    with pytest.raises(UsageError, match="server URL") as caught:
        parse_address(text)
    shown = caught.value.message.replace("?token=secret", "")
    assert "sec" not in shown and "somebody" not in shown
    assert "http://user:password@host:3080" in caught.value.hint
