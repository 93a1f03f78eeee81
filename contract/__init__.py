"""What training and the robot agree on: frames, units, observation order, action meaning, the policy file."""
