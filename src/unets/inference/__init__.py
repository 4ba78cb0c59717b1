"""From weights to maps, from maps to masks, from masks to a submission."""
