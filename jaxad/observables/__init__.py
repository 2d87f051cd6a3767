"""What is computed from events before any network sees them: images, EFPs, N-subjettiness."""
