"""The private pool of message descriptors, and what is looked up in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any
"""A protobuf message. Its class is made at run time, so that no type checker knows it."""

_FILE: Final = "descriptors.binpb"


@dataclass(frozen=True)
class Method:
    """A method of a service.

    Attributes:
        name: of the method.
        path: `/<service>/<method>`, as gRPC has it.
        request, response: message classes.
        takes_stream, gives_stream: whether requests or answers are streams.
    """

    name: str
    path: str
    request: Any
    response: Any
    takes_stream: bool
    gives_stream: bool


@cache
def descriptor_set() -> tuple[bytes, ...]:
    """The serialised file descriptors, each after those that it imports."""
    content = files(__package__).joinpath(_FILE).read_bytes()
    return tuple(f.SerializeToString() for f in descriptor_pb2.FileDescriptorSet.FromString(content).file)


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The private pool with every message of this room."""
    filled = descriptor_pool.DescriptorPool()
    for content in descriptor_set():
        filled.AddSerializedFile(content)
    return filled


@cache
def message_class(full_name: str) -> Any:
    """The class of a message.

    Raises:
        KeyError: there is no such message.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


@cache
def enum_numbers(full_name: str) -> dict[str, int]:
    """Name → number of an enum.

    Raises:
        KeyError: there is no such enum.
    """
    return {value.name: value.number for value in pool().FindEnumTypeByName(full_name).values}


@cache
def methods_of(service: str) -> dict[str, Method]:
    """Name → method of a service.

    Raises:
        KeyError: there is no such service.
    """
    return {
        method.name: Method(
            method.name,
            f"/{service}/{method.name}",
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
            method.client_streaming,
            method.server_streaming,
        )
        for method in pool().FindServiceByName(service).methods
    }
