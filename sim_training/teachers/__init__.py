"""Teachers: where guidance comes from. Synthetic ones say so in their name."""
