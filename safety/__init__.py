"""What is allowed: limit tables, the setpoint guard, the watchdog and the latched fault machine."""
