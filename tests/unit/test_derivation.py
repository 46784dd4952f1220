"""Hashes of derivations, however many lie upon each other."""

from __future__ import annotations

import json
import sys

from engine.core.closure import in_order
from engine.core.derivation import Derivation, Input
from engine.core.oci_model import ImageConfig
from engine.plan.plan import Plan
from engine.plan.render import render

LENGTH = 5000  # Python's stack holds a fifth of that


def chain(*, hashed: bool) -> Derivation:
    """Derivations, each upon the one before; `hashed`: each is hashed as soon as it is there."""
    top = Derivation("layer", "0")
    for number in range(1, LENGTH):
        top = Derivation("layer", str(number), inputs=(Input("layer", top),))
        assert not hashed or top.drv_id
    return top


def test_a_long_chain_has_the_hash_that_its_links_give_it() -> None:
    assert sys.getrecursionlimit() < LENGTH
    assert chain(hashed=False).drv_id == chain(hashed=True).drv_id


def test_long_chains_are_compared() -> None:
    first, second = chain(hashed=False), chain(hashed=False)
    assert first == second
    assert first != Derivation("layer", str(LENGTH - 1), inputs=first.inputs * 2)
    assert len({first, second}) == 1


def test_a_long_chain_is_put_in_order_and_drawn() -> None:
    top = chain(hashed=False)
    layers = in_order([top])
    assert [x.name for x in layers] == [str(n) for n in range(LENGTH)]
    drawn = json.loads(render(Plan((top,), ImageConfig(), {}, (top,)), "json"))
    assert [x["name"] for x in drawn["derivations"]] == [str(n) for n in range(LENGTH)]


def test_what_several_share_is_hashed_once() -> None:
    """2^200 ways lead down from the top."""
    top = Derivation("layer", "0")
    for number in range(1, 200):
        top = Derivation("layer", str(number), inputs=(Input("layer", top), Input("below", top)))
    assert len(in_order([top])) == 200
