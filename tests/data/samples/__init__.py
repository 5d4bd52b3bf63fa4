"""Files in public layouts, written from their format documents."""
