import stages  # noqa: F401  # before numpy: it says how numpy is to add up
