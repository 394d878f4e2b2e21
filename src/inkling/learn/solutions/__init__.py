"""The exercises, solved. `skeleton` takes the bodies out of these files, so a skeleton cannot disagree with them."""
