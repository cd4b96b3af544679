"""Groups dense ops into islands: the fewest that leave the graph acyclic."""

from __future__ import annotations

import heapq
import operator

from torch import fx, nn

from fluxshard.passes.support.meta import annotate, info, take


def group_islands(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Moves dense calls into submodules `island_0`, `island_1`, ….

    Given:
        a (1, 16, 40, 40) = reference.conv2d(x, w, …)           # sparse
        m (1, 16, 40, 40) = matmul(a, a)                        # dense
        s (1, 16, 40, 40) = softmax(m, 3)                       # dense
        b (1, 16, 40, 40) = reference.conv2d(s, v, …)           # sparse
    Result:
        a (1, 16, 40, 40) = reference.conv2d(x, w, …)
        s (1, 16, 40, 40) = island_0(a)
        b (1, 16, 40, 40) = reference.conv2d(s, v, …)

    The depth of a node is the largest number of steps from a dense to a sparse op on a path to it. Dense ops of one
    depth share an island where one reads the other or both read the same dense result. A path between two of them goes
    through dense ops of that depth only, so no island depends on itself.

    Leaves alone: graphs without dense calls.
    """
    return _rebuild(graph_module, _groups(graph_module.graph))


def _is_dense(node: fx.Node) -> bool:
    return node.op == "call_function" and info(node).mode == "dense"


def _groups(graph: fx.Graph) -> list[list[fx.Node]]:
    depth: dict[fx.Node, int] = {}
    parent: dict[fx.Node, fx.Node] = {}

    def find(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node in graph.nodes:
        dense = _is_dense(node)
        depth[node] = max(
            (depth[source] + (not dense and _is_dense(source)) for source in node.all_input_nodes), default=0
        )
        if not dense:
            continue
        parent[node] = node
        for source in node.all_input_nodes:
            if not _is_dense(source):
                continue
            for relative in (source, *source.users):
                if relative in parent and depth[relative] == depth[node]:
                    parent[find(relative)] = find(node)
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if node in parent:
            groups.setdefault(find(node), []).append(node)
    return list(groups.values())


def _rebuild(graph_module: fx.GraphModule, groups: list[list[fx.Node]]) -> fx.GraphModule:
    """The graph with every group as one call, producers before their readers, otherwise in the old order."""
    graph = graph_module.graph
    group_of = {node: members for members in groups for node in members}
    position = {node: index for index, node in enumerate(graph.nodes)}
    unit_of = {node: (group_of[node][-1] if node in group_of else node) for node in graph.nodes}
    waiting: dict[fx.Node, set[fx.Node]] = {unit: set() for unit in unit_of.values()}
    readers: dict[fx.Node, set[fx.Node]] = {unit: set() for unit in unit_of.values()}
    for node in graph.nodes:
        for source in node.all_input_nodes:
            if unit_of[source] is not unit_of[node]:
                waiting[unit_of[node]].add(unit_of[source])
                readers[unit_of[source]].add(unit_of[node])
    ready = [(position[unit], unit) for unit, sources in waiting.items() if not sources]
    heapq.heapify(ready)
    fresh, copies, count = fx.Graph(), dict[fx.Node, fx.Node](), 0
    while ready:
        _, unit = heapq.heappop(ready)
        if unit in group_of:
            _call_island(graph_module, fresh, copies, group_of[unit], f"island_{count}")
            count += 1
        else:
            copies[unit] = fresh.node_copy(unit, lambda source: copies[source])
        for reader in readers[unit]:
            waiting[reader].discard(unit)
            if not waiting[reader]:
                heapq.heappush(ready, (position[reader], reader))
    fresh._codegen = graph._codegen
    return fx.GraphModule(graph_module, fresh, class_name=type(graph_module).__name__)


def _call_island(
    root: fx.GraphModule, graph: fx.Graph, copies: dict[fx.Node, fx.Node], members: list[fx.Node], name: str
) -> None:
    inside = set(members)
    read = dict.fromkeys(source for node in members for source in node.all_input_nodes if source not in inside)
    values = [source for source in read if source.op != "get_attr"]
    # an island runs when an input changes; one without inputs reads the image, so that it runs once
    values = values or [next(node for node in members[0].graph.nodes if node.op == "placeholder")]
    inputs = values + [source for source in read if source.op == "get_attr"]
    results = [node for node in members if any(user not in inside for user in node.users)]
    body = fx.Graph()
    local: dict[fx.Node, fx.Node] = {}
    for source in inputs:
        local[source] = body.placeholder(source.name)
        local[source].meta = dict(source.meta)
    for node in members:
        local[node] = body.node_copy(node, lambda source: local[source])
    body.output(local[results[0]] if len(results) == 1 else tuple(local[node] for node in results))
    root.add_module(name, fx.GraphModule(nn.Module(), body, class_name=name))
    call = graph.call_module(name, tuple(copies[source] for source in inputs))
    reasons = dict.fromkeys(info(node).reason for node in members if info(node).reason)
    call.meta = {key: value for key, value in results[0].meta.items() if key in ("nn_module_stack", "stack_trace")}
    if len(results) == 1:
        call.meta["val"] = results[0].meta["val"]
        take(call, results[0])
        copies[results[0]] = call
    else:
        call.meta["val"] = tuple(node.meta["val"] for node in results)
        for index, node in enumerate(results):
            copies[node] = graph.call_function(operator.getitem, (call, index))
            copies[node].meta = dict(node.meta)
            annotate(copies[node], mode=None)  # the island is what runs
    annotate(call, mode="dense", reason="; ".join(reasons))


def island_results(island: fx.GraphModule) -> list[fx.Node]:
    """Nodes inside an island that it returns, in order of its outputs."""
    returned = island.graph.output_node().args[0]
    return [returned] if isinstance(returned, fx.Node) else list(returned)  # type: ignore[arg-type]


def island_of(graph_module: fx.GraphModule, node: fx.Node) -> fx.GraphModule:
    """The submodule that a `call_module` node calls."""
    island = graph_module.get_submodule(str(node.target))
    assert isinstance(island, fx.GraphModule)
    return island
