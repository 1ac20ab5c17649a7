"""Authenticated connections between agents, and between replicas and their region's agent: framed msgpack over TCP.

    frames     how a message becomes bytes and back                                        (no I/O)
    hello      what both sides say first: version, name, purpose, and that they know the secret   (no I/O)
    channel    one open connection: messages both ways, with back pressure
    calls      requests and answers over a channel, many at once

A connection has one purpose: ``calls``, or a stream whose messages the two ends agree on. So a large transfer never
stands in front of a call.
"""

from atoll.channel.calls import Answerer, Caller, CallError, CallLost, Handler, NotSent, Remote
from atoll.channel.channel import Channel, ChannelClosed, ChannelServer, open_channel, serve_channels
from atoll.channel.frames import FrameError, Wire
from atoll.channel.hello import HelloRefused

__all__ = [
    "Answerer",
    "CallError",
    "CallLost",
    "Caller",
    "Channel",
    "ChannelClosed",
    "ChannelServer",
    "FrameError",
    "Handler",
    "HelloRefused",
    "NotSent",
    "Remote",
    "Wire",
    "open_channel",
    "serve_channels",
]
