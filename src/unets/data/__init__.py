"""Images and masks into batches: numpy and cv2 in, numpy out; knows no network."""
