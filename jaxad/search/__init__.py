"""A resonant search in unlabelled data: all of it scored out of fold, calibrated by toys."""
