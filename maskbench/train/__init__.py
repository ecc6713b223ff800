"""Training: one loop, and what each method puts into it. Nothing here is imported before something is trained."""
