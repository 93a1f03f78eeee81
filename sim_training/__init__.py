"""Training: ManiSkill tasks on our contract, PPO with pluggable guidance, teachers, and the simulator backends."""
