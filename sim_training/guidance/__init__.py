"""What a teacher adds to PPO: a loss, a plan of when to ask, and a schedule that ends it."""
