"""Pages for people: the report, the screen of odd test images, the live page of a training run, and notebooks."""
