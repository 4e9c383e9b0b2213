"""Answers to the exercises of lesson 6."""

from unbraid.course.checks import lesson_06 as check

# Exercise 1: channels of the fifth encoder layer; 1024 / 2**5 bins; 256 / 2**5 frames
exercise_1 = check.exercise_1((256, 32, 8))

# Exercise 2: for each class, correct / (correct + missed + wrongly estimated); then the mean
exercise_2 = check.exercise_2((50 / (50 + 10 + 5) + 35 / (35 + 5 + 10)) / 2)


# Exercise 3
def loss(mask, mixture, target):
    return (mask * mixture - target).abs().mean()


exercise_3 = check.exercise_3(loss)
