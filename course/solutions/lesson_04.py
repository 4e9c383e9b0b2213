"""Answers to the exercises of lesson 4."""

from torch.nn import functional

from unbraid.course.checks import lesson_04 as check

# Exercise 1: the copies are 2, 8, 4 from place 0 and 3, 12, 6 from place 2. Their sum is 2, 8, 7, 12, 6. Remove both ends.
exercise_1 = check.exercise_1([8, 7, 12])


# Exercise 2
def upsample(x, kernel, stride, padding):
    spread = x.new_zeros(1, 1, (x.shape[-1] - 1) * stride + 1)
    spread[..., ::stride] = x
    return functional.conv1d(spread, kernel.flip(-1), padding=kernel.shape[-1] - 1 - padding)


exercise_2 = check.exercise_2(upsample)

# Exercise 3: the multiples of the stride
exercise_3 = check.exercise_3({3, 6, 9})
