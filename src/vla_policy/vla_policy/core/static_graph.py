"""A network for inputs that always have the same shape: recorded or compiled once, then run without Python's part.

On a GPU the time of a large policy goes to launching a thousand small kernels one by one; a CUDA graph launches them
together (Ma et al. 2025, "Running VLAs at Real-time Speed"). On a CPU OpenVINO does the like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vla_core.errors import PolicyError, UnknownNameError
from vla_policy.core.openvino_graph import compiled

#: Inputs of the example's shapes to the output.
Static = Callable[[Sequence[Tensor]], Tensor]

AUTO, EAGER, OPENVINO, COMPILED = "auto", "eager", "openvino", "compiled"
CUDA_GRAPH, COMPILED_CUDA_GRAPH = "cuda_graph", "compiled_cuda_graph"
#: 'auto' is a CUDA graph on a GPU, OpenVINO on a CPU; 'compiled' is torch.compile.
KINDS = (AUTO, EAGER, OPENVINO, COMPILED, CUDA_GRAPH, COMPILED_CUDA_GRAPH)
_WARM_UP = 3  # runs before recording: libraries allocate on the first ones


@torch.no_grad()
def static(module: nn.Module, example: Sequence[Tensor], kind: str = AUTO) -> Static:
    """Record or compile a network of one output.

    Args:
        module: Takes the inputs by place.
        example: Inputs, on the network's device.
        kind: One of KINDS.

    Raises:
        UnknownNameError: no such kind; lists the known ones.
        PolicyError: a CUDA graph without a GPU, or OpenVINO on one.
    """
    if kind not in KINDS:
        raise UnknownNameError("static graph", kind, KINDS)
    on_gpu = example[0].is_cuda
    if kind == AUTO:
        kind = CUDA_GRAPH if on_gpu else OPENVINO
    if on_gpu != (kind in (CUDA_GRAPH, COMPILED_CUDA_GRAPH)) and kind not in (EAGER, COMPILED):
        raise PolicyError(f"'{kind}' on {example[0].device.type}", "a kind of this device", "choose 'auto'")
    if kind == OPENVINO:
        return _openvino(module, example)
    chosen: Callable[..., Tensor] = module
    if kind in (COMPILED, COMPILED_CUDA_GRAPH):
        chosen = torch.compile(module, fullgraph=True, dynamic=False)
    return _recorded(chosen, example) if kind in (CUDA_GRAPH, COMPILED_CUDA_GRAPH) else _called(chosen)


def _called(module: Callable[..., Tensor]) -> Static:
    def run(inputs: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            return module(*inputs)

    return run


def _openvino(module: nn.Module, example: Sequence[Tensor]) -> Static:
    graph = compiled(module, tuple(example))[0]

    def run(inputs: Sequence[Tensor]) -> Tensor:
        return torch.from_numpy(graph([part.numpy() for part in inputs])[0].copy())

    return run


def _recorded(module: Callable[..., Tensor], example: Sequence[Tensor]) -> Static:
    own = [part.clone() for part in example]
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            module(*own)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module(*own)

    def run(inputs: Sequence[Tensor]) -> Tensor:
        for place, part in zip(own, inputs, strict=True):
            place.copy_(part)
        graph.replay()
        return out.clone()

    return run
