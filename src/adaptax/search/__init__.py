"""Architecture search across tasks: which network adapts best over a family."""
