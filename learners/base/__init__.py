"""What the algorithms share: one gradient step from a batch to new parameters, weights, noise and acting."""
