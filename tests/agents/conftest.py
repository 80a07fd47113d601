from diagnostic_worlds import quick_compilation  # noqa: F401, an autouse fixture
