"""Convolutions and pooling of images in a pack, on a CPU: the members' channels side by side, channels last.

torch.func.vmap puts the members of a convolution into its groups too, but keeps each channel's pixels together. With
the channels of all members innermost, small images keep the machine's vectors full: a convolution takes half as long,
a pooling a tenth and less (`scripts/bench/pack_steps.py`). Modules stay as they are: while a pack computes, the
functions of torch.nn.functional are replaced by ones that torch.func.vmap maps in this way.

K members, B examples, C channels of a member, H and W of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FEW = 4
"""Input channels of a convolution up to which its images are laid out anew; above that as they come."""

aten = torch.ops.aten
Two = tuple[int, int]
_TWO = nn.modules.utils._pair


@contextmanager
def channels_side_by_side(device: torch.device, *, wanted: bool = True) -> Iterator[None]:
    """Inside, if `wanted`, what torch.func.vmap maps over members on a CPU is computed this way; all else by torch."""
    made = _MADE if wanted and device.type == "cpu" else {}
    before = {name: getattr(functional, name) for name in made}
    for name, make in made.items():
        setattr(functional, name, make(before[name]))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(functional, name, function)


def _conv2d(native: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def conv2d(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        around = _around(padding, weight, _TWO(dilation))
        if around is None or not _fits(input, weight):
            return native(input, weight, bias, stride, padding, dilation, groups)
        form = (_TWO(stride), around, _TWO(dilation), groups)
        return _Convolution.apply(input, weight, bias, *form)  # type: ignore[no-untyped-call,no-any-return]

    return conv2d


def _around(padding: Any, weight: Tensor, dilation: Two) -> Two | None:
    """Zeros at each side; None where there are more at one side than at the other."""
    if padding == "valid":
        return 0, 0
    if padding != "same":
        first, second = _TWO(padding)
        return first, second
    height, width = (step * (size - 1) for step, size in zip(dilation, weight.shape[2:], strict=True))
    return None if height % 2 or width % 2 else (height // 2, width // 2)


def _max_pool2d(native: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def max_pool2d(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        if not _fits(input):
            return native(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        size = _TWO(kernel_size)
        form = (size, _TWO(stride) if stride else size, _TWO(padding), _TWO(dilation), ceil_mode)
        found, indices = _MaxPooling.apply(input, form)  # type: ignore[no-untyped-call]
        return (found, indices) if return_indices else found

    return max_pool2d


def _norm(native: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Channels last, torch adds up a batch norm's statistics in float32, and refuses a group norm under vmap."""

    def norm(input: Tensor, *given: Any, **named: Any) -> Tensor:
        images = _PixelsLast.apply(input) if _fits(input) else input  # type: ignore[no-untyped-call]
        return native(images, *given, **named)

    return norm


_MADE = {
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "batch_norm": _norm,
    "group_norm": _norm,
    "instance_norm": _norm,
}


def _fits(*given: Tensor) -> bool:
    """Whether they are of a step that is being mapped, and of the kind that this file is for."""
    if torch.compiler.is_compiling():  # torch.compile reads torch's own best, and lays images out by itself
        return False
    return (
        any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in given)
        and all(x.dim() == 4 and x.dtype is torch.float32 for x in given)
        and not torch.is_autocast_enabled("cpu")
    )


def _merged(x: Tensor, place: int | None, count: int, at: int = 0) -> Tensor:
    """With the members in front of the channels, which are the dimension `at`. place: of the members; None: shared."""
    stacked = x.unsqueeze(at).expand(*x.shape[:at], count, *x.shape[at:]) if place is None else x.movedim(place, at)
    return stacked.flatten(at, at + 1)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _laid_out(x: Tensor, channels: int) -> Tensor:
    """Images of a convolution. channels: of the input of one group."""
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return _channels_last(x) if channels <= FEW or is_last else x.contiguous()


def _apart(x: Tensor, count: int) -> Tensor:
    """(B, K, C, H, W) of (B, K C, H, W)."""
    return x.view(len(x), count, -1, *x.shape[2:])


