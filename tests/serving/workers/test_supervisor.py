from __future__ import annotations

import socket

import pytest

from recserve.errors import ConfigError
from recserve.serving.run import bind
from recserve.serving.workers.seat import Seat
from recserve.serving.workers.supervisor import Supervisor, restart_delay_s, share_ports


def test_a_server_has_at_least_one_worker() -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        Supervisor(0, print, Seat(), drain_s=1)  # type: ignore[arg-type] # nothing is built
    with pytest.raises(ConfigError, match=r"hang_s is -1. It is at least 0; 0 lets workers hang"):
        Supervisor(1, print, Seat(), drain_s=1, hang_s=-1)  # type: ignore[arg-type] # nothing is built


def test_short_lives_delay_the_next_one_but_a_server_is_never_long_without_any() -> None:
    assert [restart_delay_s(n, is_alone=False) for n in (0, 1, 2, 3, 9, 5000)] == [0, 0.1, 0.2, 0.4, 25.6, 30]
    assert [restart_delay_s(n, is_alone=True) for n in (0, 1, 4, 5, 5000)] == [0, 0.1, 0.8, 1, 1]


def test_workers_share_listening_sockets_of_http_and_numbers_of_others() -> None:
    seat, holders = share_ports("127.0.0.1", {"tfs": 0}, {"grpc": 0}, bind)
    with seat.listeners["tfs"] as listener, holders[0] as holder:
        with socket.create_connection(listener.getsockname()):
            pass
        assert seat.ports == {"grpc": holder.getsockname()[1]}
        with socket.socket() as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            another.bind(("127.0.0.1", seat.ports["grpc"]))


def test_a_port_that_is_taken_is_told_and_the_others_are_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"127.0.0.1: cannot listen: .* Choose another host or port") as caught:
            share_ports("127.0.0.1", {"tfs": 0}, {"grpc": number}, bind)
        assert caught.value.code == "cannot_listen"
        with pytest.raises(ConfigError, match="cannot listen"):
            share_ports("127.0.0.1", {"tfs": number}, {}, bind)
