"""Where the windows of a transposed convolution lie: over an output whose size is an input of the op."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.engine.contract import checked_shape, choice, expect, option
from kernels.engine.geometry import Padding, Window, span
from kernels.engine.types import OpView, TensorView
from qmath.types import Array


@dataclass(frozen=True, slots=True)
class Spreading:
    """How inputs spread over an output of a size that may be known at run time only.

    Attributes
    ----------
    input_shape
        (batch, in_h, in_w, in_c).
    channels
        Output channels.
    kernel, stride
        Of height and width.
    padding
        How the windows would lie if the output were the input of a convolution.

    """

    input_shape: tuple[int, ...]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding

    def window(self, output_shape: Array) -> Window:
        """Return the windows over an output of the given shape.

        Raises
        ------
        ModelError
            The input could not have come from a convolution of that shape.

        """
        expect(output_shape.size == 4, f"an output shape of 4 dimensions, found {output_shape.size}")
        batch, high, wide, channels = checked_shape(output_shape.reshape(-1))
        expect(batch == self.input_shape[0], f"an output batch of {self.input_shape[0]}, found {batch}")
        expect(channels == self.channels, f"{self.channels} output channels, found {channels}")
        spans = [
            span(size, kernel, stride, self.padding)
            for size, kernel, stride in zip((high, wide), self.kernel, self.stride, strict=True)
        ]
        found = tuple(one.output for one in spans)
        expect(
            found == self.input_shape[1:3],
            f"an output of which a convolution makes {self.input_shape[1:3]}, found {(high, wide)}, of which it makes"
            f" {found}",
        )
        return Window(spans[0], spans[1])


def spreading_of(op: OpView, x: TensorView, filter_: TensorView) -> Spreading:
    """Read the geometry of a transposed convolution whose filter is (out_c, kernel_h, kernel_w, in_c).

    Raises
    ------
    ModelError
        Input and filter do not belong together, or an option is wrong.

    """
    out_c, kernel_h, kernel_w, in_c = filter_.shape
    expect(min(filter_.shape) > 0, f"a filter without empty dimensions, found {filter_.shape}")
    expect(min(x.shape[1:]) > 0, f"an image without empty dimensions, found {x.shape}")
    expect(x.shape[3] == in_c, f"{in_c} input channels, as the filter has, found {x.shape[3]}")
    stride = (option(op, "stride_h"), option(op, "stride_w"))
    return Spreading(tuple(x.shape), out_c, (kernel_h, kernel_w), stride, choice(op, "padding", Padding))
