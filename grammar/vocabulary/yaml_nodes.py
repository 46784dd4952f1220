"""YAML, with the place of each of its nodes."""

from __future__ import annotations

import yaml
from yaml import Node

from grammar.errors import SpecError
from grammar.position import Position


def document(text: str, file: str, offset: Position | None = None) -> Node | None:
    """The root node of a YAML text. Errors stand at `offset`, when the text has no file."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = offset
        if where is None:
            where = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
        raise SpecError(
            f"invalid YAML: {error.problem or error.context}", where, "" if offset else text
        ) from None
    except yaml.YAMLError as error:
        raise SpecError(
            f"invalid YAML: {str(error).splitlines()[0]}", offset or Position(file, 1, 1)
        ) from None


class Reader:
    """Reads strings, lists and mappings out of YAML nodes, or says what they are instead."""

    def __init__(self, file: str, text: str, offset: Position | None = None) -> None:
        self.file, self.text, self.offset = file, text, offset

    def at(self, node: Node) -> Position:
        if self.offset is not None:
            return self.offset
        return Position(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def error(self, message: str, node: Node) -> SpecError:
        return SpecError(message, self.at(node), "" if self.offset else self.text)

    def pairs(self, node: Node, what: str) -> dict[str, Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(f"{what} is a mapping", node)
        return {str(key.value): value for key, value in node.value}

    def items(self, node: Node, what: str) -> list[Node]:
        if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(f"{what} is a list", node)
        return list(node.value)

    def is_scalar(self, node: Node) -> bool:
        return isinstance(node, yaml.ScalarNode)

    def string(self, node: Node, what: str) -> str:
        if not self.is_scalar(node) or node.tag.endswith(":null"):
            raise self.error(f"{what} is a string", node)
        return str(node.value)
