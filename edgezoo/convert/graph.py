"""The emitter: puts the door and the exit onto a raw network graph, wherever that came from.

Door: `images` uint8 (N, H, W, 3) BGR is cast to float, then laid out, reordered and normalised as the recipe says.
Exit: the task's tensors, dense and of static shape but for N; see `decoders`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ConvertError
from edgezoo.preprocess import Preprocess

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 11
_RAW = "net/"  # everything of the raw graph is renamed under this, so that no name of ours can meet one of its


class Nodes:
    """Nodes to put before or behind a graph; each is named after what it does."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """A node of one output; its name, `out` where given."""
        from onnx import helper

        name = f"{self._prefix}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out or name], name=name, **attributes))
        return out or name

    def constant(self, value: npt.NDArray[Any] | np.generic) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}/constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: Sequence[int]) -> list[str]:
        """int64 constants: the starts, ends and axes of a Slice."""
        return [self.constant(np.array(value, np.int64)) for value in values]


def emit(
    raw: onnx.ModelProto,
    recipe: Preprocess,
    exit_nodes: Nodes,
    outputs: Mapping[str, tuple[int, ...]],
    *,
    batch: int | None,
) -> onnx.ModelProto:
    """`raw` with the door of `recipe` before it and `exit_nodes` behind it.

    `exit_nodes` reads raw outputs under the names that `inside` gives. `outputs` are the task's, with their shapes
    behind N. Raises ConvertError.
    """
    import onnx
    from onnx import TensorProto, compose, helper

    width, height = recipe.size_wh
    door = Nodes("door")
    pixels = door.add("Cast", "images", to=TensorProto.FLOAT)
    pixels = door.add("Transpose", pixels, perm=[0, 3, 1, 2])
    if recipe.color == "RGB":
        pixels = door.add("Gather", pixels, door.constant(np.array([2, 1, 0], np.int64)), axis=1)
    if any(recipe.mean):
        pixels = door.add("Sub", pixels, door.constant(np.array(recipe.mean, np.float32).reshape(1, 3, 1, 1)))
    if any(value != 1 for value in recipe.std):
        pixels = door.add("Mul", pixels, door.constant(recipe.inverse_std.reshape(1, 3, 1, 1)))
    raw_input = real_inputs(raw)[0].name
    network = compose.add_prefix(raw, _RAW)
    door.nodes[-1].output[0] = inside(raw_input)

    graph = helper.make_graph(
        [*door.nodes, *network.graph.node, *exit_nodes.nodes],
        "edgezoo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch or "N", height, width, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch or "N", *shape])
            for name, shape in outputs.items()
        ],
        [*door.initializers, *network.graph.initializer, *exit_nodes.initializers],
    )
    graph.sparse_initializer.extend(network.graph.sparse_initializer)
    for node in graph.node:  # exporters leave stack traces with the paths of their machine
        del node.metadata_props[:]
        node.doc_string = ""
    model = helper.make_model(
        graph,
        producer_name="edgezoo",
        opset_imports=network.opset_import,
        functions=network.functions,
        ir_version=min(max(network.ir_version, 7), 10),
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ConvertError(f"the graph is not valid ONNX: {str(error).strip().splitlines()[0]}") from None
    return model


def inside(name: str) -> str:
    """What a tensor of the raw graph is called inside the emitted one."""
    return _RAW + name


def check_raw(raw: onnx.ModelProto, size_wh: tuple[int, int] | None) -> tuple[tuple[int, int], int | None]:
    """The size that a raw graph takes, and its batch size or None where that is free. Raises ConvertError.

    It must have one float32 input (N, 3, H, W); a free H or W needs `size_wh`.
    """
    from onnx import TensorProto

    opset = next((entry.version for entry in raw.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise ConvertError(f"expected opset {OLDEST_OPSET} or newer, got {opset}; export the model again")
    inputs = real_inputs(raw)
    if len(inputs) != 1:
        raise ConvertError(
            f"expected a graph with one input, got {len(inputs)}: {', '.join(port.name for port in inputs)}"
        )
    kind, shape = inputs[0].type.tensor_type.elem_type, shape_of(inputs[0])
    if kind != TensorProto.FLOAT or len(shape) != 4 or shape[1] not in (3, None):
        raise ConvertError(
            f"expected one input float32 (N, 3, H, W), got {TensorProto.DataType.Name(kind).lower()} {shape}; "
            "graphs that take images in another layout are not read yet"
        )
    stated = (shape[3], shape[2])
    size = tuple(fixed if fixed is not None else (size_wh[i] if size_wh else None) for i, fixed in enumerate(stated))
    if None in size:
        raise ConvertError("the graph takes any size; say which with --size WIDTHxHEIGHT")
    if size_wh is not None and size != size_wh:
        raise ConvertError(
            f"the graph is fixed at {size[0]}x{size[1]} px, asked for {size_wh[0]}x{size_wh[1]}; leave --size out"
        )
    return (int(size[0] or 0), int(size[1] or 0)), shape[0]


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs without the weights that old exporters list among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [port for port in model.graph.input if port.name not in weights]


def shape_of(port: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """A port's shape; None where a side is free."""
    return tuple(side.dim_value if side.HasField("dim_value") else None for side in port.type.tensor_type.shape.dim)


def free_batch(raw: onnx.ModelProto, fixed: int) -> onnx.ModelProto:
    """A copy of a graph of fixed batch size that says it takes any.

    Exporters freeze the batch into the target shapes of Reshape; there it becomes 0, "as it comes in". Whether that
    was all that depended on it is for `agreement` to prove, at several batch sizes.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(raw)
    targets = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    for name in targets & tensors.keys():
        shape = numpy_helper.to_array(tensors[name]).copy()
        if shape.size > 1 and shape[0] == fixed:
            shape[0] = 0
            tensors[name].CopyFrom(numpy_helper.from_array(shape, tensors[name].name))
    del model.graph.value_info[:]
    for port in [*real_inputs(model), *model.graph.output]:
        if port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].dim_param = "N"
    return model
