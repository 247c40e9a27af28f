"""Whether what the pages tell people to type works as it is printed."""
