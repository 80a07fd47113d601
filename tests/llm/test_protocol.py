import io

import numpy as np
import pytest

from ialp_jax.llm.worker import protocol


def test_a_sent_frame_is_received():
    stream = io.BytesIO()
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": np.zeros((0, 2), np.float32)}
    protocol.send(stream, {"do": "score", "text": "Sigur Rós\n"}, **arrays)
    protocol.send(stream, {"n": None})
    stream.seek(0)
    header, received = protocol.receive(stream)
    assert header == {"do": "score", "text": "Sigur Rós\n"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype
    assert protocol.receive(stream) == ({"n": None}, {})
    assert protocol.receive(stream) is None


@pytest.mark.parametrize("kept", [0, 3, 8, 20])
def test_an_incomplete_frame_ends_the_stream(kept):
    stream = io.BytesIO()
    protocol.send(stream, {"do": "score"}, a=np.arange(3))
    assert protocol.receive(io.BytesIO(stream.getvalue()[:kept])) is None


def test_pickled_objects_are_not_read():
    buffer, stream = io.BytesIO(), io.BytesIO()
    np.savez(buffer, header=np.array([{"do": "harm"}], dtype=object))
    stream.write(len(buffer.getvalue()).to_bytes(8, "little") + buffer.getvalue())
    stream.seek(0)
    with pytest.raises(ValueError, match="allow_pickle"):
        protocol.receive(stream)
