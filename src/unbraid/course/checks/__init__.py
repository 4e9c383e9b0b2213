"""Checks of the exercises: one module per lesson, with one function per exercise."""
