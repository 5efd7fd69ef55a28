"""Three plugins that change how stepbus trains."""
