"""An engine's answers, read from its socket: however they are cut, and whatever else comes instead of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gns3_minivm.images.engine.socket import EngineSocket, UnexpectedError

DATA = bytes(range(256)) * 9000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Answer = Callable[[bytes, int], EngineSocket]


def chunks(data: bytes, size: int) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answer]:
    """Starts an engine that gives one answer, cut into parts of a size, and closes the connection."""
    threads: list[threading.Thread] = []

    def start(answer: bytes, cut: int) -> EngineSocket:
        path = str(tmp_path / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with listener:
                connection, _ = listener.accept()
            with connection:
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += connection.recv(4096)
                for start in range(0, len(answer), cut):
                    try:
                        connection.sendall(answer[start : start + cut])
                    except OSError:
                        return

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return EngineSocket(path, "1.41")

    yield start
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("cut", [7, 1000, 70_000, 1 << 30])
@pytest.mark.parametrize("size", [1, 4096, 32 << 10, 3 << 20])
def test_chunks_become_the_data_however_they_arrive(answering: Answer, size: int, cut: int) -> None:
    data = DATA if size > 1 and cut > 7 else DATA[:5000]
    found = answering(CHUNKED + chunks(data, size) + b"0\r\n\r\n", cut).stream("/images/x/get")
    assert b"".join(bytes(piece) for piece in found) == data


def test_pieces_are_large(answering: Answer) -> None:
    found = [len(piece) for piece in answering(CHUNKED + chunks(DATA, 4096) + b"0\r\n\r\n", 5000).stream("/")]
    assert len(found) == 3


def test_extensions_of_chunks_are_passed_over(answering: Answer) -> None:
    found = answering(CHUNKED + b"3;a=b\r\nabc\r\n0;x\r\nTrailer: y\r\n\r\n", 1).stream("/")
    assert b"".join(bytes(piece) for piece in found) == b"abc"


@pytest.mark.parametrize("head", [b"\r\n", b"Content-Length: 2304000\r\n\r\n"])
@pytest.mark.parametrize("cut", [1000, 1 << 30])
def test_a_body_that_is_not_cut_into_chunks_is_read(answering: Answer, head: bytes, cut: int) -> None:
    found = answering(HEAD + head + DATA, cut).stream("/")
    assert b"".join(bytes(piece) for piece in found) == DATA


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunks(DATA, 4096),
        CHUNKED + chunks(DATA, 4096)[:-300],
        CHUNKED + b"10\r\nabc",
        CHUNKED + b"1",
        CHUNKED,
        HEAD + b"Content-Length: 2304001\r\n\r\n" + DATA,
        HEAD + b"Content-Length: 5\r\n\r\n",
    ],
)
def test_an_engine_that_stops_in_the_middle_is_an_error(answering: Answer, answer: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        list(answering(answer, 1000).stream("/"))


@pytest.mark.parametrize(
    "line", [b"xyz\r\n", b"-5\r\n", b"5\n", b"\r\n\r\n", b"f" * 40 + b"\r\n", b"1" * 1000, b"0x5\r\n"]
)
def test_chunks_without_a_size_are_an_error(answering: Answer, line: bytes) -> None:
    with pytest.raises(OSError, match="Protocol error|reset"):
        list(answering(CHUNKED + b"3\r\nabc\r\n" + line + b"abcdef", 1000).stream("/"))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"x" * 100_000,
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\n\r\nx",
        HEAD + b"Content-Length: -1\r\n\r\nx",
    ],
)
def test_other_answers_are_left_to_the_docker_package(answering: Answer, answer: bytes) -> None:
    with pytest.raises(UnexpectedError):
        list(answering(answer, 1000).stream("/"))


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_document_that_is_none_is_left_to_the_docker_package(answering: Answer, body: bytes) -> None:
    with pytest.raises(UnexpectedError):
        answering(HEAD + b"\r\n" + body, 1 << 20).document("/version", 5)


def test_a_document_is_read(answering: Answer) -> None:
    assert answering(HEAD + b"Content-Length: 9\r\n\r\n" + b'{"a": 1} ', 3).document("/version", 5) == {"a": 1}


def test_nobody_there_is_left_to_the_docker_package(tmp_path: Path) -> None:
    with pytest.raises(UnexpectedError):
        EngineSocket(str(tmp_path / "none")).document("/version", 5)
    with pytest.raises(UnexpectedError):
        list(EngineSocket(str(tmp_path / "none")).stream("/x"))


def test_a_silent_engine_is_not_waited_for_when_a_document_is_asked(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen()
        with pytest.raises(UnexpectedError, match="timed out"):
            EngineSocket(str(tmp_path / "silent")).document("/version", 0.1)
