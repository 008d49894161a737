"""What the detector learns from: labelled views on disk, augmented, as batches."""
