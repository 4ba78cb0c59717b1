"""What pages for people share: their look, their tables, the way data reaches their scripts."""
