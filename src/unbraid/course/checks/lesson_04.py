"""Check the answers of lesson 4: a transposed convolution by hand, its form as a convolution, and even overlap."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from unbraid.course.answers import Answer, numbers, unanswered

BY_HAND: dict[tuple[float, ...], str] = {
    (2, 8, 7, 12, 6): "This is the output with padding 0. Padding 1 removes one number at each end.",
    (8, 3, 12): "Where two copies of the kernel overlap, their numbers are added. Do not replace the earlier number.",
    (11, 16): "This is the output with stride 1. With stride 2, the second copy starts two places after the first copy.",
    (8, 8, 12): "You have reversed the kernel. Each input writes the kernel in its own order.",
    (0, 2, 8, 7, 12, 6, 0): "The padding of a transposed convolution removes numbers at both ends. It does not add zeros.",
}


def exercise_1(answer: Sequence[float]) -> Answer:
    """Check the transposed convolution of [2, 3] with the kernel [1, 4, 2], stride 2 and padding 1."""
    if missing := unanswered(answer):
        return missing
    values = tuple(numbers(answer) or [])
    if not values:
        return Answer(False, "Answer with a list of numbers.")
    if values == (8, 7, 12):
        return Answer(True, "The sum of both copies is 2, 8, 7, 12, 6. Padding 1 removes the first and the last number.")
    if values in BY_HAND:
        return Answer(False, BY_HAND[values])
    if len(values) != 3:
        return Answer(False, f"The output has (2 - 1) * 2 - 2 * 1 + 3 = 3 numbers, and your answer has {len(values)}.")
    return Answer(False, "Write 2 * kernel from place 0 and 3 * kernel from place 2, add both, and remove both ends.")


class _Watch(TorchFunctionMode):
    """Record whether a transposed convolution of torch is called."""

    transposed = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.transposed |= "conv_transpose" in getattr(func, "__name__", "")
        return func(*args, **(kwargs or {}))


def exercise_2(answer: Callable[..., Any]) -> Answer:
    """Check a function (x, kernel, stride, padding) that computes a transposed convolution by `conv1d` with inserted zeros."""
    if missing := unanswered(answer):
        return missing
    draw = torch.Generator().manual_seed(0)
    for stride, padding, size in ((1, 0, 3), (2, 0, 3), (2, 1, 3), (3, 1, 5)):
        x, kernel = (torch.randn(1, 1, n, generator=draw) for n in (6, size))
        right = functional.conv_transpose1d(x, kernel, stride=stride, padding=padding)
        case = f"stride {stride}, padding {padding} and kernel size {size}"
        try:
            with _Watch() as watch:
                found = answer(x.clone(), kernel.clone(), stride, padding)
        except Exception as error:
            return Answer(False, f"Your function raised {type(error).__name__} for {case}: {error}")
        if found is None or found is ...:
            return Answer(False, "Your function returned nothing. End it with `return`.")
        if watch.transposed:
            return Answer(False, "Do not call a transposed convolution of torch. Insert zeros, and use `functional.conv1d`.")
        if not isinstance(found, Tensor) or found.dim() != 3:
            shape = f"the shape {[*found.shape]}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            return Answer(False, f"Return a tensor of the shape {[*right.shape]} for {case}. Your function returned {shape}.")
        if found.shape != right.shape:
            return Answer(False, _wrong_shape(found.shape[-1], right.shape[-1], stride, case))
        if not torch.allclose(found, right, atol=1e-5):
            return Answer(False, _wrong_values(found, x, kernel, stride, padding, case))
    return Answer(True, "Both forms give equal numbers for four combinations of stride, padding and kernel size.")


def _wrong_shape(found: int, right: int, stride: int, case: str) -> str:
    sizes = f"The output for {case} has {found} numbers instead of {right}."
    if stride > 1 and found - right == stride - 1:
        return f"{sizes} Insert zeros between the inputs only. Do not insert zeros after the last input."
    return f"{sizes} Add K - 1 - padding zeros at each end for a kernel of size K, and use stride 1 in `conv1d`."


def _wrong_values(found: torch.Tensor, x: torch.Tensor, kernel: torch.Tensor, stride: int, padding: int, case: str) -> str:
    unflipped = functional.conv_transpose1d(x, kernel.flip(-1), stride=stride, padding=padding)
    if torch.allclose(found, unflipped, atol=1e-5):
        return "The numbers are those of the reversed kernel. `conv1d` does not reverse its kernel: use kernel.flip(-1)."
    return f"The output for {case} has the right size, but wrong numbers. Check the places of the inputs between the zeros."


def exercise_3(answer: Iterable[int]) -> Answer:
    """Check the kernel sizes from 2 to 9 whose copies overlap evenly with stride 3."""
    if missing := unanswered(answer):
        return missing
    sizes, right = {int(size) for size in numbers(answer) or []}, {3, 6, 9}
    if not sizes:
        return Answer(False, "Answer with a set of numbers.")
    if sizes == right:
        return Answer(True, "A kernel whose size is a multiple of the stride covers each output equally often.")
    if wrong := sorted(sizes - right):
        return Answer(False, _uneven(wrong[0]))
    return Answer(False, "Your sizes are right, but not complete. Count the copies at each output for all sizes.")


def _uneven(size: int) -> str:
    if not 2 <= size <= 9:
        return f"The size {size} is not in the range from 2 to 9."
    counts = functional.conv_transpose1d(torch.ones(1, 1, 9), torch.ones(1, 1, size), stride=3)[0, 0, 9:15].int().tolist()
    reason = " An odd size is not enough." if size % 2 else ""
    return f"With a kernel of size {size} and stride 3, the outputs are covered {counts} times, which is not even.{reason}"