class _Convolution(torch.autograd.Function):
    """torch's own, mapped over members as one convolution whose groups they are."""

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, stride: Two, padding: Two, dilation: Two, groups: int
    ) -> Tensor:
        return torch.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, *ctx.form = inputs
        del output
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[:3])
        found = iter(_ConvolutionBackward.apply(*gradients, x, weight, wanted, *ctx.form))  # type: ignore[no-untyped-call]
        return (*(next(found) if one else None for one in wanted), None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *form: Any) -> Any:
        count, (of_x, of_weight, of_bias, *_) = info.batch_size, in_dims
        stride, padding, dilation, groups = form
        shared = of_x is None and groups == 1
        weights = _merged(weight, of_weight, count)
        images = _laid_out(x if shared else _merged(x, of_x, count, 1), weights.shape[1])
        biases = None if bias is None else _merged(bias, of_bias, count)
        groups = 1 if shared else groups * count
        return _apart(torch.conv2d(images, weights, biases, stride, padding, dilation, groups), count), 1


def _convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, ...], *form: Any
) -> tuple[Tensor, ...]:
    """Of `wanted` (input, weight, bias), the gradients."""
    stride, padding, dilation, groups = form
    found = aten.convolution_backward(
        gradient, x, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
    )
    return tuple(one for one in found if one is not None)


class _ConvolutionBackward(torch.autograd.Function):
    @staticmethod
    def forward(gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, ...], *form: Any) -> Any:
        return _convolution_backward(gradient, x, weight, wanted, *form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing to keep: it is not differentiated again."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, gradient: Tensor, x: Tensor, weight: Tensor, wanted: Any, *form: Any) -> Any:
        count, (of_gradient, of_x, of_weight, *_) = info.batch_size, in_dims
        *steps, groups = form
        weights = _merged(weight, of_weight, count)
        images = _laid_out(_merged(x, of_x, count, 1), weights.shape[1])
        gradients = _merged(gradient, of_gradient, count, 1)
        if images.is_contiguous(memory_format=torch.channels_last):
            gradients = _channels_last(gradients)
        found = iter(_convolution_backward(gradients, images, weights, wanted, *steps, groups * count))
        of_images = [_apart(next(found), count)] if wanted[0] else []
        rest = [one.view(count, -1, *one.shape[1:]) for one in found]
        return (*of_images, *rest), (*[1] * len(of_images), *[0] * len(rest))


class _MaxPooling(torch.autograd.Function):
    """torch's own, mapped over members as one whose channels are those of all."""

    @staticmethod
    def forward(x: Tensor, form: tuple[Any, ...]) -> Any:
        return aten.max_pool2d_with_indices(x, *form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, ctx.form = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, output[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        found = _MaxPoolingBackward.apply(gradients[0], *ctx.saved_tensors, ctx.form)  # type: ignore[no-untyped-call]
        return found, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, form: tuple[Any, ...]) -> Any:
        count = info.batch_size
        found, indices = aten.max_pool2d_with_indices(_channels_last(_merged(x, in_dims[0], count, 1)), *form)
        return (_apart(found, count), _apart(indices, count)), (1, 1)


def _max_pooling_backward(gradient: Tensor, x: Tensor, indices: Tensor, form: tuple[Any, ...]) -> Tensor:
    found: Tensor = aten.max_pool2d_with_indices_backward(gradient, x, *form, indices)
    return found


class _MaxPoolingBackward(torch.autograd.Function):
    @staticmethod
    def forward(gradient: Tensor, x: Tensor, indices: Tensor, form: tuple[Any, ...]) -> Tensor:
        return _max_pooling_backward(gradient, x, indices, form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing to keep: it is not differentiated again."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, gradient: Tensor, x: Tensor, indices: Tensor, form: tuple[Any, ...]) -> Any:
        count = info.batch_size
        given = zip((gradient, x, indices), in_dims[:3], strict=True)
        above, images, at = (_channels_last(_merged(one, place, count, 1)) for one, place in given)
        return _apart(_max_pooling_backward(above, images, at, form), count), 1


class _PixelsLast(torch.autograd.Function):
    """The same images in torch's usual layout, the channels of all members still side by side."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # noqa: ARG004
        return gradients[0]

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor) -> Any:
        return _apart(_merged(x, in_dims[0], info.batch_size, 1).contiguous(), info.batch_size), 1
