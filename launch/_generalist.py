"""A generalist's folder, ready to be asked."""

from __future__ import annotations

from pathlib import Path

from contract.generalist import MODEL, Generalist, read_card


def load(folder: Path, threads: int = 1) -> Generalist:
    """The generalist in `folder`, its files verified. Raises contract.generalist.GeneralistUnusable."""
    card = read_card(folder)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return Generalist(card, onnxruntime.InferenceSession(folder / MODEL, options, ["CPUExecutionProvider"]))
