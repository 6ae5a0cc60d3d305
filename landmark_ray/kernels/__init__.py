"""Arrays in, arrays out: the arithmetic of every stage, without Ray."""
