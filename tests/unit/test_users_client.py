import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.users_scripted import RESET, answer, scripted

from loadtests.users.client import Connection, NoAnswer, Origin

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def said_in_turn(*answers: bytes) -> Iterator[bytes]:
    return iter(answers)


def test_an_answer_and_the_connection_is_kept() -> None:
    with scripted(lambda _: answer(b'{"a": 1}', atoll_region="eu-west", set_cookie="a=b; Path=/")) as server:
        connection = Connection(server.origin)
        assert not connection.open
        for _ in range(2):
            connection.ask(ASK, 5.0)
            assert connection.open
        response = connection.ask(ASK, 5.0)
        assert (response.status, response.json()) == (200, {"a": 1})
        assert response.headers[b"atoll-region"] == b"eu-west" and response.cookies == [b"a=b; Path=/"]
        assert server.connections == 1
        connection.close()


def test_chunked_answers_and_those_that_end_with_the_connection() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    unframed = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"
    answers = said_in_turn(chunked, unframed)
    with scripted(lambda _: next(answers)) as server:
        connection = Connection(server.origin)
        assert connection.ask(ASK, 5.0).body == b"abcde" and connection.open
        assert connection.ask(ASK, 5.0).body == b"until the end" and not connection.open


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b"", "reset"),
        (RESET, "reset"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf", "cut"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nha", "cut"),
        (b"not HTTP at all\r\n\r\n", "malformed"),
    ],
)
def test_each_failure_has_its_word(said: bytes, word: str) -> None:
    with scripted(lambda _: said) as server:
        connection = Connection(server.origin)
        with pytest.raises(NoAnswer) as failure:
            connection.ask(ASK, 5.0)
        assert failure.value.word == word
        assert not connection.open


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer, match="refused"):
        Connection(Origin("127.0.0.1", port)).ask(ASK, 5.0)


def test_patience_is_for_the_whole_answer_not_for_each_byte() -> None:
    released = threading.Event()

    def slowly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not released.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=slowly, args=(listener,), daemon=True)
        thread.start()
        begun_s = time.monotonic()
        with pytest.raises(NoAnswer, match="timeout"):
            Connection(Origin("127.0.0.1", listener.getsockname()[1])).ask(ASK, 0.3)
        assert time.monotonic() - begun_s >= 0.3
        released.set()
        thread.join(5)


def test_a_connection_that_the_server_ended_meanwhile_is_not_used() -> None:
    with scripted(lambda _: answer(connection="close")) as server:
        connection = Connection(server.origin)
        for number in (1, 2):
            assert connection.ask(ASK, 5.0).status == 200
            assert not connection.open
            assert server.connections == number


def test_one_that_it_ended_without_a_word_is_noticed_before_the_next_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(Origin("127.0.0.1", listener.getsockname()[1]))

        def once() -> None:
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(answer())

        thread = threading.Thread(target=once)
        thread.start()
        assert connection.ask(ASK, 5.0).status == 200
        thread.join(5)
        assert not connection.open


@given(st.binary(max_size=200), st.lists(st.integers(1, 60), max_size=6), st.booleans())
@settings(max_examples=40, deadline=None)
def test_an_answer_is_the_same_however_it_is_cut_into_pieces(
    body: bytes, cuts: list[int], chunked: bool
) -> None:
    from loadtests.users.client import _Reading

    if chunked:
        pieces = [body[:7], body[7:]]
        parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    else:
        whole = answer(body)
    reading = _Reading()
    for cut in cuts:
        piece, whole = whole[:cut], whole[cut:]
        if piece:
            assert not reading.complete
            reading.feed(piece)
    if whole:
        reading.feed(whole)
    assert reading.complete and reading.response.body == body and reading.keep


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://127.0.0.1:8080", Origin("127.0.0.1", 8080), "127.0.0.1:8080"),
        ("https://shop.example/", Origin("shop.example", 443, tls=True), "shop.example"),
        ("http://[::1]:80", Origin("::1", 80), "[::1]"),
    ],
)
def test_origins(url: str, origin: Origin, authority: str) -> None:
    assert Origin.of(url) == origin
    assert origin.authority == authority


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "http://x/shop", "http://x:port"])
def test_what_is_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|port|Port"):
        Origin.of(url)
