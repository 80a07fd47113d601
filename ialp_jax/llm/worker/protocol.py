"""Messages between the client and the worker: a JSON header and plain arrays in one frame, no pickle."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

# A terminal sends these signals to the whole process group, but only the client handles them.
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Orders and the calibration's manifest have a fingerprint of its settings and inputs under this key.
CALIBRATION = "calibration_fingerprint"
_LENGTH_BYTES = 8
_HEADER = "header"


def send(stream: IO[bytes], header: Mapping[str, Any], **arrays: np.ndarray) -> None:
    """Writes one frame: its length in 8 bytes, then an ``.npz``."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(buffer, **{_HEADER: text}, **arrays)  # type: ignore[arg-type] # numpy's types lack array names
    stream.write(len(buffer.getbuffer()).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(buffer.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Reads one frame. Returns None if the other process has ended, even in the middle of a frame."""
    length = stream.read(_LENGTH_BYTES)
    frame = stream.read(int.from_bytes(length, "little")) if len(length) == _LENGTH_BYTES else b""
    if not frame or len(frame) < int.from_bytes(length, "little"):
        return None
    with np.load(io.BytesIO(frame), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop(_HEADER).tobytes()), arrays
