"""What a trained scorer is judged by: in general, as a resonant search, as a mimicker."""
