"""What policies and values are made of: encoders, critics, policies, and the normaliser before them."""
