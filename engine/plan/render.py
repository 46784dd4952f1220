"""Rendering of a plan: as text, JSON or Graphviz dot. Layers are shown as they are built: that each
is then placed upon all below it goes without saying."""

from __future__ import annotations

import json

from engine.core.derivation import Derivation, Fetch
from engine.plan.plan import Plan
from engine.realise.placed import raw_of


def _inputs(derivation: Derivation) -> list[Derivation | Fetch]:
    return [
        raw_of(i.derivation) if isinstance(i.derivation, Derivation) else i.derivation
        for i in derivation.inputs
    ]


def _walk(plan: Plan) -> list[Derivation | Fetch]:
    """Every derivation of the plan, inputs before users, each once."""
    seen: dict[str, Derivation | Fetch] = {}

    # No recursion: a chain may be deeper than Python's stack.
    todo: list[tuple[Derivation | Fetch, bool]] = [(layer, False) for layer in reversed(plan.layers)]
    while todo:
        derivation, inputs_done = todo.pop()
        if derivation.drv_id in seen:
            continue
        if inputs_done or isinstance(derivation, Fetch):
            seen[derivation.drv_id] = derivation
        else:
            todo.append((derivation, True))
            todo += [(entry, False) for entry in reversed(_inputs(derivation))]
    return list(seen.values())


def render(plan: Plan, form: str, *, files: bool = False) -> str:
    """The plan as `form`: "text", "json" or "dot". `files` adds the fixed-output fetches."""
    nodes = [d for d in _walk(plan) if files or isinstance(d, Derivation)]
    shown = {d.drv_id for d in nodes}

    def inputs(node: Derivation | Fetch) -> list[str]:
        if isinstance(node, Fetch):
            return []
        return [d.drv_id for d in _inputs(node) if d.drv_id in shown]

    if form == "json":
        rows = [
            {
                "id": node.drv_id,
                "kind": "fetch" if isinstance(node, Fetch) else node.kind,
                "name": node.name,
                "inputs": inputs(node),
            }
            for node in nodes
        ]
        return json.dumps({"derivations": rows, "layers": [d.drv_id for d in plan.layers]}, indent=2)
    if form == "dot":
        lines = ["digraph envd {", "  rankdir=BT;", "  node [shape=box];"]
        for node in nodes:
            lines.append(f'  "{node.drv_id[:12]}" [label="{node.name}"];')
            lines += [f'  "{node.drv_id[:12]}" -> "{i[:12]}";' for i in inputs(node)]
        return "\n".join([*lines, "}"])
    lines = []
    for node in nodes:
        if isinstance(node, Fetch):
            lines.append(f"{node.drv_id[:12]}  fetch     {node.name}")
            continue
        count = sum(isinstance(i.derivation, Fetch) for i in node.inputs)
        below = " ".join(d.drv_id[:12] for d in _inputs(node) if isinstance(d, Derivation))
        fetched = f"  files={count}" if count else ""
        on = f"  on={below}" if below else ""
        lines.append(f"{node.drv_id[:12]}  {node.kind:<9} {node.name}{fetched}{on}")
    return "\n".join(lines)
