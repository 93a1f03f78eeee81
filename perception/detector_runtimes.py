"""What a detector's network runs on: ONNX Runtime and OpenVINO run the exported file, torch the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

Runtime = Literal["openvino", "onnxruntime", "torch"]


class RuntimeMissing(ImportError):
    """What the detector is to run on is not installed. Run launch/setup.sh."""


class Network(Protocol):
    """A loaded network. input_shape: height and width of its pictures; None where any multiple of 32 will do."""

    input_shape: tuple[int, int] | None

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Rows (1, n, 6 + …) and, if it finds masks, prototypes (1, m, H/4, W/4), for (1, 3, H, W) float32 0..1."""


class OnnxRuntimeNetwork:
    """The exported file on ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        """Loads that file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        height, width = self._session.get_inputs()[0].shape[2:]
        self.input_shape: tuple[int, int] | None = (height, width)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """As every network."""
        outputs: list[np.ndarray] = self._session.run(None, {"images": pixels})
        return outputs


class OpenVinoNetwork:
    """The exported file on OpenVINO."""

    def __init__(self, path: Path, threads: int) -> None:
        """Loads that file."""
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        _gather_whole_rows(model)
        settings = {
            "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        _, _, height, width = model.input(0).shape
        self.input_shape: tuple[int, int] | None = (height, width)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """As every network."""
        return [np.array(output) for output in self._request.infer({"images": pixels}).values()]


class TorchNetwork:
    """The trained weights on torch, through ultralytics; there to compare with. Sets the threads of all of torch."""

    input_shape: tuple[int, int] | None = None

    def __init__(self, path: Path, threads: int) -> None:
        """Loads that file."""
        import torch
        from ultralytics import YOLO

        self._torch, self._threads = torch, threads
        trained: Any = YOLO(str(path)).model.float().eval()
        head = trained.model[-1]
        head.end2end = head.export = True  # rows as in the exported file, without what losses need
        head.format = "onnx"
        self._model = trained.fuse(verbose=False)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """As every network."""
        self._torch.set_num_threads(self._threads)
        with self._torch.inference_mode():
            outputs = self._model(self._torch.from_numpy(pixels))
        return [output.numpy() for output in (outputs if isinstance(outputs, (tuple, list)) else [outputs])]


KINDS: dict[Runtime, tuple[type[OnnxRuntimeNetwork] | type[OpenVinoNetwork] | type[TorchNetwork], str]] = {
    "openvino": (OpenVinoNetwork, "detector.onnx"),
    "onnxruntime": (OnnxRuntimeNetwork, "detector.onnx"),
    "torch": (TorchNetwork, "detector.pt"),
}
"""What loads each, and from which file."""


def load_network(folder: Path, runtime: Runtime, threads: int) -> Network:
    """The network of that folder on that runtime. Raises FileNotFoundError with its path, or RuntimeMissing."""
    kind, name = KINDS[runtime]
    if not (folder / name).is_file():
        raise FileNotFoundError(folder / name)
    try:
        return kind(folder / name, threads)
    except ImportError as error:
        raise RuntimeMissing(f"The detector cannot run on {runtime} ({error}); run launch/setup.sh.") from error


def _gather_whole_rows(model: Any) -> None:
    """Lets rows be picked by Gather where the exporter spelled out every element's index.

    OpenVINO 2026.4 takes away the slice before such a GatherElements, and then finds its shapes inconsistent.
    """
    from openvino import opset8

    for node in model.get_ordered_ops():
        if node.get_type_name() != "GatherElements" or node.input(1).get_partial_shape().rank.get_length() != 3:
            continue
        indices = node.input_value(1).get_node()
        if indices.get_type_name() == "Broadcast":
            row = opset8.reshape(indices.input_value(0), np.array([-1]), False)
            node.output(0).replace(opset8.gather(node.input_value(0), row, 1).output(0))
    model.validate_nodes_and_infer_types()
