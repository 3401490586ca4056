"""The paper's tables: their rows, the trainings that fill them, and how the numbers that come out compare."""
