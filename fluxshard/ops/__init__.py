"""What each op of a Plan means, in eager torch."""
