"""State encoder and heads, as pure functions over parameter trees."""
