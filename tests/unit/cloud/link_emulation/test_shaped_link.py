import socket

import pytest

from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.shaped_link import ShapedLink
from fluxshard.errors import OptionError, StateError


@pytest.mark.parametrize(
    "options", [{"loss": 0.1}, {"congestion_control": "bbr"}, {"initcwnd": 10}, {"slow_start_after_idle": True}]
)
def test_what_needs_packets_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(options))} cannot be had: use a PacketLink"):
        ShapedLink(LinkOptions(**options))  # type: ignore[arg-type]


def test_a_connection_to_nobody_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with ShapedLink(LinkOptions(delay_up_ms=1, delay_down_ms=1)) as link:
        assert link.address(port) == link.address(port)  # one way to each port
        with socket.create_connection(link.address(port)) as end:
            end.settimeout(10)
            with pytest.raises(ConnectionResetError):
                if end.recv(1) == b"":
                    raise ConnectionResetError
    with pytest.raises(StateError, match="not up"):
        link.address(port)


def test_ends_of_streams_go_through() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        ShapedLink(LinkOptions(delay_up_ms=1)) as link,
        socket.create_connection(link.address(server.getsockname()[1])) as edge,
        server.accept()[0] as far,
    ):
        edge.sendall(b"up")
        edge.shutdown(socket.SHUT_WR)
        far.settimeout(10)
        assert far.recv(16, socket.MSG_WAITALL) == b"up"
        far.sendall(b"down")
        far.shutdown(socket.SHUT_WR)
        edge.settimeout(10)
        assert edge.recv(16, socket.MSG_WAITALL) == b"down"
    assert (link.stats().up_bytes, link.stats().down_bytes) == (2, 4)
