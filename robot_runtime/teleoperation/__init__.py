"""A person drives the arm: devices, and how they take over from a policy and give back."""
