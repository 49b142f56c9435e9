"""A run's page: its charts, tables and checks."""
