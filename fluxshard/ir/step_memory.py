"""Where the memory of a stream of generated C++ goes, from its layout."""

from __future__ import annotations

from fluxshard.ir.plan import Plan
from fluxshard.ir.step_layout import Keep, StateLayout


def memory_parts(plan: Plan, layout: StateLayout, keep: Keep) -> dict[str, int]:
    """Bytes of a stream's state by what they hold; together they are `layout.sizes[keep]`.

    Args:
      plan: of the layout.
      layout: where everything lies.
      keep: what the stream keeps.
    """
    parts: dict[str, int] = {}
    stored = {store.grid for store in layout.stores.values()}
    copies = 2 if keep is Keep.UNMOVED else 1
    for index in sorted(stored, key=lambda one: (plan.grids[one].stride_y, plan.grids[one].stride_x)):
        grid = plan.grids[index]
        name = f"features at stride {grid.stride_y}" + (
            "" if grid.stride_x == grid.stride_y else f" by {grid.stride_x}"
        )
        parts[name] = parts.get(name, 0) + sum(
            copies * store.row_bytes(grid.cells)
            for store in layout.stores.values()
            if store.grid == index and not (store.passing and keep is Keep.GIVEN)
        )
    maps = sum(5 * plan.grids[index].cells for index in stored)  # 4 bytes of a map, and candidates
    for store in layout.stores.values():
        cells = plan.grids[store.grid].cells
        maps += 6 * cells if store.alone or keep is not Keep.GIVEN else 0
        maps += 4 * cells if keep is Keep.UNMOVED else 0
    parts["maps and masks"] = maps
    parts["values off the grids"] = 4 * sum(one.floats for one in (*layout.values.values(), *layout.vectors.values()))
    parts["mask of the image"] = plan.grids[0].cells
    parts["alignment and flags"] = layout.sizes[keep] - sum(parts.values())
    return parts
