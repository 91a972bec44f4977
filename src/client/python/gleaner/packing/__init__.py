"""Functions, arguments and results as they travel, and the modules that go along with them."""
