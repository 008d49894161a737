"""A torch module compiled for the CPU by OpenVINO, with static shapes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.types import Float32

#: Arrays in, arrays out, in the module's order.
Run = Callable[[Sequence[Any]], list[Float32]]


def compiled(module: nn.Module, example: tuple[Tensor, ...], streams: int = 1) -> list[Run]:
    """Compile in float32 (half precision would cost millimetres of keypoints) for the example's shapes.

    It runs on as many threads as torch has now (`torch.set_num_threads`).

    Args:
        module: Traced once with `example`; it may return one tensor or several.
        example: Inputs.
        streams: Requests that may run beside each other; one function each.
    """
    ov = _openvino()
    with torch.no_grad():
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    graph = _converted(traced, example)
    threads = str(torch.get_num_threads())
    options = {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
    }  # fmt: skip
    model = ov.Core().compile_model(graph, "CPU", options)
    return [_runner(model.create_infer_request(), len(model.outputs)) for _ in range(streams)]


def _converted(traced: Any, example: tuple[Tensor, ...]) -> Any:
    """OpenVINO's model of a traced module; its convert_model would simplify it twice, which compiling does again."""
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    manager = FrontEndManager()
    frontend = manager.load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)
    graph: Any = frontend.convert(frontend.load(decoder))
    graph.reshape({i: PartialShape(list(part.shape)) for i, part in enumerate(example)})
    return graph


def _runner(request: Any, outputs: int) -> Run:
    def run(inputs: Sequence[Any]) -> list[Float32]:
        found: Any = request.infer(list(inputs))
        return [found[i] for i in range(outputs)]

    return run


def _openvino() -> Any:
    """The library without its telemetry, which would report every model conversion over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
