"""The structure of a model's output as JSON, for plans."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec


def output_tree(spec: TreeSpec) -> str:
    """JSON of a structure, which `pytree.treespec_loads` reads.

    What JSON cannot carry is replaced: named tuples, what `max()` returns and other types of a library by plain tuples,
    keys of dictionaries that are no strings or numbers by their text. A model that was compiled here returns the
    structure itself; a saved model has no more than this.
    """
    try:
        text = pytree.treespec_dumps(spec)
        if pytree.treespec_loads(text) == spec:
            return text
    except Exception:  # the types of the structure may refuse in any way
        pass
    return pytree.treespec_dumps(pytree.tree_structure(_plain(spec)))


def _plain(spec: TreeSpec) -> Any:
    """A value of the plain structure; its leaves are 0."""
    if spec.is_leaf():
        return 0
    children = [_plain(child) for child in spec.children()]
    if spec.type is list:
        return children
    if isinstance(spec.type, type) and issubclass(spec.type, dict):
        keys = spec.context[1] if spec.type is defaultdict else spec.context
        return dict(zip([_key(key) for key in keys], children, strict=True))
    return tuple(children)


def _key(key: object) -> object:
    if isinstance(key, (str, int, float, bool)) and json.loads(json.dumps(key)) == key:
        return key
    return str(key)
