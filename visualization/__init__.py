"""What people look at: reports, plots, pictures, annotated videos, tables."""
